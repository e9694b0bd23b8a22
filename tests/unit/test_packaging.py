"""What pyproject.toml, constraints.txt and the Makefile promise about the checkout."""

from __future__ import annotations

import ast
import fnmatch
import re
import sys
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]

# Distributions whose import name differs from their own.
IMPORT_NAMES = {"hydra-core": "hydra", "lm-eval": "lm_eval", "pyyaml": "yaml", "typing-extensions": "typing_extensions"}


def _imported(*folders: str) -> set[str]:
    files = [ROOT / "main.py", *(path for folder in folders for path in (ROOT / folder).rglob("*.py"))]
    found: set[str] = set()
    for file in files:
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                found |= {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                found.add(node.module.split(".")[0])
    return found - set(sys.stdlib_module_names) - {"sdft_exp", "hydra_plugins", "analysis"}


def _declared() -> dict[str, str]:
    names = [canonicalize_name(Requirement(line).name) for line in PROJECT["dependencies"]]
    return {IMPORT_NAMES.get(name, name.replace("-", "_")): name for name in names}


def test_every_import_is_a_declared_dependency() -> None:
    extras = {
        Requirement(line).name.replace("-", "_")
        for name in ("deepspeed", "slurm", "judge")
        for line in PROJECT["optional-dependencies"][name]
    }
    assert _imported("sdft_exp", "hydra_plugins") - set(_declared()) - extras == set()


def test_every_declared_dependency_is_used() -> None:
    assert set(_declared()) - _imported("sdft_exp", "hydra_plugins", "analysis") == set()


def _pins() -> dict[str, str]:
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pins = [line for line in lines if not line.startswith("#")]
    assert all(re.fullmatch(r"[A-Za-z0-9_.-]+==[A-Za-z0-9_.]+", pin) for pin in pins)  # no path, no +cpu, no range
    return {canonicalize_name(pin.split("==")[0]): pin.split("==")[1] for pin in pins}


def test_constraints_pin_every_dependency_in_the_range_asked_for() -> None:
    pins = _pins()
    assert pins["torch"] == "2.13.0"
    extras = [line for lines in PROJECT["optional-dependencies"].values() for line in lines]
    ours = f"{PROJECT['name']}["  # an extra that takes in another
    for line in [*PROJECT["dependencies"], *extras]:
        if line.startswith(ours):
            continue
        wanted = Requirement(line)
        if canonicalize_name(wanted.name) == canonicalize_name(PROJECT["name"]):  # an extra of ours within another
            continue
        assert wanted.specifier.contains(pins[canonicalize_name(wanted.name)], prereleases=True), line


@pytest.mark.parametrize("package", ["sdft_exp", "analysis"])
def test_every_data_file_of_the_package_is_packaged(package: str) -> None:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["setuptools"]
    patterns = [pattern.removeprefix("**/") for pattern in settings["package-data"][package]]
    data = [
        path
        for path in (ROOT / package).rglob("*")
        if path.is_file() and path.suffix != ".py" and "__pycache__" not in path.parts
    ]
    left_out = [path for path in data if not any(fnmatch.fnmatch(path.name, pattern) for pattern in patterns)]
    assert left_out == []


@pytest.mark.parametrize("folder", ["sdft_exp", "hydra_plugins/sdft_exp", "analysis"])
def test_every_folder_with_modules_is_a_package(folder: str) -> None:
    homes = {path.parent for path in (ROOT / folder).rglob("*.py")}
    assert [home for home in sorted(homes) if not (home / "__init__.py").is_file()] == []


def test_make_help_tells_of_every_target() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    told = set(re.findall(r"^([a-z-]+):.*## ", makefile, flags=re.M))
    phony = re.search(r"^\.PHONY: (.*)$", makefile, flags=re.M)
    assert phony is not None
    assert told | {"new-venv"} == set(phony[1].split())
    assert told >= {"setup", "demo", "test", "lint", "bench", "clean", "help"}
