"""Workers: a dead one is replaced, on its own device, and noticed also between two stages; one left alone can save."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path

import pytest

from sdft_exp import workers
from sdft_exp.stage import Stage
from sdft_exp.stopping import asked, deferred, listen
from sdft_exp.store import Store
from sdft_exp.workers import Done, Pool, Step


@dataclass(frozen=True)
class Params:
    """`kill`: the worker dies of this stage; `wait`: it holds the worker for good."""

    do: str = ""


def stage(do: str = "") -> Stage:
    return Stage("mix", Params(do))


def work(connection: Connection, root: Path, device: str | None, parent: int) -> None:
    """In place of the worker's loop: tells its device as the reason."""
    while True:
        try:
            given = connection.recv()
        except EOFError:
            return
        if given.params.do == "kill":
            os.kill(os.getpid(), 9)
        if given.params.do == "wait":
            time.sleep(60)
        connection.send(Done(given, "ran", str(device), 0.0))


@pytest.fixture
def two(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Pool]:
    monkeypatch.setattr(workers, "_work", work)
    with Pool(Store(tmp_path), 2, ["0", "1"]) as pool:
        yield pool


def work_and_save(connection: Connection, root: Path, device: str | None, parent: int) -> None:
    """In place of the worker's loop: at work until it is asked to stop, and a second longer to save something."""
    with deferred():
        listen()
        connection.send(Step(connection.recv(), 1, 2, "steps"))
        while not asked():
            time.sleep(0.01)
        time.sleep(1)
        (root / "saved").touch()


def test_a_worker_that_is_left_at_work_can_save_what_it_has(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers, "_work", work_and_save)
    with Pool(Store(tmp_path), 1, []) as pool:
        pool.start(stage())
        assert list(pool.events(timeout=60))
    assert (tmp_path / "saved").exists()


def next_done(pool: Pool) -> Done:
    for _ in range(60):
        for event in pool.events(timeout=1):
            assert isinstance(event, Done)
            return event
    raise AssertionError("no worker told anything")


def test_a_replaced_worker_gets_the_device_of_the_dead_one(two: Pool) -> None:
    two.start(stage("kill"))
    two.start(stage("wait"))
    assert [worker.device for worker in two.workers] == ["0", "1"]
    done = next_done(two)
    assert (done.ending, done.stage.params.do) == ("failed", "kill")
    assert "killed by signal 9" in done.reason
    two.start(stage())
    assert next_done(two).reason == "0"


def test_more_workers_than_devices_share_them_in_turn(two: Pool) -> None:
    for _ in range(5):
        two._spawn()
    assert [worker.device for worker in two.workers] == ["0", "1", "0", "1", "0"]


def test_more_devices_than_workers_are_shared_out(tmp_path: Path) -> None:
    assert Pool(Store(tmp_path), 2, ["0", "1", "2", "5", "7"]).devices == ["0,2,7", "1,5"]
    assert Pool(Store(tmp_path), 1, ["0", "1"]).devices == ["0,1"]


def test_without_devices_a_worker_has_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers, "_work", work)
    with Pool(Store(tmp_path), 1, []) as pool:
        pool.start(stage())
        assert next_done(pool).reason == "None"


def test_a_worker_that_died_while_idle_is_replaced(two: Pool) -> None:
    two.start(stage())
    assert next_done(two).ending == "ran"
    (dead,) = two.workers
    dead.process.kill()
    dead.process.join()
    two.start(stage())
    assert next_done(two).ending == "ran"
    assert dead not in two.workers
    assert len(two.workers) == 1


def test_another_idle_worker_takes_over_for_one_that_died_idle(two: Pool) -> None:
    for _ in range(2):
        two.start(stage())
    for _ in range(2):
        next_done(two)
    dead, alive = two.workers
    dead.process.kill()
    dead.process.join()
    two.start(stage())
    assert two.workers == [alive]
    assert next_done(two).reason == "1"
