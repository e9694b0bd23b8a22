"""What a Slurm job does at its edges, in this process and with a Slurm that is made up here."""

from __future__ import annotations

import io
import signal
from dataclasses import dataclass
from pathlib import Path

import pytest

from sdft_exp.errors import UserError
from sdft_exp.execute import Listener, Record
from sdft_exp.plan import Plan
from sdft_exp.slurm import job, queue
from sdft_exp.slurm.job import Terms
from sdft_exp.slurm.state import events
from sdft_exp.stage import Stage
from sdft_exp.stopping import Stopped
from sdft_exp.store import Store
from sdft_exp.workers import Step


@dataclass(frozen=True)
class Params:
    pass


MIX = Stage("mix", Params(), label="data")


@pytest.fixture
def terms(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Terms:
    """Those of job 7, which Slurm knows to be at work."""
    monkeypatch.delenv("SLURM_ARRAY_JOB_ID", raising=False)
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    monkeypatch.setattr(queue, "shown", lambda job: {"JobState": "RUNNING"})
    return Terms(tmp_path / "sweep", tmp_path / "store", "cpu", max_requeues=1, patience=1.0)


def test_a_job_that_slurm_does_not_take_back_fails_with_the_reason(
    terms: Terms, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(job: str) -> None:
        raise UserError(f"scontrol: Requested operation is presently disabled for job {job}")

    monkeypatch.setattr(queue, "requeue", refuse)
    assert job._give_way(Stopped(signal.SIGUSR2), (MIX,), terms) == 1
    told = events(terms.sweep, MIX.address)[-1]
    assert (told["event"], told["status"]) == ("end", "failed")
    assert told["reason"] == (
        "time limit, and its Slurm job could not go back into the queue "
        "(scontrol: Requested operation is presently disabled for job 7)"
    )


def test_a_full_disk_under_the_log_stops_no_job(terms: Terms, monkeypatch: pytest.MonkeyPatch) -> None:
    requeued: list[str] = []
    monkeypatch.setattr(queue, "requeue", requeued.append)
    with io.TextIOWrapper(open("/dev/full", "wb", buffering=0), write_through=True) as full:  # as `python -u` has it
        monkeypatch.setattr("sys.stdout", full)
        assert job._give_way(Stopped(signal.SIGUSR2), (MIX,), terms) == 128 + signal.SIGUSR2
    assert requeued == ["7"]


def test_a_job_whose_code_has_changed_makes_nothing(terms: Terms, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(job, "changed", lambda stage: ["sdft_exp.generation.batched"])
    assert job._make((MIX,), terms) == 1
    assert events(terms.sweep, MIX.address)[-1]["reason"] == (
        "the program has changed since the sweep was submitted (sdft_exp.generation.batched); resume submits it anew"
    )


def test_a_job_at_work_looks_what_became_of_the_others(terms: Terms, monkeypatch: pytest.MonkeyPatch) -> None:
    looked: list[Path] = []

    def execute(plan: Plan, store: Store, *, tell: Listener, **how: object) -> dict[str, Record]:
        tell(Step(MIX, 1, 2, "rows"))
        record = Record(MIX, "ran", "", 0.0)
        tell(record)
        return {MIX.address: record}

    monkeypatch.setattr(job, "execute", execute)
    monkeypatch.setattr(job, "look", looked.append)
    assert job._make((MIX,), terms) == 0
    assert looked == [terms.sweep] * 2
