"""summary.json: every cell of the table with its interval, and every difference. Its schema: docs/summary.md."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from sdft_exp.report.bootstrap import Floats, interval, over_seeds, resampled_means, values_of_all
from sdft_exp.report.grouping import Group, Row, baseline, group_jobs
from sdft_exp.report.measures import MEASURES, parts_of
from sdft_exp.report.reading import read_against, read_change
from sdft_exp.stages.report import MINIATURE, Report, ReportJob
from sdft_exp.tasks.aspects import ASPECTS

SCHEMA = 1
DIGITS = 6  # of every number: beyond what an interval means, short of what the order of a sum can move
FEW_SEEDS = 5

Json = Mapping[str, Any]
Estimate = tuple[list[float], Floats]  # one mean a seed, and the resampled means over seeds
Estimates = dict[Row, dict[tuple[str, str], Estimate]]  # by row, task and metric


def summarise(params: Report, scores: Mapping[str, Json], stats: Mapping[str, Json]) -> dict[str, Any]:
    """The summary of a run or a sweep.

    Args:
        params: what the report reads.
        scores: address -> content of `scores.json`.
        stats: address -> content of `stats.json` of dataset, select and train stages.
    """
    groups = group_jobs(params.jobs)
    return {
        "schema": SCHEMA,
        "title": params.title,
        "interval": {
            "kind": "paired hierarchical bootstrap over seeds and items, percentile",
            "confidence": params.confidence,
            "resamples": params.resamples,
        },
        "measures": [
            {
                "name": m.name,
                "title": m.title,
                "section": m.section,
                "unit": m.unit,
                "higher_is_better": m.higher_is_better,
            }
            for m in MEASURES
        ],
        "groups": [_group(group, params, scores, stats) for group in groups],
        "failed": [dict(job) for job in params.failed],
        "warnings": [
            *params.notes,
            *_data_warnings(params.jobs, stats),
            *_judge_warnings(scores.values()),
            *_seed_warnings(groups),
        ],
        "limits": _limits(params.jobs),
    }


def judged_by(score: Json) -> str:
    """Whose rules made a score: `paper 1`, `strict 1 (judge gpt-4)`."""
    judge = f" (judge {score['judge']})" if "judge" in score else ""
    return f"{score['protocol']} {score['version']}{judge}"


def _group(group: Group, params: Report, scores: Mapping[str, Json], stats: Mapping[str, Json]) -> dict[str, Any]:
    seed_row = Row("seed LM", ())
    by_row = {seed_row: [{task: scores[address] for task, address in group.seed_scores.items()}]}
    for row in group.rows:
        by_row[row] = [
            {task: scores[address] for task, address in {**job.scores, **job.shifts}.items()} for job in row.jobs
        ]
    estimates, paired = _estimates(by_row, params.resamples)
    measured = {row: _measures(group.target, found) for row, found in estimates.items()}
    compared = {row: _measures(group.target, found) for row, found in paired.items()}
    protocols = {judged_by(score) for score in by_row[seed_row][0].values()}

    def shown(row: Row, kind: str) -> dict[str, Any]:
        return {
            "name": row.name,
            "kind": kind,
            "seeds": row.seeds,
            "measures": _cells(measured[row], params.confidence),
            "tasks": _task_cells(estimates[row], params.confidence),
        }

    rows = [shown(seed_row, "seed")]
    for row in group.rows:
        vanilla = baseline(row, group.rows)
        change = _differences(compared[row], compared[seed_row], params.confidence)
        against = _differences(compared[row], compared[vanilla], params.confidence) if vanilla else None
        details = {
            "row": dict(row.values),
            "jobs": [{"label": job.label, "seed": job.seed} for job in row.jobs],
            "change": change,
            "reading": read_change(row.name, change),
            "against_vanilla": vanilla
            and {"baseline": vanilla.name, "change": against, "reading": read_against(row.name, vanilla.name, against)},
            "rewrites": _stats(row.jobs[0].select, stats),
            "training": [{"seed": job.seed, **(_stats(job.train, stats) or {})} for job in row.jobs if job.train],
        }
        rows.append(shown(row, "tuned") | details)
    return {
        "dataset": group.dataset,
        "model": group.model,
        "setting": group.setting,
        "target": list(group.target),
        "tasks": {task: score["n"] for task, score in sorted(by_row[seed_row][0].items())},
        "protocols": sorted(protocols),
        "rows": rows,
    }


def _estimates(by_row: Mapping[Row, Sequence[Mapping[str, Json]]], resamples: int) -> tuple[Estimates, Estimates]:
    """For each row and each (task, metric): the mean of each seed, and the resampled means over seeds.

    Returns:
        over all items that a row has a value for; and, for differences, over those that every row and seed has one for:
        else a judge that failed at some answers of one row would make a difference of its own.
    """
    found: Estimates = {row: {} for row in by_row}
    paired: Estimates = {row: {} for row in by_row}
    for task in sorted({task for runs in by_row.values() for run in runs for task in run}):
        series = [
            (row, metric, [_values(run[task], metric) for run in runs])
            for row, runs in by_row.items()
            if all(task in run for run in runs)
            for metric in (sorted(runs[0][task]["metrics"]) if runs else [])
        ]
        _check_paired(task, (run[task] for runs in by_row.values() for run in runs if task in run))
        values = np.array([items for _, _, runs in series for items in runs], dtype=np.float64)
        if values.size == 0:
            continue
        names = [metric for _, metric, runs in series for _ in runs]
        common = values_of_all(values, names)
        for estimates, counted in ((found, values), (paired, common)):
            means = resampled_means(counted, resamples, task)
            start = 0
            for row, metric, runs in series:
                own = slice(start, start + len(runs))
                start += len(runs)
                if not np.isnan(counted[own]).all():
                    seeds = np.nanmean(counted[own], axis=1).tolist()
                    estimates[row][task, metric] = (seeds, over_seeds(means[:, own], row.seeds))
    return found, paired


def _values(score: Json, metric: str) -> list[float]:
    """One value an item; NaN where a judge failed at it."""
    return [float(item.get(metric, np.nan)) for item in score["items"]]


def _check_paired(task: str, scores: Iterable[Json]) -> None:
    questions = {tuple(str(item["id"]) for item in score["items"]) for score in scores}
    if len(questions) > 1:
        raise ValueError(f"{task}: rows of one group answered different questions; they cannot be paired")


def _measures(target: Sequence[str], estimates: Mapping[tuple[str, str], Estimate]) -> dict[str, Estimate]:
    """The columns of one row: means over the tasks of each measure."""
    metrics: dict[str, set[str]] = {}
    for task, metric in estimates:
        metrics.setdefault(task, set()).add(metric)
    found = {}
    for measure in MEASURES:
        parts = [estimates[part] for part in parts_of(measure, metrics, target)]
        if parts:
            seeds = np.mean([each for each, _ in parts], axis=0).tolist()
            found[measure.name] = (seeds, np.mean([resampled for _, resampled in parts], axis=0))
    return found


def _cells(estimates: Mapping[str, Estimate], confidence: float) -> dict[str, Any]:
    return {name: _cell(estimate, confidence) for name, estimate in estimates.items()}


def _task_cells(estimates: Mapping[tuple[str, str], Estimate], confidence: float) -> dict[str, dict[str, Any]]:
    cells: dict[str, dict[str, Any]] = {}
    for (task, metric), estimate in estimates.items():
        cells.setdefault(task, {})[metric] = _cell(estimate, confidence)
    return cells


def _cell(estimate: Estimate, confidence: float) -> dict[str, Any]:
    seeds, resampled = estimate
    low, high = interval(resampled, confidence)
    return {
        "mean": _round(np.mean(seeds)),
        "std": _round(np.std(seeds, ddof=1)) if len(seeds) > 1 else None,
        "per_seed": [_round(value) for value in seeds],
        "low": _round(low),
        "high": _round(high),
    }


def _differences(row: Mapping[str, Estimate], other: Mapping[str, Estimate], confidence: float) -> dict[str, Any]:
    """`row` minus `other` for each measure that both have, with the interval of the paired difference."""
    found = {}
    for name in row:
        if name in other:
            low, high = (_round(end) for end in interval(row[name][1] - other[name][1], confidence))
            mean = _round(np.mean(row[name][0]) - np.mean(other[name][0]))
            found[name] = {"mean": mean, "low": low, "high": high, "significant": low > 0 or high < 0}
    return found


def _round(value: float | np.floating[Any]) -> float:
    return round(float(value), DIGITS) + 0.0  # + 0.0: no negative zero


def _stats(address: str | None, stats: Mapping[str, Json]) -> dict[str, Any] | None:
    """A stage's statistics with its floats rounded."""
    if address is None:
        return None
    return {name: _round(value) if isinstance(value, float) else value for name, value in stats[address].items()}


