"""The page as text: an index of all responses, and each question's tokens packed, to be read when they are shown."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from analysis.page import embedded, page
from analysis.report.samples import cut
from analysis.token_shift.packing import FEW, LISTED, LONGEST, Tokens, packed, rest, text, told
from analysis.token_shift.source import ROWS, Part, Shifts
from sdft_exp.report.grouping import Group
from sdft_exp.report.panels import looks
from sdft_exp.report.reading import heading

Json = Mapping[str, Any]

CHARACTERS = 24_000_000  # of a page: texts and packed tokens
PLAIN = 6_000  # characters of a prompt and of a seed LM's answer

_ASSETS = Path(__file__).parent / "assets"


def render(shifts: Shifts) -> str:
    """The whole page."""
    made = contents(shifts)
    return page(
        _ASSETS / "tokens.html.jinja",
        ("tokens.css",),
        ("elements.js", "read.js", "tokens.js", "view.js"),
        {
            "title": shifts.source.plan["title"],
            "folder": shifts.source.folder,
            "notes": made.notes,
            "index": embedded(made.index),
            "blobs": made.blobs,
        },
    )


@dataclass
class Contents:
    """What the page holds.

    Attributes:
        index: "groups" (heading, rows, looks), "tasks" (group, task, seed: why there is no seed LM's answer or null,
            questions of id, prompt, seed LM's answer or null), "parts" (task, seed, rows, items) and "tokens".
            A part's rows: place in the group, form, responses, empty ones, tokens, shares of the classes. Its items:
            place of the question, name of the packed tokens, and of each row text and `packing.told`, or null.
        blobs: the packed tokens by name, and behind "-rest" what a page can do without.
        notes: what was left out, in words.
    """

    index: dict[str, Any]
    blobs: dict[str, str]
    notes: list[str]


@dataclass
class _Task:
    group: int
    task: str
    seed: str | None
    answers: Mapping[int, str]
    places: dict[int, int] = field(default_factory=dict)
    questions: list[list[str | None]] = field(default_factory=list)
    names: set[str] = field(default_factory=set)

    def place(self, number: int, line: Json) -> int:
        """Where the question stands; a name that another question has is told apart."""
        if number not in self.places:
            name = str(line["id"])
            if name in self.names:
                name = f"{name} ({number})"
            self.names.add(name)
            self.places[number] = len(self.questions)
            answer = self.answers.get(number)
            self.questions.append([name, cut(line["prompt"], PLAIN), answer if answer is None else cut(answer, PLAIN)])
        return self.places[number]


def contents(shifts: Shifts) -> Contents:
    """What the page holds, within `CHARACTERS`; each part has its share of what the ones before have left."""
    tokens, notes = Tokens(), _notes(shifts)
    blobs: dict[str, str] = {}
    tasks: dict[tuple[int, str], _Task] = {}
    parts, left = [], CHARACTERS
    for count, part in enumerate(shifts.parts):
        if (part.group, part.task) not in tasks:
            answers = shifts.seed_answers(part)
            tasks[part.group, part.task] = _Task(part.group, part.task, _without(part, answers), answers or {})
        budget = left // (len(shifts.parts) - count)
        found = _part(shifts, part, tasks[part.group, part.task], tokens, budget, f"p{count}")
        parts.append(found.index | {"task": [*tasks].index((part.group, part.task)), "seed": part.seed})
        blobs |= found.blobs
        notes += found.notes
        left -= found.size
    index = {
        "groups": [_shown(group) for group in shifts.groups],
        "tasks": [
            {"group": task.group, "task": task.task, "seed": task.seed, "questions": task.questions}
            for task in tasks.values()
        ],
        "parts": parts,
        "tokens": tokens.table,
    }
    return Contents(index, blobs, notes)


def _notes(shifts: Shifts) -> list[str]:
    notes = [f"Not in the store, so not here: {each}." for each in shifts.missing]
    for group in shifts.groups:
        if len(group.rows) > ROWS:
            notes.append(f"{_heading(group)}: the first {ROWS} of {len(group.rows)} tuned rows are here.")
    return notes


def _shown(group: Group) -> Json:
    rows = [{"kind": "tuned", "name": row.name} for row in group.rows[:ROWS]]
    return {"heading": _heading(group), "rows": [row["name"] for row in rows], "looks": [*looks(rows)]}


def _heading(group: Group) -> str:
    return heading({"dataset": group.dataset, "model": group.model, "setting": group.setting})


def _without(part: Part, answers: Mapping[int, str] | None) -> str | None:
    """Why there are no answers of the seed LM, in words."""
    if answers is None:
        return f"It was not asked: {part.task} is not among this run's eval.tasks."
    return None if answers else "Its answers are no longer in the store."


@dataclass(frozen=True)
class _Packed:
    index: dict[str, Any]
    blobs: dict[str, str]
    notes: list[str]
    size: int


def _part(shifts: Shifts, part: Part, task: _Task, tokens: Tokens, budget: int, name: str) -> _Packed:
    """A part with all lists of the likeliest where that fits; else with short ones at unshifted tokens; else less."""
    stats = {row: shifts.stats(address) for row, address in part.measured.items()}
    places = {row: tokens.of(shifts.vocabulary(address)) for row, address in part.measured.items()}
    items: list[list[Any]] = []
    blobs: dict[str, str] = {}
    others: dict[str, str] | None = {}
    size, more, longer = 0, 0, 0
    for number, lines in shifts.questions(part):
        first = next(iter(lines.values()))
        shown = [[text(lines[row]), told(lines[row])] if row in lines else None for row in part.measured]
        tokens_packed = packed(lines, places)
        own = len(tokens_packed) + sum(len(row[0]) for row in shown if row)
        own += min(PLAIN, len(first["prompt"])) + min(PLAIN, len(task.answers.get(number, "")))
        if items and size + own > budget:
            break
        size += own
        longer += sum(len(line["classes"]) > LONGEST for line in lines.values())
        blobs[f"{name}-{len(items)}"] = tokens_packed
        if others is not None:
            others[f"{name}-{len(items)}-rest"] = others_packed = rest(lines, places)
            more += len(others_packed)
            if size + more > budget:
                others = None
        items.append([task.place(number, first), f"{name}-{len(items)}", shown])
    notes = [*_left_out(f"{part.task}, seed {part.seed}", len(items), others is None, stats, longer)]
    rows = [_row(row, stats[row]) for row in part.measured]
    if others is not None:
        blobs |= others
        size += more
    return _Packed({"rows": rows, "items": items}, blobs, notes, size)


def _row(row: int, stats: Json) -> Json:
    """A row of a part, with the shares of all that was measured of it, on the page or not."""
    shares = [stats[name] for name in ("unshifted", "marginal", "shifted")]
    return {"row": row, "shares": shares} | {name: stats[name] for name in ("form", "responses", "empty", "tokens")}


def _left_out(what: str, kept: int, short: bool, stats: Mapping[int, Json], longer: int) -> Iterator[str]:
    measured = max(one["responses"] for one in stats.values())
    if kept < measured:
        yield f"{what}: the first {kept:,} of {measured:,} questions are here; the page would be too large."
    if short:
        yield f"{what}: at unshifted tokens the {FEW} likeliest of {LISTED} are here; the page would be too large."
    if longer:
        yield f"{what}: of {longer:,} longer responses the first {LONGEST:,} tokens are here."
