"""How it stands with the stages of a submitted sweep, from our own notes and a queue that is made up here."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import pytest

from sdft_exp.errors import UserError
from sdft_exp.slurm import state
from sdft_exp.slurm.queue import Queued
from sdft_exp.slurm.state import Ledger, Submitted, events, look, note, note_step, read_ledger, standings
from sdft_exp.stage import Stage


@dataclass(frozen=True)
class Params:
    pass


MIX = Stage("mix", Params(), label="data")
TRAIN = Stage("train", Params(), {"mix": MIX}, label="data, seed 0")
ANSWER = Stage("answer", Params(), {"train": TRAIN}, label="math")
RUNNING, PENDING, BLOCKED = ("RUNNING", "None"), ("PENDING", "Resources"), ("PENDING", "Dependency")


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    stages = (MIX, TRAIN, ANSWER)
    return Ledger(
        str(tmp_path / "store"),
        {one.address: {"label": one.label, "inputs": [i.address for i in one.inputs.values()]} for one in stages},
        [
            Submitted("1", "mix", [MIX.address], []),
            Submitted("2_0", "train", [TRAIN.address], ["1"]),
            Submitted("3", "answer", [ANSWER.address], ["2_0"]),
        ],
        report="4",
    )


def told(sweep: Path, ledger: Ledger, **jobs: tuple[str, str]) -> list[tuple[str, str]]:
    queued = {name[1:]: Queued(name[1:], *job) for name, job in jobs.items()}
    return [(one.state, one.told) for one in standings(sweep, ledger, queued).values()]


def make(ledger: Ledger, stage: Stage) -> None:
    (Path(ledger.store) / stage.address).mkdir(parents=True)


@pytest.fixture(autouse=True)
def forgetful(monkeypatch: pytest.MonkeyPatch) -> dict[str, dict[str, str]]:
    """What Slurm remembers of ended jobs: nothing, unless a test says otherwise."""
    remembered: dict[str, dict[str, str]] = {}
    monkeypatch.setattr(state, "ended", lambda job: remembered.get(job, {}))
    return remembered


def test_at_work_and_waiting(tmp_path: Path, ledger: Ledger) -> None:
    make(ledger, MIX)
    assert told(tmp_path, ledger, _2_0=PENDING, _3=BLOCKED) == [
        ("done", "another process made it"),
        ("queued", "job 2_0: Resources"),
        ("waiting", "after job 2_0 (train)"),
    ]
    assert told(tmp_path, ledger, _2_0=RUNNING, _3=BLOCKED)[1] == ("running", "job 2_0: starts")
    note(tmp_path, TRAIN, "start", job="2_0", restarts=0)
    note_step(tmp_path, TRAIN, 5, 9, "steps")
    assert told(tmp_path, ledger, _2_0=RUNNING, _3=BLOCKED)[1] == ("running", "job 2_0: 5/9 steps")


def test_a_failed_stage_fails_what_needs_it_with_its_reason(tmp_path: Path, ledger: Ledger) -> None:
    make(ledger, MIX)
    note(tmp_path, TRAIN, "end", job="2_0", status="failed", reason="no memory", seconds=1.0)
    assert told(tmp_path, ledger)[1:] == [("failed", "no memory"), ("failed", "needs train (data, seed 0): no memory")]


def test_a_failure_told_just_before_the_job_was_requeued_is_none(tmp_path: Path, ledger: Ledger) -> None:
    """Slurm may end the worker a moment before the process that would know why."""
    make(ledger, MIX)
    note(tmp_path, TRAIN, "end", job="2_0", status="failed", reason="its worker was stopped", seconds=1.0)
    assert told(tmp_path, ledger, _2_0=PENDING)[1] == ("queued", "job 2_0: Resources")
    note(tmp_path, TRAIN, "start", job="2_0", restarts=1)
    assert told(tmp_path, ledger, _2_0=RUNNING)[1] == ("running", "job 2_0: starts")


@pytest.mark.parametrize(
    ("remembered", "reason"),
    [
        ({}, "its Slurm job 2_0 ended without a word (killed?)"),
        ({"JobState": "FAILED", "ExitCode": "0:9"}, "its Slurm job 2_0 was killed by signal 9 (out of memory?)"),
        ({"JobState": "OUT_OF_MEMORY", "ExitCode": "0:125"}, "its Slurm job 2_0 ended as OUT_OF_MEMORY"),
        ({"JobState": "CANCELLED", "ExitCode": "0:15"}, "its Slurm job 2_0 was cancelled"),
        (
            {"JobState": "TIMEOUT", "ExitCode": "0:0"},
            "its Slurm job 2_0 ran into its time limit before it could write a checkpoint",
        ),
    ],
)
def test_a_job_that_could_not_tell_its_end(
    tmp_path: Path,
    ledger: Ledger,
    forgetful: dict[str, dict[str, str]],
    remembered: dict[str, str],
    reason: str,
) -> None:
    make(ledger, MIX)
    forgetful["2_0"] = remembered
    note(tmp_path, TRAIN, "start", job="2_0", restarts=0)
    assert told(tmp_path, ledger)[1] == ("failed", reason)


def test_the_reason_that_slurm_told_once_is_kept(
    tmp_path: Path, ledger: Ledger, forgetful: dict[str, dict[str, str]]
) -> None:
    make(ledger, MIX)
    assert told(tmp_path, ledger)[1] == ("failed", "its Slurm job 2_0 ended without a word (killed?)")
    forgetful["2_0"] = {"JobState": "PENDING"}  # of a queue that was asked before the job was submitted
    assert told(tmp_path, ledger)[1] == ("failed", "its Slurm job 2_0 ended without a word (killed?)")
    forgetful["2_0"] = {"JobState": "FAILED", "ExitCode": "0:9"}
    reason = ("failed", "its Slurm job 2_0 was killed by signal 9 (out of memory?)")
    assert told(tmp_path, ledger)[1] == reason
    forgetful.clear()
    assert told(tmp_path, ledger)[1] == reason


def test_jobs_at_work_have_reasons_kept_before_slurm_forgets_them(
    tmp_path: Path, ledger: Ledger, forgetful: dict[str, dict[str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []

    def queue() -> dict[str, Queued]:
        asked.append(1)
        return {}

    monkeypatch.setattr(state, "in_queue", queue)
    look(tmp_path)  # before anything was submitted
    make(ledger, MIX)
    ledger.save(tmp_path)
    forgetful["2_0"] = {"JobState": "OUT_OF_MEMORY", "ExitCode": "0:125"}
    look(tmp_path)
    look(tmp_path)
    assert len(asked) == 1  # once a minute, whoever of the sweep asks
    forgetful.clear()
    assert told(tmp_path, ledger)[1] == ("failed", "its Slurm job 2_0 ended as OUT_OF_MEMORY")

    os.utime(tmp_path / "slurm" / "looked", (0, 0))
    look(tmp_path)
    assert len(asked) == 2


def test_a_look_that_slurm_does_not_answer_harms_nobody(
    tmp_path: Path, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    def silent() -> dict[str, Queued]:
        raise UserError("squeue: no answer in 60 s")

    monkeypatch.setattr(state, "in_queue", silent)
    ledger.save(tmp_path)
    look(tmp_path)
    assert list((tmp_path / "slurm").glob("ended/*")) == []


def test_a_cancelled_job_says_so_after_slurm_has_forgotten_it(tmp_path: Path, ledger: Ledger) -> None:
    make(ledger, MIX)
    note(tmp_path, TRAIN, "stopped", job="2_0", why="cancelled")
    assert told(tmp_path, ledger)[1] == ("failed", "its Slurm job 2_0 was cancelled")


def test_an_earlier_jobs_failure_counts_no_more_once_another_is_submitted(tmp_path: Path, ledger: Ledger) -> None:
    make(ledger, MIX)
    note(tmp_path, TRAIN, "end", job="2_0", status="failed", reason="no memory", seconds=1.0)
    ledger.jobs.append(Submitted("5", "train", [TRAIN.address], []))
    assert told(tmp_path, ledger, _5=PENDING)[1] == ("queued", "job 5: Resources")


def test_how_it_was_made_is_what_the_first_job_told_that_made_it(tmp_path: Path, ledger: Ledger) -> None:
    make(ledger, MIX)
    note(tmp_path, MIX, "end", job="1", status="ran", reason="", seconds=2.5)
    note(tmp_path, MIX, "end", job="1", status="hit", reason="", seconds=0.0)  # the job was requeued behind it
    made = standings(tmp_path, ledger, {})[MIX.address]
    assert (made.state, made.ending, made.seconds) == ("done", "ran", 2.5)


def test_a_ledger_is_read_as_it_was_saved_and_a_damaged_one_is_one_line(tmp_path: Path, ledger: Ledger) -> None:
    assert read_ledger(tmp_path) is None
    ledger.save(tmp_path)
    assert read_ledger(tmp_path) == ledger
    (tmp_path / "slurm" / "jobs.json").write_text("{")
    with pytest.raises(UserError, match=r"jobs\.json: is damaged"):
        read_ledger(tmp_path)


def test_notes_that_find_no_room_are_left_out(tmp_path: Path) -> None:
    (tmp_path / "slurm").write_text("a file where the folder of notes would be: no note can be written")
    note(tmp_path, MIX, "start", job="1")
    note_step(tmp_path, MIX, 1, 2, "rows")
    assert (tmp_path / "slurm").is_file()


def test_half_a_line_in_the_notes_is_no_event(tmp_path: Path) -> None:
    note(tmp_path, MIX, "start", job="1")
    (path,) = (tmp_path / "slurm" / "stages").glob("*.jsonl")
    with path.open("a") as file:
        file.write('{"event": "end", "sta')
    assert [event["event"] for event in events(tmp_path, MIX.address)] == ["start"]
