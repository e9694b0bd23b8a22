"""launchers/wandb_sync.sh, with a stand-in for the command that uploads."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import filelock
import pytest

SCRIPT = Path(__file__).resolve().parents[3] / "launchers" / "wandb_sync.sh"


@pytest.fixture
def outputs(tmp_path: Path) -> Path:
    """Two sweeps with a run each, and a command that notes what it would upload."""
    command = tmp_path / "upload"
    command.write_text(f'#!/bin/sh\necho "$1 $2" >> {tmp_path}/noted\ncase "$2" in *refused*) exit 1;; esac\n')
    command.chmod(0o755)
    outputs = tmp_path / "out puts"
    for name in ("first", "second"):
        (outputs / name / "wandb" / f"offline-run-1-{name}").mkdir(parents=True)
    return outputs


def sync(outputs: Path) -> tuple[int, list[str]]:
    environment = os.environ | {"WANDB": str(outputs.parent / "upload")}
    done = subprocess.run([SCRIPT, outputs], env=environment, capture_output=True, text=True, timeout=60)
    noted = outputs.parent / "noted"
    return done.returncode, noted.read_text().splitlines() if noted.exists() else []


def test_every_run_is_uploaded_but_what_was_already(outputs: Path) -> None:
    (outputs / "second/wandb/offline-run-1-second/run-second.wandb.synced").touch()
    assert sync(outputs) == (0, [f"sync {outputs}/first/wandb/offline-run-1-first"])


def test_one_that_is_being_written_is_left_for_the_next_time(outputs: Path) -> None:
    with filelock.FileLock(outputs / "first" / "wandb" / ".lock"):
        code, noted = sync(outputs)
    assert code == 1 and noted == [f"sync {outputs}/second/wandb/offline-run-1-second"]


def test_one_that_is_refused_keeps_no_other_back(outputs: Path) -> None:
    (outputs / "first/wandb/offline-run-1-refused").mkdir()
    code, noted = sync(outputs)
    assert code == 1 and len(noted) == 3
