"""Questions with the answers of seed LM and tuned models side by side, as lm-eval recorded them for the scores.

Of several training seeds the first one's answers are shown. Long texts and long lists are cut, so that the page opens
fast; what was left out is told.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
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
        "groups": "heading", and "rows" (names) with their "looks"; "items": lists of group, task, id, question,
        reference, the rows' answers, and their verdicts (1 good, 0 bad, null not told); "notes": what was left out.
    """
    notes: dict[str, None] = {}
    groups = source.summary["groups"]
    parts = [
        (number, task, addresses)
        for number, group in enumerate(groups)
        for task, addresses in _scores(source, group).items()
    ]
    cache: dict[str, Samples] = {}
    items: list[list[Any]] = []
    for number, task, addresses in parts:
        found = [recorded(source, task, address, cache) for address in addresses]
        if any(found):
            items += _within(_items(number, task, found), len(parts), task, max(map(len, found)), notes)
        else:
            notes[f"{task}: no texts are kept of it here (it compares likelihoods, or its answers are gone)."] = None
    return {"groups": [_shown(group, notes) for group in groups], "items": items, "notes": list(notes)}


def _shown(group: Json, notes: dict[str, None]) -> Json:
    rows = group["rows"][:ROWS]
    if len(group["rows"]) > ROWS:
        notes[f"{heading(group)}: the answers of the first {ROWS} of {len(group['rows'])} rows are here."] = None
    return {"heading": heading(group), "rows": [row["name"] for row in rows], "looks": [*looks(rows)]}


def _scores(source: Source, group: Json) -> dict[str, list[str | None]]:
    """Task -> addresses of the scores of the rows that are shown, the seed LM's first."""
    by_label = {job.label: job for job in source.jobs}
    first = [by_label.get(row["jobs"][0]["label"]) for row in group["rows"][1:ROWS]]
    known = [*first, *(job for job in source.jobs if (job.dataset, job.model) == (group["dataset"], group["model"]))]
    seed_scores = next((job.seed_scores for job in known if job), {})
    scores = [seed_scores, *(job.scores if job else {} for job in first)]
    return {task: [own.get(task) for own in scores] for task in group["tasks"]}


def _within(
    items: Iterator[list[Any]], parts: int, task: str, questions: int, notes: dict[str, None]
) -> Iterator[list[Any]]:
    """The first of a task's items: its share of what a page may hold."""
    budget = CHARACTERS // parts
    for count, item in enumerate(items):
        if count >= max(1, QUESTIONS // parts) or budget < 0:
            notes[f"{task}: the first {count} of {questions} questions are here."] = None
            return
        budget -= sum(map(len, (item[3], item[4], *item[5])))
        yield item


def _items(group: int, task: str, found: Sequence[Samples]) -> Iterator[list[Any]]:
    for number in sorted(set().union(*found)):
        asked = next(samples[number] for samples in found if number in samples)
        answers = [samples.get(number) for samples in found]
        yield [
            group,
            task,
            str(asked["doc"].get("id", number)),
            cut(question(asked)),
            cut(str(asked.get("target", ""))),
            [cut(str(first_text(answer["resps"]))) if answer else "" for answer in answers],
            [_verdict(answer) if answer else None for answer in answers],
        ]


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


def cut(text: str) -> str:
    """The text, or its beginning and how much is left out."""
    return text if len(text) <= LONGEST else f"{text[:LONGEST]} … ({len(text) - LONGEST:,} characters more)"


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
