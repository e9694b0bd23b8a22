"""How it stands with a sweep: `python -m sdft_exp.sweep status|resume|cancel SWEEP`. Imports no torch.

SWEEP is the sweep's folder, or its name under `outputs/`. status tells what runs, what is done, what failed and why,
and what waits for what; resume runs the sweep's own command again, which makes or submits what is missing and nothing
else; cancel ends the sweep's jobs on Slurm and no other's.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from sdft_exp.compose import CONF
from sdft_exp.errors import UserError
from sdft_exp.slurm import queue
from sdft_exp.slurm.state import Ledger, Standing, State, read_ledger, standings
from sdft_exp.tracking.redact import HIDDEN

_ORDER: tuple[State, ...] = ("done", "running", "queued", "waiting", "failed")


def find(sweep: str) -> Path:
    """The folder of a sweep.

    Raises:
        UserError: there is no such folder, or no sweep has been there.
    """
    tried = [Path(sweep), Path("outputs") / sweep]
    folder = next((path for path in tried if path.is_dir()), None)
    if folder is None:
        raise UserError(f"{sweep}: no such folder, neither here nor under outputs/; name the sweep's folder")
    if not (folder / "multirun.yaml").is_file():
        raise UserError(f"{folder}: is no sweep's folder (it has no multirun.yaml); a sweep is run by main.py -m")
    return folder


def status(folder: Path) -> int:
    """Print how it stands; returns 1 when something failed."""
    ledger = read_ledger(folder)
    if ledger is None:
        return _status_of_local(folder)
    queued = queue.in_queue()
    found = list(standings(folder.absolute(), ledger, queued).values())
    counts = Counter(standing.state for standing in found)
    told = ", ".join(f"{counts[state]} {state}" for state in _ORDER if counts[state])
    print(f"{folder.name}: {len(found)} stages: {told}")
    for state in ("running", "queued", "failed"):
        for standing in found:
            if standing.state == state:
                print(f"  {state:8} {standing.name:8} {standing.label}: {standing.told}")
    _print_waiting(found)
    print(f"report: {_report(folder, ledger, queued)}")
    if counts["failed"]:
        print(f"to submit again what failed: python -m sdft_exp.sweep resume {folder}")
    return 1 if counts["failed"] else 0


def _print_waiting(found: list[Standing]) -> None:
    waiting = Counter((standing.name, standing.told) for standing in found if standing.state == "waiting")
    for (name, after), count in waiting.items():
        print(f"  {'waiting':8} {count} {name}, {after}")


def _report(folder: Path, ledger: Ledger, queued: dict[str, queue.Queued]) -> str:
    if ledger.report in queued:
        job = queued[ledger.report]
        return f"job {job.id}, {'after all others' if job.reason == 'Dependency' else job.state.lower()}"
    return str(folder / "report.md") if (folder / "report.md").is_file() else "none yet"


def _status_of_local(folder: Path) -> int:
    """A sweep of this machine tells as it goes; here is what its last invocation left."""
    try:
        lines: list[dict[str, Any]] = json.loads((folder / "stages.json").read_text(encoding="utf-8"))
    except FileNotFoundError:
        print(f"{folder.name}: a local sweep that is at work, or was killed; the same command goes on")
        return 0
    failed = [line for line in lines if line["status"] == "failed"]
    print(f"{folder.name}: {len(lines)} stages: {len(lines) - len(failed)} done, {len(failed)} failed")
    for line in failed:
        print(f"  {'failed':8} {line['stage']:8} {line['label']}: {line['reason']}")
    return 1 if failed else 0


def resume(folder: Path) -> int:
    """Run the sweep's own command again, in the folder it was given in."""
    ledger = read_ledger(folder)
    if ledger:
        words, cwd = ledger.command, ledger.cwd
    else:  # Hydra's own note; a look at the plan overwrites it
        told = OmegaConf.load(folder / "multirun.yaml").hydra
        words = [word for word in [*told.overrides.hydra, *told.overrides.task] if not word.startswith("plan=")]
        cwd = told.runtime.cwd
    if any(HIDDEN in word for word in words):
        raise UserError(f"{folder}: its command held a secret, which is not written down; give the command again")
    return subprocess.run([sys.executable, str(CONF.parent / "main.py"), *words], cwd=cwd).returncode


def cancel(folder: Path) -> int:
    """End the sweep's jobs that are in the queue."""
    ledger = read_ledger(folder)
    if ledger is None:
        raise UserError(f"{folder}: nothing of it was submitted to Slurm; a sweep of this machine is ended by Ctrl-C")
    own = {job.id for job in ledger.jobs} | {ledger.report}
    ended = [job for job in queue.in_queue() if job in own]
    queue.cancel(ended)
    print(f"{folder.name}: cancelled {len(ended)} jobs; to go on: python -m sdft_exp.sweep resume {folder}")
    return 0


def main(arguments: list[str] | None = None) -> int:
    """Tell of a sweep, or deal with it."""
    parser = argparse.ArgumentParser(prog="python -m sdft_exp.sweep", description="How it stands with a sweep.")
    parser.add_argument("command", choices=["status", "resume", "cancel"])
    parser.add_argument("sweep", help="its folder, or its name under outputs/")
    chosen = parser.parse_args(arguments)
    try:
        return {"status": status, "resume": resume, "cancel": cancel}[chosen.command](find(chosen.sweep))
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code


if __name__ == "__main__":
    sys.exit(main())
