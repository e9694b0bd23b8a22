"""Walks a plan: what is missing is made by the workers, inputs before the stages that take them. Imports no torch."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from sdft_exp.plan import Plan
from sdft_exp.processes import cuda_devices
from sdft_exp.stage import Stage
from sdft_exp.store import Store
from sdft_exp.workers import PATIENCE, RETRY_SECONDS, Done, Pool, Step

Status = Literal["ran", "hit", "waited", "repaired", "failed"]


@dataclass(frozen=True)
class Record:
    """How one stage of this invocation ended: a line of `stages.json`."""

    stage: Stage
    status: Status
    reason: str
    seconds: float

    def as_json(self) -> dict[str, object]:
        return {
            "stage": self.stage.name,
            "key": self.stage.key,
            "label": self.stage.label,
            "status": self.status,
            "reason": self.reason,
            "seconds": round(self.seconds, 3),
        }


Listener = Callable[[Record | Step], None]


def worker_count(asked: int | None, jobs: int, devices: list[str]) -> int:
    """Processes of a sweep: as asked, else one a GPU, else one a core up to four.

    A lone job on GPUs has one: its stages wait for one another, and each spreads its own generation over all GPUs.
    """
    if asked:
        return asked
    if devices:
        return 1 if jobs == 1 else len(devices)
    return min(4, len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1)


def execute(
    plan: Plan,
    store: Store,
    *,
    workers: int | None,
    jobs: int,
    device: str,
    tell: Listener,
    patience: float = PATIENCE,
) -> dict[str, Record]:
    """Make every stage of `plan` that the store lacks; returns one record a stage, by address, in the plan's order.

    A failed stage fails those that take its artifact, with the reason; all others go on. `patience` is how many seconds
    the workers have for saving what they can when this process is asked to stop.
    """
    records: dict[str, Record] = {}

    def note(record: Record) -> None:
        records[record.stage.address] = record
        tell(record)

    for node in plan.nodes.values():
        if node.hit:
            store.touch(node.stage.address)
            note(Record(node.stage, "hit", "", 0.0))
    if plan.missing:
        devices = [] if device == "cpu" else cuda_devices()
        size = min(worker_count(workers, jobs, devices), len(plan.missing))
        if devices and any(stage.gpus > 1 for stage in plan.missing):
            size = 1  # which has all of them
        with Pool(store, size, devices, patience) as pool:
            _walk(plan.missing, pool, records, note, tell)
    return {address: records[address] for address in plan.nodes}


def _walk(
    missing: Sequence[Stage],
    pool: Pool,
    records: dict[str, Record],
    note: Callable[[Record], None],
    tell: Listener,
) -> None:
    waiting = {stage.address: stage for stage in missing}
    elsewhere: dict[str, float] = {}  # address -> when to look again at what another process computes
    at_work: dict[str, Step] = {}  # what was last told of each
    running = 0
    while waiting or running:
        unmade = {stage.address for stage in missing} - set(records)
        for address, stage in list(waiting.items()):
            sources = [source.address for source in stage.inputs.values()]
            broken = next((records[s] for s in sources if s in records and records[s].status == "failed"), None)
            if broken:
                del waiting[address]
                note(Record(stage, "failed", needs(broken.stage.name, broken.stage.label, broken.reason), 0.0))
            elif not unmade.intersection(sources) and pool.free and elsewhere.get(address, 0.0) <= time.monotonic():
                del waiting[address]
                pool.start(stage)
                running += 1
                at_work.setdefault(address, Step(stage, 0, 0, "starting"))
        if not running and not waiting:
            return
        if not running:
            time.sleep(RETRY_SECONDS / 5)
        for event in pool.events(timeout=RETRY_SECONDS):
            address = event.stage.address
            if isinstance(event, Step):
                at_work[address] = event
                continue
            running -= 1
            if event.ending == "busy":
                elsewhere[address] = time.monotonic() + RETRY_SECONDS
                waiting[address] = event.stage
                at_work[address] = Step(event.stage, 0, 0, "waiting for another process, which makes it")
            else:
                at_work.pop(address, None)
                note(_record(event, address in elsewhere))
        for step in at_work.values():  # also those that nothing is new of: whoever looks on can tell that time passes
            tell(step)


def _record(done: Done, was_busy: bool) -> Record:
    if done.ending in ("failed", "repaired"):
        return Record(done.stage, done.ending, done.reason, done.seconds)
    if done.ending == "hit":
        return Record(done.stage, "waited", "another process made it", done.seconds)
    return Record(done.stage, "ran", "taken over from another process" if was_busy else "", done.seconds)


def needs(stage: str, label: str, reason: str) -> str:
    """Why a stage failed that takes the artifact of a failed one."""
    return reason if reason.startswith("needs ") else f"needs {stage} ({label}): {reason}"
