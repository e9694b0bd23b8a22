"""The faults of `make chaos`: some in every run of the tests, all of them with the slow ones."""

from __future__ import annotations

import contextlib
import os
import subprocess
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import pytest

from sdft_exp.stage import Stage
from sdft_exp.store import Store
from tests.chaos.attempts import Attempts, attempts
from tests.chaos.crowd import crowd
from tests.chaos.faults import FAULTS
from tests.chaos.machine import NotHere, kill
from tests.chaos.trial import Results, Trial

pytestmark = pytest.mark.recipe

IN_CI = {
    "a disk that fills up during the training",
    "a read-only store",
    "a clock that jumps",
    "two hosts whose locks lie",
}


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Results:
    trial = Trial.at(tmp_path_factory.mktemp("undisturbed") / "trial")
    ended = trial.run()
    assert ended.code == 0, ended.out + ended.err
    return trial.results()


@pytest.mark.parametrize(
    "name", [name if name in IN_CI else pytest.param(name, marks=pytest.mark.slow) for name in FAULTS]
)
def test_a_fault_is_survived(name: str, undisturbed: Results, tmp_path: Path) -> None:
    try:
        assert FAULTS[name](Trial.at(tmp_path / "trial"), undisturbed)
    except NotHere as error:
        (pytest.fail if os.environ.get("CI") else pytest.skip)(f"{name}: {error}")


@dataclass(frozen=True)
class Params:
    ratio: float = 0.5


STAGE = Stage("mix", Params())


def write(out: Path) -> None:
    (out / "train.jsonl").write_text("{}\n")


def test_a_second_writer_is_seen_though_it_says_hit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Store, "_locked", lambda *_: contextlib.nullcontext())
    store = Store(tmp_path)

    def slower(out: Path) -> None:
        write(out)
        assert store.produce(STAGE, write).status == "ran"

    with attempts(tmp_path) as tried:
        assert store.produce(STAGE, slower).status == "hit"
    assert tried == Attempts(Counter({f"mix-{STAGE.key}": 1}), {f"mix-{STAGE.key}"})


def test_who_takes_over_is_no_second_writer(tmp_path: Path) -> None:
    store = Store(tmp_path)

    def fail(out: Path) -> None:
        write(out)
        raise ArithmeticError

    with attempts(tmp_path) as tried:
        with pytest.raises(ArithmeticError):
            store.produce(STAGE, fail)
        assert store.produce(STAGE, write).status == "ran"
    assert tried == Attempts(Counter({f"mix-{STAGE.key}": 1}), set())


def test_only_a_living_process_is_killed() -> None:
    with subprocess.Popen(["sleep", "60"]) as running:
        assert kill(running.pid)
    with subprocess.Popen(["true"]) as ended:
        os.waitid(os.P_PID, ended.pid, os.WEXITED | os.WNOWAIT)  # it is dead, and we have not asked how it ended
        assert not kill(ended.pid)


def test_two_processes_on_one_store(tmp_path: Path) -> None:
    assert "each made once" in crowd(tmp_path, 2, 4)


@pytest.mark.slow
@pytest.mark.timeout(4 * 3600)
def test_eight_processes_on_one_store(tmp_path: Path) -> None:
    assert "each made once" in crowd(tmp_path, 8, 200)
