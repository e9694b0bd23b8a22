"""The bootstrap against all outcomes counted by hand, against scipy's and against a slow plain loop."""

from __future__ import annotations

import itertools
import random
import time
from collections import Counter

import numpy as np
import pytest

from sdft_exp.report import bootstrap
from sdft_exp.report.bootstrap import interval, over_seeds, resampled_means


def test_every_outcome_comes_as_often_as_it_must() -> None:
    # Two seeds by two items: 4 draws of seeds times 4 of items, all equally likely.
    values = np.array([[0.0, 1.0], [1.0, 1.0]])
    exact = Counter(
        np.mean([[values[s, i] for i in items] for s in seeds]).item()
        for seeds in itertools.product((0, 1), repeat=2)
        for items in itertools.product((0, 1), repeat=2)
    )
    resamples = 40_000
    found = Counter(over_seeds(resampled_means(values, resamples, "task"), [0, 1]).tolist())
    assert set(found) == set(exact)
    for outcome, count in exact.items():
        # 16 outcomes; four standard errors of a share of 40,000
        assert found[outcome] / resamples == pytest.approx(count / 16, abs=4 * (0.25 / resamples) ** 0.5)


def test_a_single_run_is_scipys_percentile_bootstrap() -> None:
    scipy_stats = pytest.importorskip("scipy.stats")
    values = np.random.default_rng(0).random((1, 80))
    ours = interval(resampled_means(values, 20_000, "task")[:, 0], 0.95)
    theirs = scipy_stats.bootstrap(
        (values[0],), np.mean, n_resamples=20_000, method="percentile", rng=np.random.default_rng(1)
    ).confidence_interval
    assert ours == pytest.approx((theirs.low, theirs.high), abs=0.003)


def test_a_paired_difference_is_a_plain_loops() -> None:
    chance = random.Random(7)
    one = [[float(chance.random() < 0.7) for _ in range(30)] for _ in range(3)]
    other = [[value if chance.random() < 0.8 else 1 - value for value in run] for run in one]
    means = resampled_means(np.array(one + other), 8000, "task")
    ours = interval(over_seeds(means[:, :3], [0, 1, 2]) - over_seeds(means[:, 3:], [0, 1, 2]), 0.95)
    slow = []
    for _ in range(8000):
        seeds = [chance.randrange(3) for _ in range(3)]
        items = [chance.randrange(30) for _ in range(30)]
        slow.append(sum(one[s][i] - other[s][i] for s in seeds for i in items) / 90)
    assert ours == pytest.approx(np.quantile(slow, [0.025, 0.975]), abs=0.015)


def test_equal_rows_differ_by_nothing_in_every_resample() -> None:
    values = np.random.default_rng(0).random((3, 50))
    means = resampled_means(np.concatenate([values, values]), 500, "task")
    difference = over_seeds(means[:, :3], [0, 1, 2]) - over_seeds(means[:, 3:], [0, 1, 2])
    assert np.all(difference == 0)


def test_draws_depend_on_the_task_and_not_on_its_neighbours(monkeypatch: pytest.MonkeyPatch) -> None:
    values = np.random.default_rng(0).random((2, 50))
    alone = resampled_means(values[:1], 100, "task")
    assert np.allclose(alone[:, 0], resampled_means(values, 100, "task")[:, 0])
    assert not np.allclose(alone, resampled_means(values[:1], 100, "another"))
    monkeypatch.setattr(bootstrap, "_CELLS", 700)  # chunks of 14 resamples instead of one
    assert np.allclose(alone, resampled_means(values[:1], 100, "task"))


def test_one_seed_is_itself() -> None:
    means = np.array([[0.25], [0.5]])
    assert over_seeds(means, [4]).tolist() == [0.25, 0.5]
    assert over_seeds(means, []).tolist() == [0.25, 0.5]


def test_twelve_jobs_of_eight_tasks_take_less_than_two_seconds() -> None:
    values = np.random.default_rng(0).integers(0, 2, (13 * 4, 100)).astype(np.float64)
    started = time.perf_counter()
    for task in range(8):
        means = resampled_means(values, 2000, str(task))
        for job in range(17):
            interval(over_seeds(means[:, 3 * job : 3 * job + 3], [0, 1, 2]), 0.95)
    assert time.perf_counter() - started < 2


def test_values_that_are_not_there_are_in_no_mean() -> None:
    values = np.array([[1.0, 0.0, np.nan, 1.0]])
    found = resampled_means(values, 500, "task")[:, 0]
    filled, there = resampled_means(np.array([[1.0, 0.0, 0.0, 1.0], [1.0, 1.0, 0.0, 1.0]]), 500, "task").T
    drawn = there > 0  # else only the missing one was drawn
    assert np.allclose(found[drawn], filled[drawn] / there[drawn])
    assert np.allclose(found[~drawn], 2 / 3)
    assert not drawn.all()
