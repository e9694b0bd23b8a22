"""A whole run with W&B offline: killed and resumed it is one run, and no secret is in any file that it leaves."""

from __future__ import annotations

import json
import os
import time

import pytest

from tests.recipe.conftest import SMALL, Bench, kill_main
from tests.wandb_server import healthy

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

    with healthy() as (address, told):
        online = bench.env | {"WANDB_BASE_URL": address, "NO_PROXY": "127.0.0.1"}
        ended = bench.run(*JOB, "tracker.mode=online", env=online)
    assert "W&B: 1 run logged online" in ended.stdout
    (key,) = told.runs
    assert logged.name.endswith(f"-{key}") and not logged.exists()  # it is that run, and the server has it now
    (curve,) = bench.store.glob("train/*/curve.jsonl")
    trained = [json.loads(line)["loss"] for line in curve.read_text().splitlines()]
    assert [row["train/loss"] for row in told.history(key) if "train/loss" in row] == pytest.approx(trained)
    assert told.config(key)["method"]["name"] == "vanilla"
    assert "seed_eval/micro_math/accuracy" in told.summary(key)

    for path in bench.folder.rglob("*"):
        assert not path.is_file() or b"CANARY" not in path.read_bytes(), path
