"""What runs inside a Slurm job: its stages are made as in a local sweep, by a worker process of this one.

This process imports no torch and outlives its worker, so that a worker that the kernel kills is told of. Before Slurm
ends the job it sends a signal: the worker writes a checkpoint, and the job goes back into the queue, unless it was
there too often. Whoever ends a job without a signal loses no more than since the last checkpoint.
"""

from __future__ import annotations

import contextlib
import os
import platform
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from sdft_exp.display import Display, open_console
from sdft_exp.errors import UserError
from sdft_exp.execute import Listener, Record, Status, execute
from sdft_exp.plan import Node, Plan
from sdft_exp.run import Sweep, finish
from sdft_exp.slurm import queue
from sdft_exp.slurm.sources import changed
from sdft_exp.slurm.state import Ledger, Standing, events, look, note, note_step, read_ledger, standings
from sdft_exp.stage import Stage
from sdft_exp.stopping import Stopped, listen
from sdft_exp.store import Store
from sdft_exp.training.obstacles import lacking_memory
from sdft_exp.workers import Step

_STEP_SECONDS = 2.0  # between two notes of how far a stage is


@dataclass(frozen=True)
class Terms:
    """What a job has to know beside its stages: where things lie, and how it may give way.

    Attributes:
        sweep: folder of the sweep's results.
        store: root of the store.
        device: `launch.device`.
        max_requeues: times that the job may start anew.
        patience: seconds that a worker has for its checkpoint.
    """

    sweep: Path
    store: Path
    device: str
    max_requeues: int
    patience: float


def job_id() -> str:
    """This job's id as squeue shows it, `12` or `12_3`."""
    array, task = os.environ.get("SLURM_ARRAY_JOB_ID"), os.environ.get("SLURM_ARRAY_TASK_ID")
    return f"{array}_{task}" if array else os.environ["SLURM_JOB_ID"]


def restarts() -> int:
    """How often this job was requeued, by whomever."""
    return int(os.environ.get("SLURM_RESTART_COUNT", "0"))


def make_stages(stages: tuple[Stage, ...], terms: Terms) -> None:
    """Make the stages in order; ends the process with exit code 1 when one failed."""
    _run(terms, stages, lambda: _make(stages, terms))


def write_report(sweep: Sweep, terms: Terms) -> None:
    """Write report, table and folder as a local sweep does, of what the sweep's jobs have made."""
    _run(terms, (), lambda: _report(sweep, terms))


def _run(terms: Terms, stages: tuple[Stage, ...], work: Callable[[], int]) -> None:
    """Do `work`, until it ends or a signal comes; then give way."""
    os.environ.setdefault("OMP_NUM_THREADS", os.environ.get("SLURM_CPUS_PER_TASK", "1"))
    try:
        listen()
        code = work()
        if code and _being_ended(queue.shown(job_id())):  # Slurm ended the worker before us
            raise Stopped(signal.SIGTERM)
    except Stopped as stopped:
        code = _give_way(stopped, stages, terms)
    sys.exit(code)


def _make(stages: tuple[Stage, ...], terms: Terms) -> int:
    store, own = Store(terms.store), job_id()
    for stage in stages:
        refusal = _refusal(stage, stages, store, terms)
        if refusal:
            _fail(stages, store, terms, refusal)
            return 1
    plan = Plan({stage.address: Node(stage, 1, store.verify(stage.address)) for stage in stages})
    display = Display(open_console(), len(plan.missing), store.root)
    current: Stage | None = None
    shown = 0.0

    def tell(event: Record | Step) -> None:
        nonlocal current, shown
        with contextlib.suppress(OSError):  # no room for the log, where the store may have some
            display(event)
        if isinstance(event, Record):
            told = {"status": event.status, "reason": event.reason, "seconds": round(event.seconds, 3)}
            note(terms.sweep, event.stage, "end", job=own, **told)
            look(terms.sweep)
            return
        if current != event.stage and event.total:
            current = event.stage
            note(terms.sweep, event.stage, "begin", job=own, at=event.done, of=event.total, what=event.what)
        if time.monotonic() - shown >= _STEP_SECONDS:
            shown = time.monotonic()
            look(terms.sweep)
            note_step(terms.sweep, event.stage, event.done, event.total, event.what)

    for stage in plan.missing[:1]:
        note(terms.sweep, stage, "start", job=own, restarts=restarts(), host=platform.node())
    records = execute(plan, store, workers=1, jobs=1, device=terms.device, tell=tell, patience=terms.patience)
    return 1 if any(record.status == "failed" for record in records.values()) else 0


