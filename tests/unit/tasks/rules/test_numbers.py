"""Stated values by hand, expressions against exact fractions, and every difference from `paper` by a listed reason."""

from __future__ import annotations

import random
from fractions import Fraction

import pytest

from sdft_exp.tasks.rules import paper
from sdft_exp.tasks.rules.numbers import DIFFERENCES, number, stated_value


@pytest.mark.parametrize(
    ("text", "expression"),
    [
        ("The answer is 18.", "18"),
        ("The answer is: **$1,000.50**", "1000.50"),
        ("the final answers are 3 and 4", "4"),  # neither ends the statement
        ("ANSWER: 7 apples, which is 2 more than 5", "7"),
        ("The answer is 9 * 2 = 18 because 3 were eaten.", "18"),  # after the last equals sign
        ("The answer is 18 (x = 2).", "18"),  # but not in an aside
        ("The answer is\n\n18\nThat is 4 less.", "18"),
        ("The answer is 18. Or is it 20?", "18"),
        ("The answer is 18. The answer is 20.", "20"),  # the last statement
        ("The answer is not known. So 5.", "5"),
        ("The answer to question 3 is 8.", "8"),
        ("The answer as a percentage: 9 / 27 = 33.3, so 33", "33"),  # no statement
        ("24 answers * 2 points/answer = 48, and 2 more are 50", "50"),
        ("**Answer**: 7 apples in 3 bags", "7"),
        ("The answers should be equal: 7, not 3", "7"),
        ("#### 1 000\n3", "1000"),
        (r"So \boxed{\frac{3}{4}} = 0.75", "3/4"),
        (r"\boxed{12} dollars in 3 days", "12"),
        ("He has 3 + 4 = 7 apples", "7"),
        ("3 1/2 cups", "(3+1/2)"),
        ("-\\frac{1}{2}", "-1/2"),
        ("\\dfrac{-1}{2}", "-1/2"),
        ("-$5", "-5"),
        ("\u22127", "-7"),
        ("12-5", "5"),
        ("1\u00a0234\u202f567", "1234567"),
        ("$1{,}234$", "1234"),
        ("1,2", "2"),
        ("12 34", "34"),
        (".5", "0.5"),
        ("007", "7"),
        ("5kg", "5"),
        ("3 of CO2", "3"),
        ("in version 2.0.1", None),
        ("none", None),
        # How chat models end.
        ("The answer is $18.", "18"),
        ("Therefore, the answer is 18 dollars. She had 3.", "18"),
        ("the answer is: **72**", "72"),
        ("**The answer is 72.** He has 3 left", "72"),
        ("**Final Answer:** 72 clips\nin 2 months", "72"),
        ("The final answer is 5 + 6 = 11.\n2", "11"),
        ("The answer is 5 apples + 6 apples = 11 apples, or 1 basket", "11"),
        ("The answer is 5 * (3 + 4) = 35. 2", "35"),
        ("The answer is 5 x (3 + 4), or 35", "35"),
        ("So the answer is x = 11, with 2 left", "11"),
        ("The answer is 18 = 3 * 6.", "18"),
        ("The answer is 18 (3 + 15 = 18).", "18"),
        ("The answer is 18 - see step 3", "18"),
        ("The answer is 18: 3 times 6", "18"),
        ("The answer is 18 dollars in the 3 days.", "18"),
        ("#### 18", "18"),
        (r"The final answer is: $\boxed{18}$ (step 3)", "18"),
        (r"The answer is \(18\). It has 2 digits", "18"),
        (r"The answer is $\text{18}$, in 2 steps", "18"),
        (r"The answer is \$18, in 2 steps", "18"),
        ("The answer is approximately 33.33, in 2 steps", "33.33"),
        ("The answer is -$18, in 2 steps", "-18"),
        # What states nothing, so that the last value counts.
        ("The answer is 5 times 6, or 30.", "30"),
        ("The final answer is that 2 boys have 30 marbles", "30"),
        ("The answer is 1/2 of 60, so 30", "30"),
        ("The answer is 5 for each of 6 boys, so 30", "30"),
        ("The answer is 5 in 6 bags, or 30", "30"),
        ("The answer is 30 - 5, so 25", "25"),
        ("The answer is total = 5 + 6. That is 11", "11"),
        ("Here is the answer:\n\n1. 5 and 6\n2. That is 11", "11"),
        ("#### 1. Add up\n5 and 6 are 11", "11"),
        ("The answer is 18. The answer is right, said all 3.", "18"),  # but an earlier statement does
        # What stands behind "not" is no value.
        ("The answer is not 30, it is 25.", "25"),
        ("It is 25. The answer is not **30**.", "25"),
        ("It is of course 18, not $9.", "18"),
        ("It isn't 30", None),
        ("18, but I am not 100% sure", "18"),
    ],
)
def test_stated_value(text: str, expression: str | None) -> None:
    value = stated_value(text)
    assert (value and value.expression) == expression


