"""Half credit for values at their places, quirks included."""

from __future__ import annotations

import pytest

from sdft_exp.tasks.rules import paper, paper_rerun
from sdft_exp.tasks.rules.judgement import NoReference
from sdft_exp.tasks.rules.protocols import rule

REFERENCE = "f(city='Rome', n=2)"


@pytest.mark.parametrize(
    ("prediction", "score", "reason"),
    [
        ('Sure: f(city="Rome",n=2).', 1, "same_call"),
        ("f('Rome', 2)", 0.5, "values_at_their_places"),
        ("f(town='Rome', m=2)", 0.5, "values_at_their_places"),  # other keywords
        ("g('Rome', 2)", 0.5, "values_at_their_places"),  # another function
        ("f('Rome', 12)", 0.5, "values_at_their_places"),  # 12 holds 2
        ("f('Rome', 2) or f(1)", 0.5, "values_at_their_places"),  # up to the first closing bracket
        ("f(2, 'Rome')", 0, "other_values"),
        ("f(n=2, city='Rome')", 0, "other_values"),  # keywords in another order are worth nothing
        ("f(Rome, 2)", 0, "other_values"),
        ("f('Rome')", 0, "other_count_of_arguments"),
        ("f('Rome, Italy', 2)", 0, "other_count_of_arguments"),  # cut at the comma inside quotes
        ("'Rome', 2)", 0.5, "values_at_their_places"),  # without an opening bracket, from the start
        ("f('Rome', 2", 0, "other_values"),  # without a closing one, up to the last character but one
        ("f('Rome', 22", 0.5, "values_at_their_places"),
        ("", 0, "other_count_of_arguments"),
    ],
)
def test_call(prediction: str, score: float, reason: str) -> None:
    assert paper_rerun.call(prediction, REFERENCE) == (score, reason)


def test_a_reference_without_keywords_gets_no_half() -> None:
    assert paper_rerun.call("f('Rome')", 'f("Rome", 2)').score == 0
    assert paper_rerun.call("f( )", "f()") == (0, "other_values")
    assert paper_rerun.call("f()", "f()").score == 1
    with pytest.raises(NoReference):
        paper_rerun.call("f()", "no call")


def test_the_other_tasks_are_judged_as_in_paper() -> None:
    assert rule("paper-rerun", "gsm8k").score is paper.integer
    assert rule("paper-rerun", "advbench").score is paper.safety