def _report(sweep: Sweep, terms: Terms) -> int:
    ledger = read_ledger(terms.sweep) or Ledger(str(terms.store))
    found = standings(terms.sweep, ledger, queue={})  # this job starts when all others have ended

    def tell_all(tell: Listener) -> None:
        for address, node in sweep.planned.nodes.items():
            tell(Record(node.stage, "hit", "", 0.0) if node.hit else _record(node.stage, found[address]))

    return finish(sweep, Store(terms.store), open_console(), tell_all)


def _record(stage: Stage, standing: Standing) -> Record:
    if standing.state != "done":
        return Record(stage, "failed", standing.told, standing.seconds)
    status = cast(Status, "waited" if standing.ending == "hit" else standing.ending)
    return Record(stage, status, standing.told, standing.seconds)


def _refusal(stage: Stage, stages: tuple[Stage, ...], store: Store, terms: Terms) -> str:
    """Why a stage cannot be made by this job, or ""."""
    if restarts() > terms.max_requeues:
        return _too_often(stages, terms)
    differing = changed(stage)
    if differing:
        return f"the program has changed since the sweep was submitted ({differing[0]}); resume submits it anew"
    own = {one.address for one in stages}
    for source in stage.inputs.values():
        if source.address not in own and not store.path(source.address).is_dir():
            return f"needs {source.name} ({source.label}), which is not in the store any more; resume makes it"
    return "" if store.path(stage.address).is_dir() else lacking_memory(stage, terms.device)


def _too_often(stages: tuple[Stage, ...], terms: Terms) -> str:
    """Slurm counts how often a job started anew; what our own notes know of the reasons is told with it."""
    own = job_id()
    happened = [event for stage in stages for event in events(terms.sweep, stage.address) if event.get("job") == own]
    reasons = {event["restarts"]: event["why"] for event in happened if event["event"] == "stopped"}
    told = ", ".join(f"{count} x {why}" for why, count in Counter(reasons.values()).items())
    return (
        f"its Slurm job was to start anew for the {terms.max_requeues + 1}. time{f' ({told})' if told else ''}: "
        f"over hydra.launcher.max_requeues={terms.max_requeues}; what it has is kept, and resume goes on from there"
    )


def _fail(stages: tuple[Stage, ...], store: Store, terms: Terms, reason: str) -> None:
    for stage in stages:
        if not store.path(stage.address).is_dir():
            note(terms.sweep, stage, "end", job=job_id(), status="failed", reason=reason, seconds=0.0)
            _say(f"failed {stage.name} {stage.label}: {reason}")


def _say(text: str) -> None:
    with contextlib.suppress(OSError):  # no room for the log, where the store may have some
        print(text, flush=True)


def _being_ended(told: dict[str, str]) -> bool:
    return bool(told) and (told["JobState"] != "RUNNING" or told.get("PreemptTime", "None") != "None")


def _give_way(stopped: Stopped, stages: tuple[Stage, ...], terms: Terms) -> int:
    """Go back into the queue where Slurm does not see to it; returns the exit code."""
    told = queue.shown(job_id())
    at_work = told.get("JobState") == "RUNNING"  # else COMPLETING: Slurm has decided already
    if told.get("PreemptTime", "None") != "None":
        why = "preempted"
    elif at_work:
        why = "time limit"
    elif int(told.get("Restarts", "0")) > restarts():
        why = "requeued"
    else:
        why = "cancelled"
    store = Store(terms.store)
    for stage in stages:
        if not store.path(stage.address).is_dir():
            note(terms.sweep, stage, "stopped", job=job_id(), why=why, signal=stopped.number, restarts=restarts())
    _say(f"stopped: {why} ({stopped})")
    if at_work or (not told and stopped.number != signal.SIGTERM):  # by which Slurm ends what it has decided on
        if restarts() >= terms.max_requeues:
            _fail(stages, store, terms, _too_often(stages, terms))
            return 1
        try:
            queue.requeue(os.environ["SLURM_JOB_ID"])
        except UserError as error:
            _fail(stages, store, terms, f"{why}, and its Slurm job could not go back into the queue ({error})")
            return 1
    return 128 + stopped.number
