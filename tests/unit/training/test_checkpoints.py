from __future__ import annotations

from pathlib import Path

import pytest

from sdft_exp.training.checkpoints import ALONE, latest, seal

PARTS = ("model.safetensors", "optimizer.pt", "scheduler.pt", "rng_state.pth", "trainer_state.json")


def checkpoint(folder: Path, step: int) -> Path:
    path = folder / f"checkpoint-{step}"
    path.mkdir(parents=True)
    for name in PARTS:
        (path / name).write_text(f"{name} at {step}")
    return path


def test_none_where_there_is_none(tmp_path):
    assert latest(tmp_path / "nowhere", ALONE) is None


def test_one_that_is_not_sealed_is_none_and_removed(tmp_path):
    path = checkpoint(tmp_path, 5)
    assert latest(tmp_path, ALONE) is None
    assert not path.exists()


@pytest.mark.parametrize("part", PARTS)
@pytest.mark.parametrize("damage", ["gone", "torn"])
def test_one_with_a_part_missing_or_torn_is_none(tmp_path, part, damage):
    path = checkpoint(tmp_path, 5)
    seal(path)
    assert latest(tmp_path, ALONE) == path
    if damage == "gone":
        (path / part).unlink()
    else:
        (path / part).write_text("opt")
    assert latest(tmp_path, ALONE) is None


def test_sealing_needs_every_part(tmp_path):
    path = checkpoint(tmp_path, 5)
    (path / "rng_state.pth").unlink()
    seal(path)
    assert latest(tmp_path, ALONE) is None


def test_the_most_steps_win_by_number(tmp_path):
    nine = checkpoint(tmp_path, 9)
    seal(nine)
    ten = checkpoint(tmp_path, 10)
    assert latest(tmp_path, ALONE) == nine  # ten is not whole
    ten = checkpoint(tmp_path, 10)
    seal(ten)
    assert not nine.exists()
    assert latest(tmp_path, ALONE) == ten


def test_a_torn_seal_is_none(tmp_path):
    path = checkpoint(tmp_path, 5)
    seal(path)
    (path / "whole.json").write_text('{"optimizer.pt": 1')
    assert latest(tmp_path, ALONE) is None
