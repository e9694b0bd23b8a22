"""Calls by hand: what is the same to Python, what is not, and every difference from `paper` by a listed reason."""

from __future__ import annotations

import random

import pytest

from sdft_exp.tasks.rules import paper
from sdft_exp.tasks.rules.calls import DIFFERENCES, call, parameters
from sdft_exp.tasks.rules.judgement import NoReference

INSTRUCTION = """Construct a function call.

Function to be used: shop.find
Description: Finds shops; 3. city - is not a parameter here
Parameters:
1. city (type: string) - The city, e.g. Rome
2. n - How many
Required: [city]
"""


def test_parameters() -> None:
    assert parameters(INSTRUCTION, "shop.find") == ("city", "n")
    assert parameters(INSTRUCTION, "other") == ()
    assert parameters("", "shop.find") == ()


@pytest.mark.parametrize(
    ("prediction", "reference", "score", "reason"),
    [
        ("`f(a=1, b='x')`", 'f(a=1,b="x")', 1, "same_call"),
        ("f(b='x', a=1)", "f(a=1, b='x')", 1, "argument_order"),
        ("f( a = 1 )", "f(a=1)", 1, "other_writing"),
        ("f(a=1.0)", "f(a=1)", 1, "other_writing"),
        ("f(a='\\x41')", "f(a='A')", 1, "other_writing"),
        ("f(a={'y': 2, 'x': [1]})", "f(a={'x': [1], 'y': 2})", 1, "other_writing"),
        ("f(a={2, 1})", "f(a={1, 2})", 1, "other_writing"),
        ("f(a=true, b=null)", "f(a=True, b=None)", 1, "other_writing"),
        ("f(a= -1)", "f(a=-1)", 1, "other_writing"),
        ("f(g(x=1, y=2))", "f(g(y=2, x=1))", 1, "other_writing"),
        ("f(a=1) and again f(a=1)", "f(a=1)", 1, "same_call"),
        ("it's f(a=1)", "f(a=1)", 1, "same_call"),
        ("f(a=<x>)", "f(a=<x>)", 1, "reference_not_python"),
        ("f(a=1)", "f(a=<x>)", 0, "reference_not_python"),
        ("f(a='1')", "f(a=1)", 0, "other_call"),
        ("f(a=True)", "f(a=1)", 0, "other_call"),
        ("f(a=[1])", "f(a=(1,))", 0, "other_call"),
        ("f(a=[1, 2])", "f(a=[2, 1])", 0, "other_call"),
        ("f(a={'x': {'y': '1'}})", "f(a={'x': {'y': 1}})", 0, "other_call"),
        ("f(a=1, a=1)", "f(a=1)", 0, "other_call"),
        ("f(a=1, b=2)", "f(a=1)", 0, "other_call"),
        ("f(1)", "f(a=1)", 0, "other_call"),  # no instruction names the parameters
        ("f(a=1); f(a=2)", "f(a=1)", 0, "several_calls"),
        ("You can use the `f()` function: f(a=1)", "f(a=1)", 1, "same_call"),
        ("`f(...)` is best, f: f( a=1 )", "f(a=1)", 1, "other_writing"),
        ("Use f().", "f(a=1)", 0, "no_call"),
        ("f(); f(a=2); f(a=1)", "f(a=1)", 0, "several_calls"),
        ("f(a=...)", "f(a=1)", 0, "other_call"),
        ("f() or f(a=1)", "f()", 0, "several_calls"),
        ("my.f(a=1)", "f(a=1)", 0, "longer_name"),
        ("print(f(a=1))", "f(a=1)", 0, "within_another_call"),
        ("f(a='x,y')", "f(a='x, y')", 0, "inside_quotes"),
        ("f(a='it\"s')", 'f(a="it\'s")', 0, "inside_quotes"),
        ("f(a=it's)", 'f(a="its")', 0, "no_call"),
        ("f(a='x\")", "f(a='x')", 0, "not_python"),
        ("f(a=1", "f(a=1)", 0, "no_call"),
        ("", "f(a=1)", 0, "no_call"),
    ],
)
def test_call(prediction: str, reference: str, score: float, reason: str) -> None:
    assert call(prediction, reference) == (score, reason)
    assert (paper.call(prediction, reference).score != score) == (reason in DIFFERENCES)


@pytest.mark.parametrize(
    ("prediction", "score"),
    [
        ("shop.find('Rome', 2)", 1),
        ("shop.find('Rome', n=2)", 1),
        ("shop.find(n=2, city='Rome')", 1),
        ("shop.find(2, 'Rome')", 0),
        ("shop.find('Rome', 2, 3)", 0),
        ("shop.find('Rome', city='Rome', n=2)", 0),
        ("shop.find(*['Rome', 2])", 0),
    ],
)
def test_positional_arguments_by_the_signature(prediction: str, score: float) -> None:
    assert call(prediction, "shop.find(city='Rome', n=2)", INSTRUCTION).score == score


def test_a_reference_without_a_call_is_refused() -> None:
    with pytest.raises(NoReference):
        call("f()", "no call")


@pytest.mark.parametrize(
    "text", ["f(" * 1000, "f(a=" + "1+" * 1900 + "1)", "f(" + "[" * 500 + "]" * 500 + ")", "f(a=\0)"]
)
def test_hostile_texts_are_wrong_and_no_crash(text: str) -> None:
    assert call(text, "f(a=1)").score == 0


def test_random_texts_differ_from_paper_for_listed_reasons_only() -> None:
    draw = random.Random(0)
    pieces = [
        "f(",
        "f(",
        "g.f(",
        "print(",
        "a=1",
        "b='x'",
        'b="x"',
        "b='x, y'",
        "b='x,y'",
        "1",
        "[1]",
        ",",
        ", ",
        " = ",
        ")",
        ")",
        " ",
        "'",
    ]
    references = ["f(a=1)", "f(b='x')", "f(a=1, b='x, y')", "f(b='x, y', a=1)", "f(1)", "f()"]
    reasons = set()
    for _ in range(10_000):
        reference = draw.choice(references)
        around = ["".join(draw.choices(pieces, k=draw.randint(0, 6))) for _ in range(2)]
        prediction = draw.choice(["", reference, reference.replace("x, y", "x,y"), draw.choice(references)]).join(
            around
        )
        strict, published = call(prediction, reference), paper.call(prediction, reference)
        if strict.score != published.score:
            assert strict.reason in DIFFERENCES, (prediction, reference, strict)
        reasons.add(strict.reason)
    assert {*DIFFERENCES} - reasons <= {"positional_arguments"}
