"""Which measured answers stand side by side: out of a run's plan, and the artifacts of its token_shift stages."""

from __future__ import annotations

import heapq
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

from analysis.report.samples import first_text, recorded
from analysis.report.source import Source, read_json
from sdft_exp.errors import DataError
from sdft_exp.report.grouping import Group, group_jobs
from sdft_exp.results import PLAN

Json = Mapping[str, Any]

ROWS = 12  # of a group that are on the page
_STAGE = "token_shift/"


@dataclass(frozen=True)
class Part:
    """The answers to one task of the rows of one group that were trained with one seed: row number -> address."""

    group: int
    task: str
    seed: int
    measured: Mapping[int, str]


@dataclass(frozen=True)
class Shifts:
    """What a run measured of its tokens.

    Attributes:
        groups: rows under one seed LM, as the report has them.
        parts: of which something is there, by group, task and seed.
        missing: what was to be measured and is not in the store, in words.
    """

    source: Source
    groups: list[Group]
    parts: list[Part]
    missing: list[str]

    def stats(self, address: str) -> Json:
        """The stage's stats.json."""
        found: Json = read_json(self.source.store.path(address) / "stats.json")
        return found

    def vocabulary(self, address: str) -> dict[str, str]:
        """The text of every token among the likeliest, by its id."""
        found: dict[str, str] = read_json(self.source.store.path(address) / "vocabulary.json")
        return found

    def questions(self, part: Part) -> Iterator[tuple[int, dict[int, Json]]]:
        """Number of the question and each row's line of tokens.jsonl, in the order of the questions.

        A line is read when it is its turn: of long answers there are gigabytes.
        """
        store = self.source.store
        files = [_lines(row, store.path(address) / "tokens.jsonl") for row, address in part.measured.items()]
        merged = heapq.merge(*files, key=lambda each: each[0])
        for number, lines in groupby(merged, key=lambda each: each[0]):
            yield number, {row: line for _, row, line in lines}

    def seed_answers(self, part: Part) -> dict[int, str] | None:
        """The seed LM's answers by number of the question, as evaluation has them; None: it was not asked this task."""
        address = self.groups[part.group].seed_scores.get(part.task)
        if address is None:
            return None
        found = recorded(self.source, part.task, address, {})
        return {number: str(first_text(sample["resps"])) for number, sample in found.items()}


def read(folder: Path) -> Shifts:
    """What a run or a sweep measured; one at work shows what is there.

    Raises:
        DataError: it measures no tokens, or nothing of it is in the store; or its plan is damaged.
    """
    source = Source(folder, read_json(folder / PLAN), [], {})
    groups = group_jobs(source.jobs)
    if not any(name.startswith(_STAGE) for job in source.jobs for name in job.shifts):
        raise DataError(
            f"{folder}: measured no tokens; run its command again with shift.measures=[tokens] shift.tasks=[...]"
        )
    parts: dict[tuple[int, str, int], dict[int, str]] = {}
    missing = []
    for number, group in enumerate(groups):
        for row_number, row in enumerate(group.rows):
            for job in row.jobs:
                for task, address in _measured(job.shifts).items():
                    if source.artifact(address, "tokens.jsonl") is None:
                        missing.append(f"{task}, {row.name}, seed {job.seed}")
                    elif row_number < ROWS:
                        parts.setdefault((number, task, job.seed), {})[row_number] = address
    if not parts:
        raise DataError(
            f"{folder}: no token shift of it is in {source.store.root} (not measured yet, or removed); "
            "run its command again"
        )
    ordered = sorted(parts.items(), key=lambda each: each[0])
    return Shifts(source, groups, [Part(*key, measured) for key, measured in ordered], missing)


def _measured(shifts: Mapping[str, str]) -> dict[str, str]:
    return {name.removeprefix(_STAGE): address for name, address in shifts.items() if name.startswith(_STAGE)}


def _lines(row: int, path: Path) -> Iterator[tuple[int, int, Json]]:
    with path.open(encoding="utf-8") as file:
        for count, text in enumerate(file, 1):
            try:
                line = json.loads(text)
            except ValueError:
                raise DataError(
                    f"{path}, line {count}: cannot be read; python -m sdft_exp.store verify tells what else is damaged"
                ) from None
            yield line["doc_id"], row, line
