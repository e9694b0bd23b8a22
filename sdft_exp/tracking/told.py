"""What there is to log of a sweep: each job as soon as it and its vanilla fine-tuning are done, and the report."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping, Sequence

from sdft_exp.execute import Record
from sdft_exp.experiment import Experiment
from sdft_exp.stage import Stage, canonical
from sdft_exp.stages.report import ReportJob
from sdft_exp.tracking.handing import TrackedRun, Tracking

_KEY_DIGITS = 16
_LONG = ("distill", "train", "answer", "score")  # after one of them there are seconds until a job's last score


class Telling:
    """Watches how stages end and hands to `tracking` what is complete."""

    def __init__(self, tracking: Tracking, group: str, jobs: Mapping[str, tuple[Experiment, ReportJob]]):
        """`jobs` are all jobs of the sweep by label; `group` is the sweep's name."""
        self._tracking = tracking
        self._group = group
        self._jobs = jobs
        self._left = dict.fromkeys(jobs)
        self._records: dict[str, Record] = {}

    def saw(self, record: Record) -> None:
        """A stage has ended. A single job waits for its report."""
        self._records[record.stage.address] = record
        if record.stage.name in _LONG and record.status != "hit":
            self._tracking.start()  # it is ready when there is something to log
        if len(self._jobs) > 1:
            for label in list(self._left):
                sibling = self._sibling(label)
                if self._ended(label) and (sibling is None or self._ended(sibling)):
                    self._send(label, None)

    def hand(self, report: Stage, runs: Sequence[str]) -> None:
        """Log the report, and `runs`, the labels of the finished jobs, where that is not done; waits for nothing."""
        made = self._records.get(report.address)
        address = report.address if made is not None and made.status != "failed" else None
        for label in [label for label in self._left if label in runs]:
            self._send(label, address if len(self._jobs) == 1 else None)
        if len(self._jobs) > 1 and address is not None:
            self._tracking.log(self._report(address, [self._jobs[label][0].key[:_KEY_DIGITS] for label in runs]))

    def end(self) -> str | None:
        """See Tracking.end."""
        return self._tracking.end()

    def _send(self, label: str, report: str | None) -> None:
        del self._left[label]
        if self._done(label):
            self._tracking.log(self._run(label, report))

    def _run(self, label: str, report: str | None) -> TrackedRun:
        story, job = self._jobs[label]
        config = story.config
        key = story.key[:_KEY_DIGITS]
        if len(self._jobs) == 1 and os.environ.get("WANDB_SWEEP_ID"):
            key = os.environ.get("WANDB_RUN_ID", key)  # `wandb agent` has named the run, and looks for it by that
        sibling = self._sibling(label)
        own = (config.dataset.name, config.model.name, config.method.name, config.tuning.name)
        return TrackedRun(
            key=key,
            name=label,
            group=self._group,
            job_type=config.method.name,
            config=config.model_dump(mode="json"),
            tags=tuple(dict.fromkeys((*own, *config.tracker.tags))),
            job=job,
            mix=story.train.inputs["mix"].address if story.train else None,
            vanilla=self._jobs[sibling][1].scores if sibling is not None and self._done(sibling) else {},
            report=report,
        )

    def _report(self, address: str, runs: Sequence[str]) -> TrackedRun:
        (config, *_) = [story.config for story, _ in self._jobs.values()]
        return TrackedRun(
            key=hashlib.sha256(canonical([self._group, sorted(runs)]).encode()).hexdigest()[:_KEY_DIGITS],
            name=f"{self._group}: report",
            group=self._group,
            job_type="report",
            config={"report": config.report.model_dump(mode="json")},
            tags=tuple(config.tracker.tags),
            report=address,
            runs=tuple(runs),
        )

    def _sibling(self, label: str) -> str | None:
        """The vanilla fine-tuning with the same seed, on the same data, by the same settings."""
        job = self._jobs[label][1]
        if not _ratio(job):
            return None
        alike = (
            name
            for name, (_, other) in self._jobs.items()
            if other.scores and not _ratio(other) and _all_but_method(other) == _all_but_method(job)
        )
        return next(alike, None)

    def _ended(self, label: str) -> bool:
        return all(stage.address in self._records for stage in self._jobs[label][0].results)

    def _done(self, label: str) -> bool:
        return self._ended(label) and all(
            self._records[stage.address].status != "failed" for stage in self._jobs[label][0].results
        )


def _ratio(job: ReportJob) -> float:
    return float(job.row.get("method.mix_ratio") or 0)


def _all_but_method(job: ReportJob) -> tuple[object, ...]:
    row = {key: value for key, value in job.row.items() if not key.startswith("method")}
    return row, job.seed, job.seed_scores
