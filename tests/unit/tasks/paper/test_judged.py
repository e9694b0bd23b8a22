"""Win rates from verdicts: a tie is a half, and what the judge failed at is in no mean."""

from __future__ import annotations

import pytest

from sdft_exp.tasks import registry
from sdft_exp.tasks.paper.judged import win


def test_a_verdict_is_the_share_of_the_win() -> None:
    assert [win({}, [verdict])["win_rate"] for verdict in ("1", "0", "0.5", "0.75")] == [1.0, 0.0, 0.5, 0.75]
    assert win({}, ["1"])["unjudged"] == 0.0


def test_what_the_judge_failed_at_is_no_loss() -> None:
    assert win({}, [""]) == {"unjudged": 1.0}


@pytest.mark.parametrize(("protocol", "greedy"), [("paper", False), ("strict", True)])
def test_both_protocols_judge_alike_and_strict_answers_greedily(protocol: str, greedy: bool) -> None:
    known = registry.task(protocol, "alpaca_eval")
    assert (known.template, known.size, known.files, known.greedy) == ("alpaca", 805, ("alpaca_eval.json",), greedy)
