"""The table's values, worked out by hand."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from sdft_exp.report.summary import summarise


def _by_name(group: dict[str, Any]) -> dict[str, Any]:
    return {row["name"]: row for row in group["rows"]}


def _worked_by_hand(empty: Any) -> dict[str, Any]:
    """Four questions a task; target micro_math: seed LM 1/4, vanilla 3/4 and 4/4, SDFT 2/4 and 3/4."""
    before = empty.measured(
        "seed", {"micro_math": [1, 0, 0, 0], "micro_text": [1, 1, 1, 0], "micro_knowledge": [1, 1, 1, 1]}
    )
    runs = {
        ("vanilla", 0.0): ([1, 1, 1, 0], [1, 1, 1, 1]),
        ("sdft", 1.0): ([1, 1, 0, 0], [1, 1, 1, 0]),
    }
    for (method, ratio), seeds in runs.items():
        for seed, math in enumerate(seeds):
            kept = [1, 0, 0, 0] if method == "vanilla" else [1, 1, 1, 0]
            values = {"micro_math": math, "micro_text": kept, "micro_knowledge": kept}
            empty.add(method, ratio, seed, empty.measured(f"{method}{seed}", values), before)
    return summarise(empty.report(), empty.scores, empty.stats)


def test_means_spreads_and_differences_are_those_worked_by_hand(empty: Any) -> None:
    (group,) = _worked_by_hand(empty)["groups"]
    rows = _by_name(group)
    assert list(rows) == ["seed LM", "vanilla", "SDFT"]
    assert rows["seed LM"]["measures"]["target"]["mean"] == 0.25
    assert rows["seed LM"]["measures"]["other"]["mean"] == 0.875  # (3/4 + 4/4) / 2
    vanilla = rows["vanilla"]["measures"]
    assert vanilla["target"]["per_seed"] == [0.75, 1.0]
    assert vanilla["target"]["mean"] == 0.875
    assert vanilla["target"]["std"] == pytest.approx(0.176777)  # |0.75 - 1| / sqrt(2)
    assert vanilla["other"] == {"mean": 0.25, "std": 0.0, "per_seed": [0.25, 0.25], **_ends(vanilla["other"])}
    assert rows["vanilla"]["change"]["target"]["mean"] == 0.625
    assert rows["vanilla"]["change"]["other"]["mean"] == -0.625
    assert rows["vanilla"]["against_vanilla"] is None
    against = rows["SDFT"]["against_vanilla"]
    assert against["baseline"] == "vanilla"
    assert against["change"]["target"]["mean"] == -0.25
    assert against["change"]["other"]["mean"] == 0.5


def _ends(cell: dict[str, Any]) -> dict[str, Any]:
    return {end: cell[end] for end in ("low", "high")}


def test_a_difference_counts_where_its_interval_excludes_zero(empty: Any) -> None:
    better, same, worse = [0.0] * 20 + [1.0] * 20, [1.0, 0.0] * 20, [0.0] * 40
    before = empty.measured("seed", {"micro_math": worse, "micro_text": same})
    empty.add("vanilla", 0.0, 0, empty.measured("v", {"micro_math": better, "micro_text": same[::-1]}), before)
    (group,) = summarise(empty.report(), empty.scores, empty.stats)["groups"]
    change = _by_name(group)["vanilla"]["change"]
    assert change["target"]["significant"] and change["target"]["low"] > 0
    assert not change["other"]["significant"] and change["other"]["low"] < 0 < change["other"]["high"]


def test_the_reading_says_the_numbers(empty: Any) -> None:
    (group,) = _worked_by_hand(empty)["groups"]
    row = _by_name(group)["vanilla"]
    low, high = (100 * row["change"]["target"][end] for end in ("low", "high"))
    assert row["reading"].startswith(f"vanilla against the seed LM: target +62.5 [{low:+.1f}, {high:+.1f}]*, other")


def test_each_data_set_has_its_own_seed_row(make_sweep: Callable[..., Any]) -> None:
    sweep = make_sweep(datasets=("micro_math", "micro_text"))
    math, text = summarise(sweep.report(), sweep.scores, sweep.stats)["groups"]
    assert (math["dataset"], text["dataset"]) == ("micro_math", "micro_text")
    of_math = sweep.scores["score/seed-micro_math"]["metrics"]["accuracy"]
    of_text = sweep.scores["score/seed-micro_text"]["metrics"]["accuracy"]
    assert math["rows"][0]["measures"]["target"]["mean"] == pytest.approx(of_math)
    assert math["rows"][0]["measures"]["other"]["mean"] == pytest.approx(of_text)
    assert text["rows"][0]["measures"]["target"]["mean"] == pytest.approx(of_text)


@pytest.mark.parametrize(("seeds", "said"), [(1, "one seed"), (3, "3 seeds: a bootstrap over fewer than 5"), (5, None)])
def test_few_seeds_are_warned_of(make_sweep: Callable[..., Any], seeds: int, said: str | None) -> None:
    sweep = make_sweep(seeds=seeds)
    warnings = summarise(sweep.report(), sweep.scores, sweep.stats)["warnings"]
    assert [said in warning for warning in warnings] == [True] if said else warnings == []


def test_rows_of_other_seeds_are_warned_of(make_sweep: Callable[..., Any]) -> None:
    sweep = make_sweep(seeds=5)
    del sweep.jobs[-1]  # a failed job
    warnings = summarise(sweep.report(), sweep.scores, sweep.stats)["warnings"]
    assert any("micro_math: its rows are not of the same seeds" in warning for warning in warnings)


def test_limits_name_what_intervals_leave_out_and_the_miniature(make_sweep: Callable[..., Any]) -> None:
    sweep = make_sweep()
    limits = " ".join(summarise(sweep.report(), sweep.scores, sweep.stats)["limits"])
    assert "variance of distillation" in limits and "miniature" in limits


def test_rows_that_answered_different_questions_are_refused(empty: Any) -> None:
    before = empty.measured("seed", {"micro_math": [1, 0]})
    empty.add("vanilla", 0.0, 0, empty.measured("v", {"micro_math": [1, 0, 1]}), before)
    with pytest.raises(ValueError, match="micro_math: rows of one group answered different questions"):
        summarise(empty.report(), empty.scores, empty.stats)


def test_a_sweep_with_no_finished_job_is_a_summary_too(empty: Any) -> None:
    failed = ({"label": "seed=1", "reason": "train: out of memory"},)
    content = summarise(empty.report(failed=failed), {}, {})
    assert content["groups"] == [] and content["failed"] == list(failed)


def test_jobs_of_the_seed_lm_alone_give_its_row(empty: Any) -> None:
    from sdft_exp.stages.report import ReportJob

    before = empty.measured("seed", {"micro_math": [1, 0]})
    row = {"dataset": "micro_math", "method": "seed"}
    empty.jobs.append(ReportJob("method=seed", row, 0, "micro", "micro_math", ("micro_math",), {}, before))
    (group,) = summarise(empty.report(), empty.scores, empty.stats)["groups"]
    assert [row["name"] for row in group["rows"]] == ["seed LM"]


def test_training_without_evaluation_has_rows_without_cells(empty: Any) -> None:
    empty.add("vanilla", 0.0, 0, {}, {})
    (group,) = summarise(empty.report(), empty.scores, empty.stats)["groups"]
    assert [row["measures"] for row in group["rows"]] == [{}, {}]
    assert group["rows"][1]["training"][0]["first_loss"] == 2.345679


def test_a_difference_is_over_the_answers_that_both_were_judged_on(empty: Any) -> None:
    seeds = empty.measured("seed", {"micro_text": [1.0, 1.0, *[0.0, 0.0] * 3]})
    tuned = empty.measured("tuned", {"micro_text": [1.0, 1.0, *[0.0, 0.0] * 3]})
    for item in empty.scores[tuned["micro_text"]]["items"][:2]:
        del item["accuracy"]  # the judge failed at the two that were right
    empty.add("sdft", 1.0, 0, tuned, seeds)
    seed_row, row = summarise(empty.report(), empty.scores, empty.stats)["groups"][0]["rows"]
    assert seed_row["measures"]["other"]["mean"] == 0.25
    assert row["measures"]["other"]["mean"] == 0.0
    change = row["change"]["other"]
    assert (change["mean"], change["low"], change["high"], change["significant"]) == (0, 0, 0, False)
