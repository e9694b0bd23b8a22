"""How a sweep stands while it is at work, out of its plan and the store: what a served page tells."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from analysis.report.source import Source, is_finished, read_finished, read_json
from sdft_exp.results import PLAN, STAGES, SUMMARY
from sdft_exp.slurm import queue
from sdft_exp.slurm.state import Standing, read_ledger, standings
from sdft_exp.stages import report
from sdft_exp.stages.report import ReportJob
from sdft_exp.store import Store

Json = Mapping[str, Any]

_NAMED = 4  # stages at work of which each is named


@dataclass(frozen=True)
class State:
    """How a sweep stands.

    Attributes:
        told: in one line.
        version: changes when its results do: with each job that finishes, and with the report.
        finished: labels of the jobs whose results are all there; None: the sweep has reported.
    """

    told: str
    version: str
    finished: tuple[str, ...] | None

    def as_json(self) -> dict[str, str]:
        return {"told": self.told, "version": self.version}


def state(folder: Path) -> State:
    """How the sweep of this folder stands now.

    Raises:
        DataError: a file of the folder is damaged.
    """
    plan = read_json(folder / PLAN)
    if is_finished(folder):
        stages = read_json(folder / STAGES)
        failed = sum(line["status"] == "failed" for line in stages)
        told = f"finished: {len(stages)} stages" + (f", {failed} failed" if failed else "")
        return State(told, _version([folder / name for name in (PLAN, STAGES, SUMMARY)], ()), None)
    store = Store(plan["store"])
    jobs = [ReportJob(**job["report"]) for job in plan["jobs"]]
    finished = tuple(job.label for job in jobs if all(store.path(one).is_dir() for one in _results(job)))
    progress = _on_slurm(folder) or _here(plan["stages"], store)
    told = f"at work: {progress}; {len(finished)} of {len(jobs)} jobs have their results"
    return State(told, _version([folder / PLAN], finished), finished)


def source(folder: Path, known: State) -> Source:
    """What a page of the sweep is made from: its report, or a summary of the jobs that have finished so far."""
    if known.finished is None:
        return read_finished(folder)
    plan = read_json(folder / PLAN)
    jobs = [ReportJob(**job["report"]) for job in plan["jobs"] if job["report"]["label"] in known.finished]
    settings = plan["jobs"][0]["config"]["report"]
    read = report.report(plan["title"], jobs, (), settings["resamples"], settings["confidence"])
    store = Store(plan["store"])
    summary = report.summarise(read, {one: store.path(one) for job in jobs for one in _results(job)})
    return Source(folder, plan, [], summary)


def _results(job: ReportJob) -> list[str]:
    single = (job.data, job.select, job.train)
    return [one for one in (*single, *job.scores.values(), *job.seed_scores.values(), *job.shifts.values()) if one]


def _here(stages: Sequence[Json], store: Store) -> str:
    """A sweep of this machine leaves word of what it has made and of what it is making in the store alone."""
    labels = {f"{stage['stage']}/{stage['key']}": f"{stage['stage']} {stage['label']}" for stage in stages}
    done = sum(store.path(address).is_dir() for address in labels)
    running = [labels[address] for address in store.at_work() if address in labels]
    return f"{done} of {len(labels)} stages done, {_named(running)}"


def _on_slurm(folder: Path) -> str:
    ledger = read_ledger(folder)
    if ledger is None:
        return ""
    found: list[Standing] = list(standings(folder.absolute(), ledger, queue.in_queue()).values())
    counts = Counter(standing.state for standing in found)
    others = "".join(f", {counts[name]} {name}" for name in ("queued", "waiting", "failed") if counts[name])
    running = [f"{standing.name} {standing.label}" for standing in found if standing.state == "running"]
    return f"{counts['done']} of {len(found)} stages done{others}, {_named(running)}"


def _named(running: Sequence[str]) -> str:
    if not running:
        return "none at work just now"
    more = f" and {len(running) - _NAMED} more" if len(running) > _NAMED else ""
    return f"at work on {'; '.join(running[:_NAMED])}{more}"


def _version(files: Sequence[Path], finished: Sequence[str]) -> str:
    times = [file.stat().st_mtime_ns for file in files]
    return hashlib.sha256(repr((times, finished)).encode()).hexdigest()[:16]
