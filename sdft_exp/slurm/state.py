"""What is known of a sweep on Slurm, kept beside its results: Slurm forgets an ended job within minutes.

<sweep>/slurm/jobs.json                    what was submitted: stages, jobs, who follows whom
<sweep>/slurm/stages/<stage>-<key>.jsonl   what happened to a stage: started, went on, stopped, ended
<sweep>/slurm/stages/<stage>-<key>.step    how far it is
<sweep>/slurm/ended/<job>                  what Slurm said of the end of a job that did not tell it itself
<sweep>/slurm/looked                       when a job of the sweep last asked for that
<sweep>/slurm/logs/                        scripts, pickled stages and output of the jobs
"""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from sdft_exp.errors import UserError
from sdft_exp.execute import needs
from sdft_exp.slurm.queue import Queued, ended, in_queue
from sdft_exp.stage import Stage
from sdft_exp.store import Store

State = Literal["done", "running", "queued", "waiting", "failed"]
LOOK_SECONDS = 60.0  # between two looks; Slurm remembers an ended job for 300 s (MinJobAge) unless it is told otherwise
_ENDS = ("BOOT_FAIL", "DEADLINE", "FAILED", "NODE_FAIL", "OUT_OF_MEMORY", "PREEMPTED")  # Slurm's other words for one
MADE = ("ran", "repaired", "waited", "hit")  # endings of a stage whose artifact is there


@dataclass(frozen=True)
class Submitted:
    """One job that Slurm has taken: its id, the stages that it makes, in order, and the jobs that it follows."""

    id: str
    label: str
    stages: list[str]
    after: list[str]


