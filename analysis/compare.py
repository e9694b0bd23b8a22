"""`python -m analysis.compare A B`: two runs by their configs, their scores question by question, and what changed.

A and B are folders of finished runs, or their names under outputs/. Of a sweep `NAME:LABEL` is one of its jobs, and
`NAME:seed` the seed LM that its first job began with.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from analysis.report.records import as_text, differing_keys
from analysis.report.samples import cut, first_text, question, recorded
from analysis.report.source import Source, find, read_finished
from sdft_exp.errors import DataError, UserError
from sdft_exp.jobs import flatten
from sdft_exp.report.bootstrap import interval, resampled_means
from sdft_exp.report.measures import MEASURES

Json = Mapping[str, Any]

SEED_LM = "seed"
RESAMPLES = 2000
PERMUTATIONS = 9999
CONFIDENCE = 0.95
_METRICS = dict.fromkeys(name for measure in MEASURES if measure.section == "main" for name in measure.metrics)


@dataclass(frozen=True)
class Run:
    """One job of a run or a sweep, or the seed LM behind it: its flattened config, and task -> address of the score."""

    source: Source
    name: str
    config: Json
    scores: Mapping[str, str]

    def scored(self, task: str) -> Json:
        """The content of a task's scores.json.

        Raises:
            DataError: its artifact is gone.
        """
        path = self.source.artifact(self.scores[task], "scores.json")
        if path is None:
            raise DataError(f"{self.name}: the scores of {task} are no longer in the store; run its command again")
        read: Json = json.loads(path.read_text(encoding="utf-8"))
        return read


@dataclass(frozen=True)
class Difference:
    """One metric of one task: means over the questions that both were scored on, and B minus A.

    Attributes:
        low, high: of the paired bootstrap's percentile interval over questions.
        p: two-sided, of the paired permutation test (on shares of 0 and 1 McNemar's exact test).
        better, worse: ids of the questions on which B is higher, and lower.
    """

    task: str
    metric: str
    n: int
    a: float
    b: float
    low: float
    high: float
    p: float
    better: tuple[Any, ...]
    worse: tuple[Any, ...]


def read_run(name: str) -> Run:
    """The run that a name on the command line means.

    Raises:
        DataError: no such folder or job, or it has not finished.
    """
    folder, _, label = name.partition(":")
    source = read_finished(find(folder))
    jobs = {job["report"]["label"]: job for job in source.plan["jobs"]}
    finished = {job.label: job for job in source.jobs}
    if not label and len(jobs) > 1:
        raise DataError(f"{folder}: is a sweep; name one of its jobs: {_choices(folder, jobs)}")
    if label and label not in (*jobs, SEED_LM):
        raise DataError(f"{folder}: has no job {label!r}; take one of {_choices(folder, jobs)}")
    chosen = next(iter(jobs)) if label in ("", SEED_LM) else label
    job = finished[chosen]
    scores = job.seed_scores if label == SEED_LM else job.scores or job.seed_scores
    return Run(source, name, dict(flatten(jobs[chosen]["config"])), scores)


def _choices(folder: str, labels: Sequence[str] | Mapping[str, Any]) -> str:
    return ", ".join(f'"{folder}:{label}"' for label in (*labels, SEED_LM))


def differences(a: Run, b: Run) -> tuple[list[Difference], list[str]]:
    """What can be compared, and for what cannot the reason, a line each."""
    found, notes = [], []
    for task in dict.fromkeys((*a.scores, *b.scores)):
        if task not in a.scores or task not in b.scores:
            notes.append(f"{task}: only {(a if task in a.scores else b).name} was asked")
            continue
        first, second = a.scored(task), b.scored(task)
        rules = [f"{one['protocol']} {one['version']}" for one in (first, second)]
        if rules[0] != rules[1]:
            notes.append(f"{task}: scored by different rules, {rules[0]} and {rules[1]}")
            continue
        for metric in (name for name in _METRICS if name in first["metrics"] and name in second["metrics"]):
            pairs = _pairs(first["items"], second["items"], metric)
            if pairs:
                found.append(_difference(task, metric, pairs))
            else:
                notes.append(f"{task}: no question was put to both")
    return found, notes


def _pairs(first: Sequence[Json], second: Sequence[Json], metric: str) -> dict[Any, tuple[float, float]]:
    """Question -> both values, of those that both have one for."""
    values = {item["id"]: item[metric] for item in second if item.get(metric) is not None}
    return {
        item["id"]: (float(item[metric]), float(values[item["id"]]))
        for item in first
        if item.get(metric) is not None and item["id"] in values
    }


def _difference(task: str, metric: str, pairs: Mapping[Any, tuple[float, float]]) -> Difference:
    values = np.array(list(pairs.values())).T
    resampled = resampled_means(values, RESAMPLES, task)
    low, high = interval(resampled[:, 1] - resampled[:, 0], CONFIDENCE)
    changes = values[1] - values[0]
    ids = list(pairs)
    return Difference(
        task,
        metric,
        n=len(ids),
        a=float(values[0].mean()),
        b=float(values[1].mean()),
        low=low,
        high=high,
        p=paired_p(changes),
        better=tuple(ids[place] for place in np.flatnonzero(changes > 0)),
        worse=tuple(ids[place] for place in np.flatnonzero(changes < 0)),
    )


def paired_p(changes: Any) -> float:
    """Two-sided p-value of the paired permutation test: under the null each change may as well have the other sign.

    Args:
        changes: one a question, shape (n,); zeros tell nothing and are left out.
    """
    from scipy.stats import permutation_test

    told = changes[changes != 0]
    if len(told) < 2:  # either sign of one change is as likely as the other
        return 1.0
    tested = permutation_test(
        (told, np.zeros_like(told)),
        lambda one, other, axis: np.sum(one - other, axis=axis),
        permutation_type="samples",
        vectorized=True,
        n_resamples=PERMUTATIONS,
        rng=0,
    )
    return float(tested.pvalue)


def changed(a: Run, b: Run, difference: Difference, count: int) -> list[Json]:
    """The first `count` questions that B lost, and as many that it won: "id", "change", "question", both answers."""
    task, cache = difference.task, {}  # type: ignore[var-annotated]
    texts = []
    for run in (a, b):
        samples = recorded(run.source, task, run.scores[task], cache)
        texts.append({sample["doc"].get("id", number): sample for number, sample in samples.items()})
    return [
        {
            "task": task,
            "id": one,
            "change": word,
            "question": cut(question(texts[0][one])),
            "answers": [cut(str(first_text(own[one]["resps"]))) for own in texts],
        }
        for word, ids in (("lost", difference.worse), ("won", difference.better))
        for one in ids[:count]
        if all(one in own for own in texts)
    ]


def compare(a: Run, b: Run, count: int) -> dict[str, Any]:
    """All of it: "a", "b", "config" (key -> both values), "differences", "changed" and "notes"."""
    found, notes = differences(a, b)
    return {
        "a": a.name,
        "b": b.name,
        "config": {
            key: [as_text(run.config.get(key)) for run in (a, b)] for key in differing_keys([a.config, b.config])
        },
        "differences": [vars(one) for one in found],
        "changed": [sample for one in found for sample in changed(a, b, one, count)],
        "notes": notes,
    }


def show(told: Json, console: Console) -> None:
    """Print it for a person."""
    for title, rows in (
        (("config", told["a"], told["b"]), [(key, *values) for key, values in told["config"].items()]),
        (
            ("task", "metric", "n", "A", "B", "B - A", "95 %", "p", "won", "lost"),
            [_cells(one) for one in told["differences"]],
        ),
    ):
        table = Table(box=None, header_style="bold")
        for name in title:
            table.add_column(name, overflow="fold", no_wrap=name == "95 %")
        for row in rows:
            table.add_row(*row)
        console.print(table if rows else f"{title[0]}: no difference", "")
    for sample in told["changed"]:
        console.print(f"{sample['task']} {sample['id']}: {sample['change']}", style="bold", markup=False)
        for name, text in zip(("asked", "A", "B"), (sample["question"], *sample["answers"]), strict=True):
            console.print(f"  {name}: {' '.join(text.split())}", markup=False, highlight=False)
    for note in told["notes"]:
        console.print(f"note: {note}", markup=False, highlight=False)


def _cells(one: Json) -> tuple[str, ...]:
    change = f"{100 * (one['b'] - one['a']):+.1f}{'*' if one['low'] > 0 or one['high'] < 0 else ''}"
    bounds = f"[{100 * one['low']:+.1f}, {100 * one['high']:+.1f}]"
    shares = (f"{100 * one['a']:.1f}", f"{100 * one['b']:.1f}", change, bounds)
    counts = (str(len(one["better"])), str(len(one["worse"])))
    return (one["task"], one["metric"], str(one["n"]), *shares, f"{one['p']:.2g}", *counts)


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the comparison; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m analysis.compare", description="Two runs, side by side.")
    parser.add_argument("a", help="a run's folder or name; of a sweep NAME:LABEL is a job, NAME:seed the seed LM")
    parser.add_argument("b", help="another")
    parser.add_argument("--samples", type=int, default=3, help="questions shown that each task lost, and won")
    parser.add_argument("--json", action="store_true", help="print it for programs")
    given = parser.parse_args(arguments)
    try:
        told = compare(read_run(given.a), read_run(given.b), given.samples)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    if given.json:
        print(json.dumps(told, ensure_ascii=False, indent=1))
    else:
        show(told, Console())
    return 0


if __name__ == "__main__":
    sys.exit(main())