@pytest.mark.parametrize(
    ("prediction", "reference", "score", "reason"),
    [
        ("The answer is 18.00 dollars", "#### 18", 1, "same_value"),
        ("The answer is 17", "#### 18", 0, "other_value"),
        ("no idea", "#### 18", 0, "no_number"),
        ("The answer is 18, not 9.", "18", 1, "stated_answer"),
        ("The answer is 9, not 18.", "18", 0, "stated_answer"),
        ("1/2", "0.5", 1, "fraction"),
        ("The answer is 1/18", "18", 0, "fraction"),
        (r"$\frac{36}{2}$", "18", 1, "fraction"),
        ("2.5", "2.5", 1, "same_value"),  # to `paper` both are no integer, and so equal
        ("2.50 dollars", "5/2", 1, "decimals"),
        ("1.5", "2.5", 0, "no_integer_in_either"),
        ("no idea", "none", 0, "no_integer_in_either"),
        ("1 8", "18", 0, "digits_joined"),
        ("in 3\n18", "18", 1, "digits_joined"),
        ("1\u00a0000", "1000", 1, "digits_joined"),
        ("12-5", "5", 1, "sign"),
        ("\u22127", "7", 0, "sign"),
        ("18 parts of CO2", "18", 1, "digits_in_a_word"),
        ("CO2", "2", 0, "digits_in_a_word"),
        ("100%", "1", 1, "percent"),
        ("50%", "50", 1, "same_value"),
        ("5", "none", 0, "no_number_in_reference"),
        ("The answer is 5 times 6, or 30.", "30", 1, "same_value"),
        ("The final answer is that 2 boys have 30 marbles", "30", 1, "same_value"),
        ("The answer is 1/2 of 60, so 30", "30", 1, "same_value"),
        ("The answer is not 30, it is 25.", "30", 0, "other_value"),
        ("It is 25, not 30.", "30", 0, "negated"),
        ("It is 25, not 30.", "25", 1, "negated"),
        ("It is not 30.", "30", 0, "negated"),
    ],
)
def test_number(prediction: str, reference: str, score: float, reason: str) -> None:
    assert number(prediction, reference) == (score, reason)


def test_a_third_is_right_to_six_decimals() -> None:
    assert number("0.333333", "1/3").score == 1
    assert number("0.3333", "1/3").score == 0
    assert number("18.0001", "18").score == 0


def test_values_against_exact_fractions() -> None:
    draw = random.Random(0)
    for _ in range(60):
        value = Fraction(draw.randint(-10_000, 10_000), draw.choice([1, 1, 2, 4, 5, 8]))
        sign, size = "-" * (value < 0), abs(value)
        writings = [
            f"{sign}{float(size):,.3f}",
            f"{sign}{size}",
            rf"{sign}\frac{{{size.numerator}}}{{{size.denominator}}}",
        ]
        if size.denominator > 1 and size > 1:
            writings.append(f"{sign}{size.numerator // size.denominator} {size % 1}")
        for writing in writings:
            assert number(f"The answer is {writing}.", f"#### {float(value)}").score == 1, writing
            assert number(f"The answer is {writing}.", f"#### {float(value) + 1}").score == 0, writing


def test_random_texts_differ_from_paper_for_listed_reasons_only() -> None:
    draw = random.Random(1)
    pieces = [
        *"0123456789" * 2,
        *"-.,, \n\t$%/()=−",
        "The answer is ",
        "#### ",
        r"\boxed{",
        "}",
        r"\frac{1}{2}",
        "CO",
        " is ",
        " not ",
        " in ",
    ]
    reasons = set()
    for _ in range(3_000):
        prediction, reference = ("".join(draw.choices(pieces, k=draw.randint(0, 10))) for _ in range(2))
        for expected in (reference, prediction[::-1], prediction):
            strict, published = number(prediction, expected), paper.integer(prediction, expected)
            differs = strict.score != published.score
            assert differs == (strict.reason in DIFFERENCES), (prediction, expected, strict, published)
            reasons.add(strict.reason)
    assert {"stated_answer", "fraction", "digits_joined", "sign", "decimals", "no_integer_in_either"} <= reasons
