"""What Slurm's commands say, from scripts in their place."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from sdft_exp.slurm import queue

Command = Callable[[str, str], None]


@pytest.fixture
def command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Command:
    """Puts a script in the place of a command; each writes down in `asked` that it was run."""
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    monkeypatch.setattr(queue.time, "sleep", lambda seconds: None)
    queue._has_accounting.cache_clear()

    def put(name: str, script: str) -> None:
        (tmp_path / name).write_text(f"#!/bin/sh\necho {name} >> {tmp_path}/asked\n{script}\n")
        (tmp_path / name).chmod(0o755)

    put("scontrol", "echo 'slurm_load_jobs error: Invalid job id specified' >&2; exit 1")
    return put


def test_what_slurm_remembers_needs_no_accounting(command: Command, tmp_path: Path) -> None:
    command("scontrol", "echo 'JobId=7 JobName=x JobState=FAILED ExitCode=0:9'")
    command("sacct", "echo 'COMPLETED|0:0'")
    found = queue.ended("7")
    assert (found["JobState"], found["ExitCode"]) == ("FAILED", "0:9")
    assert (tmp_path / "asked").read_text() == "scontrol\n"


def test_what_it_has_forgotten_the_accounting_may_know(command: Command) -> None:
    command("sacct", "echo 'CANCELLED by 1000|0:15'")
    assert queue.ended("7_3") == {"JobState": "CANCELLED", "ExitCode": "0:15"}
    command("sacct", "")
    assert queue.ended("7_3") == {}


def test_an_accounting_that_does_not_answer_is_asked_once(command: Command, tmp_path: Path) -> None:
    command("sacct", "echo 'Slurm accounting storage is disabled' >&2; exit 1")
    assert [queue.ended(job) for job in ("7", "8")] == [{}, {}]
    assert (tmp_path / "asked").read_text().split() == ["scontrol", "sacct", "scontrol"]