_LEFT_OUT = {
    "incomplete": "without a question or an answer, or out of turn,",
    "low_quality": "that score less than dataset.quality.at_least",
}


def _data_warnings(jobs: Sequence[ReportJob], stats: Mapping[str, Json]) -> list[str]:
    """What was done to the rows that the user may not know of: left out, cut, or repeated and kept."""
    warnings = []
    for job in jobs:
        repeated = stats[job.data].get("repeated", 0) if job.data else 0
        if repeated and job.data:
            warnings.append(
                f"{job.dataset}: {repeated} of {stats[job.data]['rows']} rows repeat an earlier one; all are used"
            )
        for name, why in _LEFT_OUT.items():
            count = stats[job.data].get(name, 0) if job.data else 0
            if count:
                warnings.append(f"{job.dataset}: {count} rows {why} were left out")
        cut = stats[job.train].get("truncated", 0) if job.train else 0
        if cut and job.train:
            warnings.append(
                f"{job.dataset}: {cut} of {stats[job.train]['rows']} rows were cut to dataset.cutoff tokens"
            )
    return list(dict.fromkeys(warnings))


def _judge_warnings(scores: Iterable[Json]) -> list[str]:
    """How many answers, and aspects of answers, a judge failed at: a mean of few verdicts is none of all answers."""
    failed: dict[str, tuple[float, int]] = {}
    lacking: dict[str, tuple[float, int]] = {}
    for score in scores:
        if "unjudged" in score["metrics"]:
            missing, answers = failed.get(score["task"], (0.0, 0))
            failed[score["task"]] = (missing + sum(item["unjudged"] for item in score["items"]), answers + score["n"])
        given = [item["aspects_missing"] for item in score["items"] if "aspects_missing" in item]
        missing, asked = lacking.get(score["task"], (0.0, 0))
        lacking[score["task"]] = (missing + sum(given), asked + len(ASPECTS) * len(given))
    return [
        *(
            f"{task}: the judge failed at {missing:.0f} of {answers} answers, which are in no mean; why: verdicts.jsonl"
            for task, (missing, answers) in sorted(failed.items())
            if missing
        ),
        *(
            f"{task}: {missing:.0f} of {asked} scores of aspects are missing, and in no mean; why: verdicts.jsonl"
            for task, (missing, asked) in sorted(lacking.items())
            if missing
        ),
    ]


