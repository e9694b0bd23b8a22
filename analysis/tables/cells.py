"""What stands in a cell of ours: the mean over seeds and items, its interval, the paired difference to another row."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from analysis.tables.shape import Source
from sdft_exp.report.bootstrap import Floats, interval, of_all, over_seeds, resampled_means
from sdft_exp.report.summary import judged_by
from sdft_exp.store import Store

Addresses = Mapping[str, str]  # task -> `score/<key>`
Items = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Estimate:
    """A mean as measured with its interval; `seeds` are the training seeds that it is of, empty for the seed LM."""

    mean: float
    low: float
    high: float
    seeds: tuple[int, ...]

    @property
    def significant(self) -> bool:
        """For a difference: the interval excludes 0."""
        return self.low > 0 or self.high < 0


class Scores:
    """Scores of one table out of the store, each read and resampled once."""

    def __init__(self, store: Store, resamples: int, confidence: float):
        self.store, self.resamples, self.confidence = store, resamples, confidence
        self._read: dict[str, dict[str, Any] | None] = {}
        self._means: dict[tuple[str, str, bytes], tuple[float, Floats]] = {}

    def estimate(self, runs: Mapping[int, Addresses], source: Source, trained: bool = True) -> Estimate | None:
        """The mean of `source` over the runs (by seed) that have all its tasks; None when there is none."""
        seeds = self._seeds(runs, source)
        if not seeds:
            return None
        mean, resampled = self._mean(runs, source, seeds)
        return self._estimate(mean, resampled, seeds if trained else ())

    def difference(
        self, runs: Mapping[int, Addresses], baseline: Mapping[int, Addresses], source: Source
    ) -> Estimate | None:
        """`runs` minus `baseline` over the seeds that both have, paired by seed and item; None when there is none."""
        seeds = tuple(seed for seed in self._seeds(runs, source) if seed in self._seeds(baseline, source))
        if not seeds or not self._paired(runs, baseline, source, seeds):
            return None
        common = self._common([side[seed] for side in (runs, baseline) for seed in seeds], source)
        if common is None:
            return None
        mean, resampled = self._mean(runs, source, seeds, common)
        other, resampled_other = self._mean(baseline, source, seeds, common)
        return self._estimate(mean - other, resampled - resampled_other, seeds)

    def lacks(self, runs: Mapping[int, Addresses], source: Source) -> bool:
        """Whether all was measured that `source` is of, and no item had a value for it."""
        found = [self._score(run[task]) for run in runs.values() for task in source.tasks if task in run]
        return bool(found) and all(score is not None and source.metric not in score["metrics"] for score in found)

    def without_value(self, runs: Mapping[int, Addresses], source: Source) -> tuple[int, int]:
        """Answers that have no value, which are in no mean, and all answers, over the runs of an estimate."""
        values = [
            self._values(runs[seed][task], source.metric) for seed in self._seeds(runs, source) for task in source.tasks
        ]
        return sum(int(np.isnan(each).sum()) for each in values), sum(each.size for each in values)

    def seeds_without_value(self, runs: Mapping[int, Addresses], source: Source) -> tuple[int, ...]:
        """The seeds that were measured and have no value at all: an estimate is over the others."""
        found = self._seeds(runs, source)
        return tuple(
            seed
            for seed, run in sorted(runs.items())
            if seed not in found and all(task in run and self._score(run[task]) for task in source.tasks)
        )

    def judged(self, runs: Mapping[int, Addresses], source: Source) -> bool:
        """Whether a model judged the answers."""
        found = [self._score(run[task]) for run in runs.values() for task in source.tasks if task in run]
        return any(score is not None and "judge" in score for score in found)

    def protocols(self, runs: Mapping[int, Addresses]) -> set[str]:
        """`paper 1`: name and version of what judged the scores that are there."""
        found = [self._score(address) for run in runs.values() for address in run.values()]
        return {judged_by(score) for score in found if score}

    def _estimate(self, mean: float, resampled: Floats, seeds: tuple[int, ...]) -> Estimate:
        low, high = interval(resampled, self.confidence)
        return Estimate(mean, low, high, seeds)

    def _seeds(self, runs: Mapping[int, Addresses], source: Source) -> tuple[int, ...]:
        return tuple(sorted(seed for seed, run in runs.items() if all(self._has(run, t, source) for t in source.tasks)))

    def _has(self, run: Addresses, task: str, source: Source) -> bool:
        score = self._score(run[task]) if task in run else None
        return score is not None and source.metric in score["metrics"]

    def _mean(
        self,
        runs: Mapping[int, Addresses],
        source: Source,
        seeds: tuple[int, ...],
        common: Mapping[str, Items] | None = None,
    ) -> tuple[float, Floats]:
        """Over the items that a run has a value for, or those of `common` alone."""
        means, resampled = [], []
        for task in source.tasks:
            items = common[task] if common else None
            series = [self._resampled(runs[seed][task], task, source.metric, items) for seed in seeds]
            means.append(np.mean([mean for mean, _ in series]))
            resampled.append(over_seeds(np.stack([draws for _, draws in series], axis=1), seeds))
        return float(np.mean(means)), np.mean(resampled, axis=0)

    def _resampled(self, address: str, task: str, metric: str, items: Items | None) -> tuple[float, Floats]:
        """An artifact's mean, and its resampled means: the same items are drawn for every run of a task."""
        values = self._values(address, metric)
        if items is not None:
            values = np.where(items, values, np.nan)
        key = (address, metric, np.isnan(values).tobytes())
        if key not in self._means:
            resampled = resampled_means(values[None], self.resamples, task)[:, 0]
            self._means[key] = (float(np.nanmean(values)), resampled)
        return self._means[key]

    def _values(self, address: str, metric: str) -> Floats:
        """One value an item; NaN where there is none: a judge failed, or there was nothing to measure."""
        score = self._score(address)
        assert score is not None
        return np.array([float(item.get(metric, np.nan)) for item in score["items"]])

    def _common(self, runs: Sequence[Addresses], source: Source) -> dict[str, Items] | None:
        """By task, the items that every run has a value for; None where they are too few."""
        common: dict[str, Items] = {}
        for task in source.tasks:
            values = of_all(np.array([self._values(run[task], source.metric) for run in runs]))
            if values is None:
                return None
            common[task] = ~np.isnan(values[0])
        return common

    def _paired(
        self, runs: Mapping[int, Addresses], other: Mapping[int, Addresses], source: Source, seeds: tuple[int, ...]
    ) -> bool:
        return all(
            len({self._questions(side[seed][task]) for side in (runs, other) for seed in seeds}) == 1
            for task in source.tasks
        )

    def _questions(self, address: str) -> tuple[str, ...]:
        score = self._score(address)
        return tuple(str(item["id"]) for item in score["items"]) if score else ()

    def _score(self, address: str) -> dict[str, Any] | None:
        if address not in self._read:
            whole = self.store.verify(address).state == "whole"
            path = self.store.path(address) / "scores.json"
            self._read[address] = json.loads(path.read_text(encoding="utf-8")) if whole else None
        return self._read[address]
