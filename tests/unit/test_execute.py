"""Execution of a plan that another process has a hand in: a damaged artifact is repaired once."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from sdft_exp import workers
from sdft_exp.execute import Record, execute, worker_count
from sdft_exp.plan import Plan, plan_one
from sdft_exp.stage import Progress, Stage
from sdft_exp.store import Store


@dataclass(frozen=True)
class Params:
    text: str = "rows"


STAGE = Stage("mix", Params())
real_work = workers._work


def run(params: Params, inputs: Mapping[str, Path], out: Path, progress: Progress) -> None:
    (out / "rows.jsonl").write_text(params.text)


def work(connection: Connection, root: Path, device: str | None, parent: int) -> None:
    """The worker's loop, with `run` above for the stage."""
    module: Any = ModuleType("sdft_exp.stages.mix")
    module.run = run
    sys.modules["sdft_exp.stages.mix"] = module
    real_work(connection, root, device, parent)


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    monkeypatch.setattr(workers, "_work", work)
    return Store(tmp_path / "store")


def executed(plan: Plan, store: Store) -> Record:
    (record,) = execute(plan, store, workers=1, jobs=1, device="cpu", tell=lambda _: None).values()
    return record


def test_a_stage_runs_once_and_is_a_hit_after(store: Store) -> None:
    record = executed(plan_one(STAGE, store), store)
    assert (record.status, record.reason) == ("ran", "")
    assert executed(plan_one(STAGE, store), store).status == "hit"


def test_two_processes_that_plan_on_one_damaged_artifact_repair_it_once(store: Store) -> None:
    store.produce(STAGE, lambda out: run(Params(), {}, out, lambda *_: None))
    (store.path(STAGE.address) / "rows.jsonl").write_text("other")
    first, second = plan_one(STAGE, store), plan_one(STAGE, store)
    record = executed(first, store)
    assert (record.status, record.reason) == ("repaired", "rows.jsonl does not match its digest")
    repaired = store.path(STAGE.address).stat().st_ino
    record = executed(second, store)
    assert (record.status, record.reason) == ("waited", "another process made it")
    assert store.path(STAGE.address).stat().st_ino == repaired
    assert len(list((store.root / ".damaged").iterdir())) == 1


@pytest.mark.parametrize(
    ("asked", "jobs", "devices", "expected"),
    [(3, 1, ["0"], 3), (None, 4, ["0", "1"], 2), (None, 1, ["0", "1"], 1), (1, 9, ["0", "1"], 1)],
)
def test_processes_of_a_sweep(asked: int | None, jobs: int, devices: list[str], expected: int) -> None:
    assert worker_count(asked, jobs, devices) == expected


def test_processes_on_a_cpu_are_its_cores_up_to_four(monkeypatch: pytest.MonkeyPatch) -> None:
    for cores, expected in ((1, 1), (3, 3), (16, 4)):
        monkeypatch.setattr("os.sched_getaffinity", lambda _, cores=cores: set(range(cores)))
        assert worker_count(None, 1, []) == expected
