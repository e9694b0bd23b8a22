"""Means, classes and positions by hand."""

from __future__ import annotations

import pytest

from sdft_exp.shift.token_scores import Totals, first_tokens, of_response, rank_class


def shift(kl: list[float], ranks: list[int]) -> dict[str, list[float]]:
    length = len(kl)
    return {
        "kl_base_tuned": kl,
        "kl_tuned_base": [2 * value for value in kl],
        "base_probability": [1 / rank for rank in ranks],
        "tuned_probability": [0.5] * length,
        "base_rank": ranks,
        "ties": [0] * (length - 1) + [2],
        "agrees": [False] + [True] * (length - 1),
    }


def classes(ranks: list[int]) -> list[str]:
    return [rank_class(rank) for rank in ranks]


def test_ranks_have_classes() -> None:
    assert classes([1, 2, 3, 4, 900]) == ["unshifted", "marginal", "marginal", "shifted", "shifted"]


@pytest.mark.parametrize(("length", "first"), [(1, 1), (19, 1), (39, 1), (40, 2), (100, 5)])
def test_the_first_five_percent_are_one_token_at_least(length: int, first: int) -> None:
    assert first_tokens(length) == first


def test_a_response() -> None:
    ranks = [4, 1, 1, 2]
    found = of_response(shift([2.0, 0.0, 1.0, 1.0], ranks), classes(ranks))  # type: ignore[arg-type]
    assert found == {
        "kl_base_tuned": 1.0,
        "kl_tuned_base": 2.0,
        "base_probability": (0.25 + 1 + 1 + 0.5) / 4,
        "tuned_probability": 0.5,
        "base_rank": 2.0,
        "unshifted": 0.5,
        "marginal": 0.25,
        "shifted": 0.25,
        "kl_first": 2.0,
        "kl_rest": pytest.approx(2 / 3),
        "tokens": 4.0,
    }


def test_a_response_of_one_token_has_no_rest() -> None:
    found = of_response(shift([2.0], [1]), ["unshifted"])
    assert found["kl_first"] == 2.0 and "kl_rest" not in found


def test_totals_weigh_tokens_and_not_responses() -> None:
    totals = Totals()
    long = [1] * 38 + [2, 5]
    totals.add(shift([1.0] * 2 + [0.5] * 38, long), classes(long), [7] * 39 + [8], ["x"] * 39 + ["y"])  # type: ignore[arg-type]
    totals.add(shift([9.0], [3]), classes([3]), [8], ["y"])  # type: ignore[arg-type]
    told = totals.told()
    assert (told["responses"], told["tokens"], told["tied"], told["not_argmax"]) == (2, 41, 2, 2)
    assert told["kl_base_tuned"] == pytest.approx((2 * 1 + 38 * 0.5 + 9) / 41)
    assert told["unshifted"] == pytest.approx(38 / 41) and told["shifted"] == pytest.approx(1 / 41)
    # Two of the long response and the one of the short one are first.
    assert (told["first"]["tokens"], told["rest"]["tokens"]) == (3, 38)
    assert told["first"]["kl_base_tuned"] == pytest.approx(11 / 3) and told["rest"]["kl_base_tuned"] == 0.5
    positions = told["positions"]
    assert [part["tokens"] for part in positions] == [3] + [2] * 19
    assert (positions[1]["from"], positions[1]["to"], positions[1]["kl_base_tuned"]) == (0.05, 0.1, 0.5)
    assert (positions[19]["marginal"], positions[19]["shifted"]) == (0.5, 0.5)
    assert told["frequent"] == {
        "shifted": [{"id": 8, "piece": "y", "count": 1}],
        "marginal": [{"id": 7, "piece": "x", "count": 1}, {"id": 8, "piece": "y", "count": 1}],
    }


def test_of_nothing_there_are_no_means() -> None:
    told = Totals().told()
    assert told["tokens"] == 0 and told["kl_base_tuned"] is None and told["positions"][3]["shifted"] is None
