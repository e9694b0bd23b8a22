"""Questions with the answers of seed LM and tuned models side by side, as lm-eval recorded them for the scores.

Each tuned model has a column a training seed, and the reader chooses the seed. Long texts and long lists are cut, and
seeds that a page has no room for are left out, so that it opens fast; what was left out is told.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from analysis.report.source import Source
from sdft_exp.report.measures import MEASURES
from sdft_exp.report.panels import looks
from sdft_exp.report.reading import heading

Json = Mapping[str, Any]
Samples = dict[int, Json]  # by number of the question, as lm-eval records them

QUESTIONS = 20_000  # of a page
CHARACTERS = 24_000_000  # of a page
ROWS = 12  # of a group: the seed LM and the first tuned ones
LONGEST = 1_500  # characters of one text
_EXAMPLES = 4  # of each reason for a rejection

_MAIN = [measure for measure in MEASURES if measure.section == "main"]
_BETTER = {name: measure.higher_is_better for measure in _MAIN for name in measure.metrics}


def samples(source: Source) -> dict[str, Any]:
    """The samples for the page's script.

    Returns:
        "seeds"; "groups": "heading", "rows" (names) with their "looks", and "columns", each the place of its row and
        its seed (null: the seed LM's); "items": lists of group, task, id, question, reference, the columns' answers,
        and their verdicts (1 good, 0 bad, null not told); "notes": what was left out.
    """
    notes: dict[str, None] = {}
    groups = source.summary["groups"]
    shown = [_shown(group, notes) for group in groups]
    parts: list[_Part] = []
    for number, group in enumerate(groups):
        parts += _parts(source, number, group)
    cache: dict[str, Samples] = {}
    ranks = 1 + max((column.rank for part in parts for column in part.columns), default=0)
    room = CHARACTERS
    for part in parts:
        room -= _fill(part, source, cache, len(parts), notes)
    left = _more_seeds(parts, source, ranks, room)
    if left < ranks:
        notes[f"The answers of {left} of {ranks} training seeds are here; the page has no room for more."] = None
    for number, one in enumerate(shown):
        columns = next((part.columns for part in parts if part.group == number), [])
        one["columns"] = [[column.row, column.seed] for column in columns if column.rank < left]
    items = [item for part in parts for item in part.items]
    seeds = sorted({seed for one in shown for _, seed in one["columns"] if seed is not None})
    return {"seeds": seeds, "groups": shown, "items": items, "notes": list(notes)}


@dataclass(frozen=True)
class _Column:
    """One model's answers: its row, its training seed, and the how manieth seed of the row that is."""

    row: int
    seed: int | None
    rank: int
    score: str | None  # address


@dataclass
class _Part:
    """A task of a group: its columns, by rank first, and its items as they are filled."""

    group: int
    task: str
    columns: list[_Column]
    items: list[list[Any]]
    numbers: list[int]  # of the questions of the items


def _shown(group: Json, notes: dict[str, None]) -> dict[str, Any]:
    rows = group["rows"][:ROWS]
    if len(group["rows"]) > ROWS:
        notes[f"{heading(group)}: the answers of the first {ROWS} of {len(group['rows'])} rows are here."] = None
    return {"heading": heading(group), "rows": [row["name"] for row in rows], "looks": [*looks(rows)]}


def _parts(source: Source, number: int, group: Json) -> list[_Part]:
    """The tasks of a group with the columns of the rows that are shown, the seed LM's first."""
    by_label = {job.label: job for job in source.jobs}
    found = [
        (row, rank, by_label[told["label"]])
        for row, tuned in enumerate(group["rows"][1:ROWS], start=1)
        for rank, told in enumerate(tuned["jobs"])
        if told["label"] in by_label
    ]
    known = [job for _, _, job in found]
    known += [job for job in source.jobs if (job.dataset, job.model) == (group["dataset"], group["model"])]
    seed_scores = known[0].seed_scores if known else {}
    found.sort(key=lambda one: one[:2][::-1])
    return [
        _Part(
            number,
            task,
            [
                _Column(0, None, 0, seed_scores.get(task)),
                *(_Column(row, job.seed, rank, job.scores.get(task)) for row, rank, job in found),
            ],
            [],
            [],
        )
        for task in group["tasks"]
    ]


def _fill(part: _Part, source: Source, cache: dict[str, Samples], parts: int, notes: dict[str, None]) -> int:
    """Make the items of a part with the first seed's answers; returns how many characters they take."""
    found = [recorded(source, part.task, one.score, cache) for one in part.columns if one.rank == 0]
    if not any(found):
        notes[f"{part.task}: no texts are kept of it here (it compares likelihoods, or its answers are gone)."] = None
        return 0
    for item, number in _within(_items(part, found), parts, part.task, max(map(len, found)), notes):
        part.items.append(item)
        part.numbers.append(number)
    return sum(_length(item) for item in part.items)


def _more_seeds(parts: Sequence[_Part], source: Source, ranks: int, room: int) -> int:
    """Add the answers of the second seeds, of the third and so on, while all of them fit; returns how many do."""
    for rank in range(1, ranks):
        added = []
        wanted = [(part, column) for part in parts for column in part.columns if column.rank == rank]
        for part, column in wanted:
            found = recorded(source, part.task, column.score, {})
            told = [_said(found.get(number)) for number in part.numbers]
            room -= sum(len(text) for text, _ in told)
            if room < 0:
                return rank
            added.append((part, told))
        for part, told in added:
            for item, (text, verdict) in zip(part.items, told, strict=True):
                item[5].append(text)
                item[6].append(verdict)
    return ranks


def _within(
    items: Iterator[tuple[list[Any], int]], parts: int, task: str, questions: int, notes: dict[str, None]
) -> Iterator[tuple[list[Any], int]]:
    """The first of a task's items: its share of what a page may hold."""
    budget = CHARACTERS // parts
    for count, (item, number) in enumerate(items):
        if count >= max(1, QUESTIONS // parts) or budget < 0:
            notes[f"{task}: the first {count} of {questions} questions are here."] = None
            return
        budget -= _length(item)
        yield item, number


def _length(item: Sequence[Any]) -> int:
    return sum(map(len, (item[3], item[4], *item[5])))


def _items(part: _Part, found: Sequence[Samples]) -> Iterator[tuple[list[Any], int]]:
    """Each question's item, and its number."""
    for number in sorted(set().union(*found)):
        asked = next(samples[number] for samples in found if number in samples)
        said = [_said(samples.get(number)) for samples in found]
        item = [part.group, part.task, str(asked["doc"].get("id", number)), cut(question(asked))]
        item += [cut(str(asked.get("target", ""))), [text for text, _ in said], [verdict for _, verdict in said]]
        yield item, number


def _said(answer: Json | None) -> tuple[str, float | None]:
    """An answer and its verdict."""
    return (cut(str(first_text(answer["resps"]))), _verdict(answer)) if answer else ("", None)


def recorded(source: Source, task: str, address: str | None, cache: dict[str, Samples]) -> Samples:
    """The samples of a score stage by their number; none where its artifact is gone, or where no texts were written."""
    if address is None:
        return {}
    if address not in cache:
        path = source.artifact(address, f"samples_{task}.jsonl")
        lines = path.read_text(encoding="utf-8").splitlines() if path else []
        read = [json.loads(line) for line in lines]
        cache[address] = {sample["doc_id"]: sample for sample in read if isinstance(first_text(sample["resps"]), str)}
    return cache[address]


def first_text(texts: Any) -> Any:
    """The one answer, or the first of several: lm-eval keeps a list a request, and one a repeat."""
    while isinstance(texts, list) and texts:
        texts = texts[0]
    return texts


def question(sample: Json) -> str:
    """What was asked."""
    doc = sample["doc"]
    own = doc.get("instruction") or doc.get("question")
    return str(own or next(iter(sample["arguments"].values()))["arg_0"])


def _verdict(sample: Json) -> float | None:
    for metric in sample["metrics"]:
        if _BETTER.get(metric) is not None and sample.get(metric) is not None:
            value = float(sample[metric])
            return value if _BETTER[metric] else 1.0 - value
    return None


def cut(text: str, longest: int = LONGEST) -> str:
    """The text, or its beginning and how much is left out."""
    return text if len(text) <= longest else f"{text[:longest]} … ({len(text) - longest:,} characters more)"


def rejected(source: Source, address: str) -> list[Json]:
    """Some rewrites of a select stage for each reason that they were rejected for: "reason", "rewrite", "original"."""
    path = source.artifact(address, "selected.jsonl")
    shown: dict[str, list[Json]] = {}
    for choice in _lines(path) if path else ():
        examples = shown.setdefault(choice["reason"], [])
        if not choice["accepted"] and len(examples) < _EXAMPLES:
            examples.append(
                {
                    "reason": choice["reason"],
                    "rewrite": cut(choice["rewrite"]),
                    "original": cut(choice["response"]),
                }
            )
    return [example for _, examples in sorted(shown.items()) for example in examples]


def _lines(path: Path) -> Iterator[Json]:
    with path.open(encoding="utf-8") as file:
        yield from map(json.loads, file)
