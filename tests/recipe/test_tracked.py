"""A whole run with W&B offline: killed and resumed it is one run, and no secret is in any file that it leaves."""

from __future__ import annotations

import os
import time

import pytest

from tests.recipe.conftest import SMALL, Bench, kill_main

pytestmark = pytest.mark.recipe

JOB = [override for override in SMALL if override != "tracker=none"]
JOB += ["method=vanilla", "eval.tasks=[micro_math]", "tracker.mode=offline", "sweep.name=tracked"]
# What looks like a key, and a password in an address; a plain word is a secret by its variable's name.
JOB += ["tracker.tags=[hf_CANARYlooks0123456789]", "tracker.notes='see http://me:CANARYaddress@host/'"]


def test_a_killed_run_is_one_run_and_tells_no_secret(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("WANDB_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("SOME_SERVICE_TOKEN", "CANARYenvironment")
    monkeypatch.setenv("WANDB_API_KEY", "CANARY" * 7)
    process = bench.start(*JOB)
    while not list(bench.store.glob(".partial/train-*")):
        assert process.poll() is None
        time.sleep(0.05)
    kill_main(process)
    runs = bench.folder / "outputs" / "tracked" / "wandb"
    assert not list(runs.glob("offline-run-*"))

    said = bench.run(*JOB).stdout
    assert f"wandb sync {runs}/offline-run-*" in said
    (logged,) = runs.glob("offline-run-*")
    assert "wandb sync" in bench.run(*JOB).stdout  # all hits: nothing is new
    assert list(runs.glob("offline-run-*")) == [logged]

    for path in bench.folder.rglob("*"):
        assert not path.is_file() or b"CANARY" not in path.read_bytes(), path
