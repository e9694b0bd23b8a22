"""The faults of `make chaos`: some in every run of the tests, all of them with the slow ones."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.chaos.crowd import crowd
from tests.chaos.faults import FAULTS
from tests.chaos.machine import NotHere
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


def test_three_processes_on_one_store(tmp_path: Path) -> None:
    assert "none lost" in crowd(tmp_path, 3, 6)


@pytest.mark.slow
@pytest.mark.timeout(4 * 3600)
def test_eight_processes_on_one_store(tmp_path: Path) -> None:
    assert "none lost" in crowd(tmp_path, 8, 200)
