"""Slurm's own commands: what is in the queue, what became of a job, cancel, requeue. Many clusters have no sacct."""

from __future__ import annotations

import functools
import re
import shutil
import subprocess
import time
from collections.abc import Iterable
from dataclasses import dataclass

from sdft_exp.errors import UserError

_SECONDS = 60  # for one answer of Slurm
_TRIES = 3  # a busy controller answers late


@dataclass(frozen=True)
class Queued:
    """One job of the queue: its id (`12` or `12_3`), Slurm's state, and why it waits."""

    id: str
    state: str
    reason: str


def check_slurm() -> None:
    """Raise UserError where there is no Slurm to speak to."""
    if shutil.which("sbatch") is None:
        raise UserError(
            "hydra/launcher=slurm: there is no sbatch here; run it on a login node of the cluster "
            "(to try it on this machine: make slurm, launchers/local_slurm.sh up)"
        )


def in_queue() -> dict[str, Queued]:
    """Our jobs that Slurm has not ended yet, by id; array tasks one by one.

    Raises:
        UserError: Slurm does not answer.
    """
    found: dict[str, Queued] = {}
    for line in _ask("squeue", "--me", "-h", "-r", "-o", "%i|%T|%r").splitlines():
        job, state, reason = line.strip().split("|", 2)
        found[job] = Queued(job, state, reason)
    return found


def settled() -> dict[str, Queued]:
    """`in_queue` once no job is just ending: what it says of such a one does not tell how it will go on."""
    for _ in range(60):
        found = in_queue()
        if not any(job.state == "COMPLETING" for job in found.values()):
            break
        time.sleep(1)
    return found


def shown(job: str) -> dict[str, str]:
    """What Slurm remembers of a job, `JobState`, `PreemptTime` and so on; {} when it has forgotten it (minutes)."""
    try:
        told = _ask("scontrol", "show", "job", "-o", job)
    except UserError:
        return {}
    return dict(re.findall(r"(\w+)=(\S*)", told.splitlines()[0])) if told.strip() else {}


def ended(job: str) -> dict[str, str]:
    """`JobState` and `ExitCode` of a job that has ended: from Slurm's memory, else from its accounting, else {}."""
    told = shown(job)
    if told or not _has_accounting():
        return told
    try:
        lines = _ask("sacct", "-n", "-X", "-P", "-o", "State,ExitCode", "-j", job).splitlines()
    except UserError:
        return {}
    if not lines:
        return {}
    state, code = lines[-1].split("|")
    return {"JobState": state.partition(" ")[0], "ExitCode": code}  # `CANCELLED by 1000`


@functools.cache
def _has_accounting() -> bool:
    """Whether sacct answers here; asked once, for where it does not it may be long in saying so."""
    try:
        _ask("sacct", "-n", "-X", "-S", "now", tries=1)
    except UserError:
        return False
    return True


def requeue(job: str) -> None:
    """Put a running job back into the queue; its processes are then ended."""
    _ask("scontrol", "requeue", job)


def cancel(jobs: Iterable[str]) -> None:
    """End jobs, those at work and those that wait."""
    listed = list(jobs)
    for start in range(0, len(listed), 200):  # a command line has its limits
        _ask("scancel", *listed[start : start + 200])


def _ask(*command: str, tries: int = _TRIES) -> str:
    for left in reversed(range(tries)):
        try:
            told = subprocess.run(command, capture_output=True, text=True, timeout=_SECONDS, check=True)
        except FileNotFoundError:
            raise UserError(f"{command[0]}: there is no such command here; Slurm's are on a login node") from None
        except subprocess.TimeoutExpired:
            problem = f"no answer in {_SECONDS} s"
        except subprocess.CalledProcessError as error:
            problem = (error.stderr.strip().splitlines() or [f"exit code {error.returncode}"])[-1]
            if "Invalid job id" in problem:
                break
        else:
            return told.stdout
        if left:
            time.sleep(1)
    raise UserError(f"{command[0]}: {problem}")
