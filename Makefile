# `make` alone lists the targets. Every target but help and clean sets up .venv first when it has to.

BASE_PYTHON ?= python3.11
VENV := .venv
PYTHON := $(VENV)/bin/python
STAMP := $(VENV)/.installed

# One torch thread a process: two on a busy two-core machine are ten times slower than one.
CALM := OMP_NUM_THREADS=1 TOKENIZERS_PARALLELISM=false
# Tests load nothing from a hub and log in nowhere.
OFFLINE := HF_HUB_OFFLINE=1 HF_DATASETS_OFFLINE=1 TRANSFORMERS_OFFLINE=1

# A file of tests is one worker's from end to end, in our order: the long ones come first.
PYTEST := $(VENV)/bin/python -m pytest -q -n 2 --dist loadfile --no-loadscope-reorder

.DEFAULT_GOAL := help
.PHONY: help setup demo test test-all lint docs bench chaos sandbox faketime slurm browser clean new-venv

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-9s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(STAMP) ## make .venv with everything in it (about 2 minutes and 2 GB; does nothing when it is there)
	@echo "setup: $(VENV) is up to date"

$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -m pip --version >/dev/null 2>&1 || $(MAKE) --no-print-directory new-venv
	@echo "setup: installing what pyproject.toml asks for into $(VENV), in the versions of constraints.txt"
	@$(PYTHON) -m pip install -qq --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@touch $@

new-venv:
	@$(BASE_PYTHON) -c 'import sys, ensurepip, venv; sys.exit(not (3, 11) <= sys.version_info < (3, 13))' 2>/dev/null || \
	  { echo "setup: $(BASE_PYTHON) is missing, has no venv module, or is not Python 3.11 or 3.12." >&2; \
	    echo "  Debian, Ubuntu: apt-get install python3.11 python3.11-venv    macOS: brew install python@3.11" >&2; \
	    echo "  One elsewhere:  make setup BASE_PYTHON=/path/to/python3.11" >&2; exit 1; }
	@echo "setup: making $(VENV) with $$($(BASE_PYTHON) --version)"
	@$(BASE_PYTHON) -m venv --clear $(VENV)

demo: setup ## vanilla fine-tuning against SDFT on the miniature, ending with the table (under 5 minutes)
	@$(PYTHON) main.py -m experiment=demo

test: lint ## lint, types and the tests, as CI runs them
	@$(CALM) $(OFFLINE) $(PYTEST) -m "not slow"

test-all: lint ## the same with the slow tests
	@$(CALM) $(OFFLINE) $(PYTEST)

lint: setup ## ruff, ruff format and mypy
	@$(VENV)/bin/ruff check .
	@$(VENV)/bin/ruff format --check .
	@$(VENV)/bin/mypy

docs: setup ## the pages of docs/ as a site, in build/docs/index.html
	@$(PYTHON) -m sphinx -q -W --keep-going -b html docs build/docs
	@echo "docs: build/docs/index.html"

bench: setup ## speed as ratios against named baselines of the same run
	@$(CALM) $(OFFLINE) $(PYTHON) -m analysis.bench

chaos: setup faketime ## whole runs on the miniature under real faults, and a table of how they ended (as root; half an hour)
	@$(CALM) $(OFFLINE) $(PYTHON) -m tests.chaos

sandbox: ## install bubblewrap, without which no model-written code is run (HumanEval); apt-get, as root
	@command -v bwrap >/dev/null || { apt-get update -qq && apt-get install -y -qq --no-install-recommends bubblewrap; }
	@bwrap --version

faketime: ## install libfaketime, with which `make chaos` makes a clock jump (Debian, Ubuntu; apt-get, as root)
	@ls /usr/lib/*/faketime/libfaketimeMT.so.1 2>/dev/null || \
	  { apt-get update -qq && apt-get install -y -qq --no-install-recommends libfaketime; }

slurm: ## install the Slurm that launchers/local_slurm.sh starts on this machine (Debian 12; apt-get, as root)
	@(for program in slurmctld slurmd sbatch munged; do PATH=$$PATH:/usr/sbin command -v $$program || exit; done) >/dev/null || \
	  { apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends \
	  slurmctld slurmd slurm-client munge >/dev/null; }
	@PATH=$$PATH:/usr/sbin slurmctld -V

browser: ## install the Chromium that tests open pages in (Debian; apt-get, as root)
	@command -v chromium >/dev/null || { apt-get update -qq && \
	  DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends chromium >/dev/null; }
	@chromium --version 2>/dev/null

clean: ## remove .venv, caches and build outputs; outputs/ and the store stay
	rm -rf $(VENV) build *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
