"""Which jobs share a row of the table, which rows are compared with one another, and what they are called."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sdft_exp.stage import canonical
from sdft_exp.stages.report import ReportJob

_NAMED = ("dataset", "model", "method", "method.mix_ratio")  # told by the group's heading, or by `_method`


@dataclass(frozen=True, eq=False)  # a row is itself: two rows may hold the same scores
class Row:
    """A row of the table: jobs that differ by their seed alone, in the order of their seeds."""

    name: str
    jobs: tuple[ReportJob, ...]

    @property
    def values(self) -> dict[str, Any]:
        return self.jobs[0].row

    @property
    def seeds(self) -> list[int]:
        return [job.seed for job in self.jobs]

    @property
    def mix_ratio(self) -> float:
        return float(self.values.get("method.mix_ratio") or 0)


@dataclass(frozen=True)
class Group:
    """Rows that stand under one seed LM: same data set, same model, same questions.

    `setting` is what tells the group from the sweep's others besides these (`eval.limit`, say).
    """

    dataset: str
    model: str
    setting: dict[str, Any]
    target: tuple[str, ...]
    seed_scores: dict[str, str]
    rows: tuple[Row, ...]


def group_jobs(jobs: Sequence[ReportJob]) -> list[Group]:
    """The groups of a sweep, in the order of its jobs."""
    together: dict[str, list[ReportJob]] = {}
    for job in jobs:
        together.setdefault(canonical([job.dataset, job.model, job.seed_scores]), []).append(job)
    across = _varying([job.row for job in jobs])
    groups = []
    for members in together.values():
        tuned = [job for job in members if job.scores or job.train]
        within = _varying([job.row for job in tuned])
        first = members[0]
        kept = [key for key in across if key not in within and key not in _NAMED and len(together) > 1]
        groups.append(
            Group(
                dataset=first.dataset,
                model=first.model,
                setting={key: first.row.get(key) for key in kept},
                target=first.target,
                seed_scores=first.seed_scores,
                rows=tuple(_rows(tuned, [key for key in within if key not in _NAMED])),
            )
        )
    return groups


def baseline(row: Row, rows: Sequence[Row]) -> Row | None:
    """The vanilla fine-tuning that `row` is compared with: no distilled samples, and all else the same."""
    if row.mix_ratio == 0:
        return None
    alike = [other for other in rows if other.mix_ratio == 0 and _all_but_method(other) == _all_but_method(row)]
    return min(alike, key=lambda other: other.values.get("method") != "vanilla", default=None)


def _rows(jobs: Sequence[ReportJob], telling: Sequence[str]) -> list[Row]:
    together: dict[str, list[ReportJob]] = {}
    for job in jobs:
        members = together.setdefault(canonical(job.row), [])
        # Two jobs that differ in nothing that matters are one: the second would count as a seed of its own.
        own = (job.scores, job.shifts, job.train)
        if all(own != (other.scores, other.shifts, other.train) for other in members):
            members.append(job)
    return [
        Row(_name(members[0].row, telling), tuple(sorted(members, key=lambda job: job.seed)))
        for members in together.values()
    ]


def _name(row: Mapping[str, Any], telling: Sequence[str]) -> str:
    return ", ".join([_method(row), *(f"{_short(key, telling)}={_typed(row.get(key))}" for key in telling)])


def _typed(value: Any) -> str:
    """A value as it is typed on the command line."""
    return json.dumps(value) if value is None or isinstance(value, bool) else str(value)


def _short(key: str, others: Sequence[str]) -> str:
    """The last parts of a dotted key, as many as tell it from `others`."""
    parts = key.split(".")
    for count in range(1, len(parts)):
        short = ".".join(parts[-count:])
        if sum(other == short or other.endswith(f".{short}") for other in others) <= 1:
            return short
    return key


def _method(row: Mapping[str, Any]) -> str:
    ratio = row.get("method.mix_ratio")
    if row.get("method") != "sdft" or ratio is None:
        return str(row.get("method"))
    return {0.0: "vanilla (mix 0)", 1.0: "SDFT"}.get(float(ratio), f"SDFT mix {ratio:g}")


def _varying(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    keys = dict.fromkeys(key for row in rows for key in row)
    return [key for key in keys if len({canonical(row.get(key)) for row in rows}) > 1]


def _all_but_method(row: Row) -> dict[str, Any]:
    return {key: value for key, value in row.values.items() if not key.startswith("method")}