@dataclass
class Ledger:
    """What was submitted for a sweep, by its last invocation and earlier ones; the last job of a stage counts.

    Attributes:
        store: root of the store.
        stages: address -> {"label", "inputs": addresses}, inputs first.
        report: id of the job that writes the report, or "".
        command: the words behind main.py.
        cwd: where they were given.
    """

    store: str
    stages: dict[str, dict[str, Any]] = field(default_factory=dict)
    jobs: list[Submitted] = field(default_factory=list)
    report: str = ""
    command: list[str] = field(default_factory=list)
    cwd: str = ""

    def job_of(self, address: str) -> Submitted | None:
        return next((job for job in reversed(self.jobs) if address in job.stages), None)

    def live(self, queue: Mapping[str, Queued]) -> dict[str, str]:
        """address -> id of the job that is still to make it."""
        return {address: job.id for job in self.jobs if job.id in queue for address in job.stages}

    def save(self, sweep: Path) -> None:
        path = _ledger_path(sweep)
        path.parent.mkdir(parents=True, exist_ok=True)
        beside = path.with_suffix(".part")
        beside.write_text(json.dumps(asdict(self), indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
        beside.rename(path)


def read_ledger(sweep: Path) -> Ledger | None:
    """The ledger of a sweep's folder; None where nothing was submitted."""
    path = _ledger_path(sweep)
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        jobs = [Submitted(**job) for job in content.pop("jobs")]
        return Ledger(**content, jobs=jobs)
    except FileNotFoundError:
        return None
    except (ValueError, TypeError, KeyError) as error:
        raise UserError(
            f"{path}: is damaged ({type(error).__name__}); remove it, and run the sweep's command"
        ) from None


def _ledger_path(sweep: Path) -> Path:
    return sweep / "slurm" / "jobs.json"


def note(sweep: Path, stage: Stage, event: str, **told: Any) -> None:
    """Append what happened to a stage; a line is written at once, so that a kill leaves whole lines.

    Where there is no room for it, it is left out: the store may have room, and the stage is what counts.
    """
    path = _events_path(sweep, stage.address)
    moment = time.strftime("%Y-%m-%dT%H:%M:%S%z")
    line = json.dumps({"event": event, "time": moment, **told}, ensure_ascii=False) + "\n"
    with contextlib.suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        try:
            os.write(descriptor, line.encode())
        finally:
            os.close(descriptor)


def events(sweep: Path, address: str) -> list[dict[str, Any]]:
    """What happened to a stage, oldest first."""
    try:
        lines = _events_path(sweep, address).read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        return []
    found = []
    for line in lines:
        with contextlib.suppress(ValueError):  # a full disk cut it short
            found.append(json.loads(line))
    return found


def note_step(sweep: Path, stage: Stage, done: int, total: int, what: str) -> None:
    """Say how far a stage is, where there is room for it."""
    path = _events_path(sweep, stage.address).with_suffix(".step")
    beside = path.with_suffix(f".{os.getpid()}")
    with contextlib.suppress(OSError):
        beside.write_text(f"{done}/{total} {what}" if total else what, encoding="utf-8")
        beside.rename(path)


def _step(sweep: Path, address: str) -> str:
    try:
        return _events_path(sweep, address).with_suffix(".step").read_text(encoding="utf-8")
    except FileNotFoundError:
        return ""


def _events_path(sweep: Path, address: str) -> Path:
    name, _, key = address.partition("/")
    return sweep / "slurm" / "stages" / f"{name}-{key[:16]}.jsonl"


@dataclass(frozen=True)
class Standing:
    """How it stands with one stage; `told` says how far it is, what it waits for, or why it failed.

    `ending` and `seconds` are of one that is done: how it was made, and in how long.
    """

    address: str
    label: str
    state: State
    told: str = ""
    ending: str = ""
    seconds: float = 0.0

    @property
    def name(self) -> str:
        return self.address.partition("/")[0]


def standings(sweep: Path, ledger: Ledger, queue: Mapping[str, Queued]) -> dict[str, Standing]:
    """How it stands with every stage of the ledger, by address, inputs first; `queue` is no older than the ledger.

    What Slurm says of jobs that ended without a word is kept for the next time.
    """
    store = Store(ledger.store)
    found: dict[str, Standing] = {}
    became: dict[str, str] = {}  # job -> what Slurm says of its end; asked once
    for address, stage in ledger.stages.items():
        inputs = [found[one] for one in stage["inputs"] if one in found]
        found[address] = _standing(sweep, ledger, store, queue, address, inputs, became)
    return found


def look(sweep: Path) -> None:
    """Have it kept how jobs of the sweep ended, unless one of them did so within `LOOK_SECONDS`.

    Its jobs call this as they work, for it may be hours until a person or the report asks.
    """
    mark = sweep / "slurm" / "looked"
    with contextlib.suppress(OSError, UserError):  # it is a service to others
        if mark.exists() and time.time() - mark.stat().st_mtime < LOOK_SECONDS:
            return
        mark.touch()
        ledger = read_ledger(sweep)
        if ledger is not None:
            standings(sweep, ledger, in_queue())


def _standing(
    sweep: Path,
    ledger: Ledger,
    store: Store,
    queue: Mapping[str, Queued],
    address: str,
    inputs: Sequence[Standing],
    became: dict[str, str],
) -> Standing:
    label: str = ledger.stages[address]["label"]
    happened = events(sweep, address)
    job = ledger.job_of(address)
    if store.path(address).is_dir():
        made = [one for one in happened if one["event"] == "end" and one["status"] in MADE]
        if not made:
            return Standing(address, label, "done", "another process made it", "waited")
        return Standing(address, label, "done", made[0]["reason"], made[0]["status"], made[0]["seconds"])
    queued = queue.get(job.id) if job else None
    last: dict[str, Any] = happened[-1] if happened else {"event": ""}
    starts_anew = queued is not None and queued.state == "PENDING"  # requeued when it had just told of a failure
    if last["event"] == "end" and job and last["job"] == job.id and last["status"] == "failed" and not starts_anew:
        return Standing(address, label, "failed", last["reason"], seconds=last["seconds"])
    if job and queued:
        if queued.state == "PENDING":
            if queued.reason == "Dependency":
                labels = {one.id: one.label for one in ledger.jobs}
                after = [f"job {one} ({labels.get(one, 'of an earlier command')})" for one in job.after]
                return Standing(address, label, "waiting", f"after {', '.join(after)}")
            return Standing(address, label, "queued", f"job {job.id}: {queued.reason}")
        begun = last["event"] in ("start", "begin") and last["job"] == job.id
        if begun or (address == job.stages[0] and not any(one.get("job") == job.id for one in happened)):
            return Standing(address, label, "running", f"job {job.id}: {_step(sweep, address) or 'starts'}")
        return Standing(address, label, "queued", f"job {job.id}, which is at work on other stages")
    broken = next((one for one in inputs if one.state == "failed"), None)
    if broken:
        return Standing(address, label, "failed", needs(broken.name, broken.label, broken.told))
    if job is None:
        return Standing(address, label, "failed", "was never submitted")
    if last["event"] == "stopped" and last["why"] == "cancelled":  # Slurm forgets after minutes
        became[job.id] = "was cancelled"
    if job.id not in became:
        became[job.id] = _became(sweep, job.id)
    return Standing(address, label, "failed", f"its Slurm job {job.id} {became[job.id]}")


def _became(sweep: Path, job: str) -> str:
    """How a job ended that could not tell it itself."""
    path = sweep / "slurm" / "ended" / job
    with contextlib.suppress(OSError):
        return path.read_text(encoding="utf-8")
    told = _end(ended(job))
    if told is None:
        return "ended without a word (killed?)"
    with contextlib.suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        beside = path.with_suffix(f".{os.getpid()}")
        beside.write_text(told, encoding="utf-8")
        beside.rename(path)
    return told


def _end(told: Mapping[str, str]) -> str | None:
    """What Slurm tells of a job's end, in words; None where it knows of none that would tell anything."""
    state = told.get("JobState", "")
    signal = told.get("ExitCode", "0:0").partition(":")[2]
    if state == "CANCELLED":
        return "was cancelled"
    if state == "TIMEOUT":
        return "ran into its time limit before it could write a checkpoint"
    if state == "FAILED" and signal not in ("", "0"):
        return f"was killed by signal {signal} (out of memory?)"
    return f"ended as {state}" if state in _ENDS else None
