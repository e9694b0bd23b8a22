"""A paired hierarchical bootstrap over training seeds and items.

Every seed of every row answers the same items, so seeds and items are crossed: one resample draws seeds with
replacement, and, for each task, items with replacement; all rows see the same drawn items, and rows of the same seeds
the same drawn seeds. A difference of two rows within a resample is then a paired one. Intervals are percentiles.

The draws of a task come from its name and the number of its items alone, so one more task, or one more row, moves no
other interval.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

FEW_ITEMS = 5  # a difference over fewer, where others are missing, would say little and look certain
_CELLS = 2_000_000  # drawn items held at once, some 16 MB: the memory stays bounded for tasks of thousands of items


def resampled_means(values: Floats, resamples: int, stream: str) -> Floats:
    """Means over resampled items, the same items for all series.

    Args:
        values: one value an item, shape (series, items); NaN where there is none, which no mean counts.
        resamples: how many.
        stream: names the draws; the same name and number of items give the same draws.

    Returns:
        shape (resamples, series).
    """
    items = values.shape[1]
    random = _generator(f"items {stream}")
    step = max(1, _CELLS // items)
    there = (~np.isnan(values)).astype(np.float64)
    filled = np.nan_to_num(values)
    whole = filled.sum(axis=1) / np.maximum(there.sum(axis=1), 1)
    parts = []
    for start in range(0, resamples, step):
        counts = _counts(random, min(step, resamples - start), items)
        # A series of few values may have none in a resample: its mean over all stands in.
        drawn = counts @ there.T
        means = counts @ filled.T / np.maximum(drawn, 1)
        parts.append(np.where(drawn > 0, means, whole))
    return np.concatenate(parts)


def with_values(series: Sequence[Floats]) -> npt.NDArray[np.bool_]:
    """Which runs have a value of every one of `series`, each of shape (runs, items): a mean is over those alone."""
    return np.all([~np.isnan(values).all(axis=1) for values in series], axis=0)


def of_all(values: Floats) -> Floats | None:
    """`values`, shape (series, items), without those of items that another series has no value for.

    A difference is over the items that both its sides have: else which are missing would make one of its own.

    None where fewer than `FEW_ITEMS` would be left of what is there.
    """
    missing = np.isnan(values).any(axis=0)
    if missing.any() and np.count_nonzero(~missing) < FEW_ITEMS:
        return None
    return np.where(missing, np.nan, values)


def over_seeds(means: Floats, seeds: Sequence[int]) -> Floats:
    """Means over resampled seeds; rows of the same seeds get the same draws.

    Args:
        means: shape (resamples, seeds).
        seeds: the training seeds, in the order of the columns; empty for the seed LM, which has one column.

    Returns:
        shape (resamples,).
    """
    resamples, count = means.shape
    if count == 1:
        return means[:, 0]
    drawn = _counts(_generator(f"seeds {list(seeds)}"), resamples, count)
    return (drawn * means).sum(axis=1) / count


def interval(resampled: Floats, confidence: float) -> tuple[float, float]:
    """The percentile interval of a resampled statistic."""
    tail = (1 - confidence) / 2
    low, high = np.quantile(resampled, [tail, 1 - tail])
    return float(low), float(high)


def _generator(stream: str) -> np.random.Generator:
    return np.random.default_rng(int.from_bytes(hashlib.sha256(stream.encode()).digest()[:8]))


def _counts(random: np.random.Generator, resamples: int, size: int) -> Floats:
    """How often each of `size` things is drawn in `size` draws with replacement, shape (resamples, size)."""
    drawn = random.integers(0, size, (resamples, size)) + np.arange(resamples)[:, None] * size
    counts = np.bincount(drawn.ravel(), minlength=resamples * size)
    return counts.reshape(resamples, size).astype(np.float64)