def _seed_warnings(groups: Sequence[Group]) -> list[str]:
    counts = {len(row.jobs) for group in groups for row in group.rows}
    warnings = []
    if 1 in counts:
        warnings.append("one seed: its intervals cover the drawn items only, not how much a training seed moves them")
    few = sorted(counts & set(range(2, FEW_SEEDS)))
    if few:
        said = " or ".join(map(str, few))
        warnings.append(
            f"{said} seeds: a bootstrap over fewer than {FEW_SEEDS} seeds undercovers; the intervals are too narrow"
        )
    for group in groups:
        if len({tuple(row.seeds) for row in group.rows}) > 1:
            warnings.append(
                f"{group.dataset}: its rows are not of the same seeds; their differences are less well paired"
            )
    return warnings


def _limits(jobs: Sequence[ReportJob]) -> list[str]:
    limits = [
        "Generation and evaluation seeds are fixed: the intervals leave out the variance of distillation and decoding.",
        "Significance marks stand for one comparison each; they are not corrected for their number.",
        "A bootstrap of equal values has no width: an interval at 0 or 100 is narrower than what is known.",
    ]
    limits += [
        f"Texts were written by engine {engine}, on a server: another engine writes others, and what a server samples "
        "depends on what it has in hand."
        for engine in sorted({job.engine for job in jobs} - {"hf"})
    ]
    if any(job.model == MINIATURE for job in jobs):
        limits.append(
            "The miniature is a model of about a million parameters in a made-up world with a narrow style of its own: "
            "its numbers show how the experiment works, not how far a real model forgets."
        )
    return limits
