"""AlignTDS's form, worked out by hand, and once by its own way of computing."""

from __future__ import annotations

import math
from typing import Any

import pytest

from sdft_exp.shift.aligntds import ABSENT, aligntds

TEXTS = {1: "A", 2: "B", 3: "C", 4: " A", 5: "A", 6: "D"}


def shift(base: list[tuple[int, float]], tuned: list[tuple[int, float]]) -> Any:
    from sdft_exp.shift.tokens import TokenShift

    return aligntds(TokenShift([9.0], [9.0], [0.9], [0.9], [9], [0], [True], [base], [tuned]), TEXTS.__getitem__)


def test_a_position_by_hand() -> None:
    # Of the base 0.4, 0.2, 0.2 are left; renormalised 1/2, 1/4, 1/4. Of the tuned 0.3, 0.1: 3/4, 1/4.
    found = shift([(2, 0.4), (1, 0.2), (3, 0.2)], [(1, 0.3), (2, 0.1)])
    # C is in one list alone and left out.
    assert found.kl_base_tuned == [
        pytest.approx(1 / 4 * math.log((1 / 4) / (3 / 4)) + 1 / 2 * math.log((1 / 2) / (1 / 4)))
    ]
    assert found.kl_tuned_base == [pytest.approx(3 / 4 * math.log(3) + 1 / 4 * math.log(1 / 2))]
    assert found.base_rank == [1]
    assert (*found.base_probability, *found.tuned_probability) == pytest.approx((1 / 4, 3 / 4))
    assert found.top_base == [[(2, pytest.approx(0.5)), (1, pytest.approx(0.25)), (3, pytest.approx(0.25))]]


def test_it_may_be_negative() -> None:
    assert shift([(1, 0.1), (2, 0.9)], [(1, 0.5), (3, 0.5)]).kl_base_tuned == [pytest.approx(0.1 * math.log(0.2))]


def test_a_token_that_the_base_does_not_list_has_rank_50_and_no_probability() -> None:
    found = shift([(2, 0.6), (3, 0.4)], [(6, 1.0)])
    assert (found.base_rank, found.base_probability, found.kl_base_tuned) == ([ABSENT], [0.0], [0.0])


def test_tokens_are_matched_by_their_text() -> None:
    # 5 reads like 1, 4 does not; of two that read alike the likelier counts.
    found = shift([(4, 0.5), (5, 0.25), (1, 0.25)], [(1, 0.75), (5, 0.25)])
    assert (found.base_rank, found.base_probability) == ([1], [0.25])
    assert found.kl_base_tuned == [pytest.approx(0.25 * math.log(0.25 / 0.75))]
