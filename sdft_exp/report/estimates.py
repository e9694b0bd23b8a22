"""Means over seeds and items of what runs have a value of, and paired differences. Says what has no value.

A mean is over the seeds that have a value. A difference is over what both sides have: where values are missing, over
the seeds and the items that both have one for, and none is told of fewer than `FEW_ITEMS` items.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from sdft_exp.report.bootstrap import Floats, of_all, over_seeds, resampled_means, with_values
from sdft_exp.report.grouping import Row

Json = Mapping[str, Any]
Bools = npt.NDArray[np.bool_]
Part = tuple[str, str]  # task and metric


@dataclass(frozen=True)
class Series:
    """A metric of a task in one row.

    Attributes:
        values: shape (runs, items), NaN where there is none.
        means: resampled, shape (resamples, runs).
    """

    values: Floats
    means: Floats


@dataclass(frozen=True)
class Estimate:
    """One mean a seed, None for one without a value, and the resampled means over seeds."""

    by_seed: list[float | None]
    resampled: Floats

    @property
    def seeds(self) -> list[float]:
        """The means of the seeds that have a value."""
        return [mean for mean in self.by_seed if mean is not None]


Measured = Mapping[Part, Series]  # of one row
Side = tuple[list[float], Floats]  # of a difference: one mean a seed, and the resampled means over seeds


def series_of(by_row: Mapping[Row, Sequence[Mapping[str, Json]]], resamples: int) -> dict[Row, dict[Part, Series]]:
    """For each row each task and metric that any of its runs has a value of."""
    found: dict[Row, dict[Part, Series]] = {row: {} for row in by_row}
    for task in sorted({task for runs in by_row.values() for run in runs for task in run}):
        _check_paired(task, (run[task] for runs in by_row.values() for run in runs if task in run))
        named = [
            (row, metric, [_values(run[task], metric) for run in runs])
            for row, runs in by_row.items()
            if all(task in run for run in runs)
            for metric in sorted({name for run in runs for name in run[task]["metrics"]})
        ]
        values = np.array([items for _, _, runs in named for items in runs], dtype=np.float64)
        if values.size == 0:
            continue
        means = resampled_means(values, resamples, task)
        start = 0
        for row, metric, runs in named:
            own = slice(start, start + len(runs))
            start += len(runs)
            if not np.isnan(values[own]).all():
                found[row][task, metric] = Series(values[own], means[:, own])
    return found


def _values(score: Json, metric: str) -> list[float]:
    """One value an item; NaN where there is none: a judge failed, or there was nothing to measure."""
    return [float(item.get(metric, np.nan)) for item in score["items"]]


def _check_paired(task: str, scores: Iterable[Json]) -> None:
    questions = {tuple(str(item["id"]) for item in score["items"]) for score in scores}
    if len(questions) > 1:
        raise ValueError(f"{task}: rows of one group answered different questions; they cannot be paired")


def estimate(row: Row, parts: Sequence[Series]) -> Estimate | None:
    """The mean of `parts`, over the seeds that have a value of each; None where no seed has."""
    there = with_values([part.values for part in parts])
    if not there.any():
        return None
    kept = [Series(part.values[there], part.means[:, there]) for part in parts]
    means, resampled = _mean_of(_those(row, there), kept)
    each = iter(means)
    return Estimate([next(each) if has else None for has in there], resampled)


def _those(row: Row, there: Bools) -> list[int]:
    """The seeds of a row that are `there`; none of the seed LM's, which has no seed and one run."""
    return [seed for seed, has in zip(row.seeds, there, strict=False) if has]


def _mean_of(seeds: Sequence[int], parts: Sequence[Series]) -> Side:
    means = np.mean([np.nanmean(part.values, axis=1) for part in parts], axis=0).tolist()
    return means, np.mean([over_seeds(part.means, seeds) for part in parts], axis=0)


def paired(
    row: Row, other: Row, series: Mapping[Row, Measured], parts: Sequence[Part], resamples: int
) -> tuple[Side, Side] | None:
    """Both sides of a difference, where values are missing over the seeds and the items that both have; None where
    these are too few."""
    sides = [[series[one][part] for part in parts] for one in (row, other)]
    runs = [with_values([part.values for part in side]) for side in sides]
    if row.seeds and other.seeds and not (runs[0].all() and runs[1].all()):
        both = set(_those(row, runs[0])) & set(_those(other, runs[1]))
        runs = [there & np.isin(one.seeds, sorted(both)) for one, there in zip((row, other), runs, strict=True)]
    if not (runs[0].any() and runs[1].any()):
        return None
    split, kept = int(runs[0].sum()), []
    for (task, _), *pair in zip(parts, *sides, strict=True):
        values = np.concatenate([one.values[there] for one, there in zip(pair, runs, strict=True)])
        means = np.concatenate([one.means[:, there] for one, there in zip(pair, runs, strict=True)], axis=1)
        if np.isnan(values).any():
            common = of_all(values)
            if common is None:
                return None
            values, means = common, resampled_means(common, resamples, task)
        kept.append((Series(values[:split], means[:, :split]), Series(values[split:], means[:, split:])))
    first, second = zip(*kept, strict=True)
    return _mean_of(_those(row, runs[0]), first), _mean_of(_those(other, runs[1]), second)


def lacking(row: Row, series: Measured) -> Iterator[str]:
    """Which seeds have no value of what others of their row have one of."""
    found: dict[tuple[str, tuple[int, ...]], list[str]] = {}
    for (task, metric), one in series.items():
        there = with_values([one.values])
        if not there.all():
            without = tuple(seed for seed, has in zip(row.seeds, there, strict=True) if not has)
            found.setdefault((task, without), []).append(metric)
    for (task, without), metrics in found.items():
        named = ", ".join(map(str, without))
        told = ", ".join(metrics)
        yield f"{task}: {row.name} with seed {named} has no value of {told}; the means are over the other seeds"
