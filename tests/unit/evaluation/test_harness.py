"""How requests are told apart, and which questions are asked."""

from __future__ import annotations

import pytest
from lm_eval.api.instance import Instance

from sdft_exp.evaluation.harness import TaskLM, request_keys, run_task
from sdft_exp.microworld.splits import eval_items


class Echo(TaskLM):
    """Says the question again, and remembers what it was asked."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[str] = []

    def generate_until(self, requests: list[Instance]) -> list[str]:
        self.asked += [request.args[0] for request in requests]
        return [request.args[0] for request in requests]

    def loglikelihood(self, requests: list[Instance]) -> list[tuple[float, bool]]:
        return [(0.0, False) for _ in requests]


def instance(doc_id: int, choice: int) -> Instance:
    return Instance("generate_until", {}, ("question", {}), choice, ("micro_math", doc_id, 2))


def test_a_request_is_known_by_task_document_choice_and_repeat() -> None:
    first, second, third = instance(0, 0), instance(0, 1), instance(7, 0)
    # lm-eval lists an object once for each repeat.
    assert request_keys([first, first, second, second, third, third]) == [
        ("micro_math", 0, 0, 0),
        ("micro_math", 0, 0, 1),
        ("micro_math", 0, 1, 0),
        ("micro_math", 0, 1, 1),
        ("micro_math", 7, 0, 0),
        ("micro_math", 7, 0, 1),
    ]


def test_the_split_and_the_limit_decide_what_is_asked_and_a_judge_can_stay_out() -> None:
    lm = Echo()
    results = run_task(lm, "micro", "micro_text", "dev", 5, scored=False)
    assert lm.asked == [item["instruction"] for item in eval_items("text", "dev", 5)]
    assert "accuracy,none" not in results["results"]["micro_text"]
    judged = run_task(Echo(), "micro", "micro_text", "eval", 5, scored=True)
    assert [sample["doc"]["id"] for sample in judged["samples"]["micro_text"]] == [
        item["id"] for item in eval_items("text", "eval", 5)
    ]
    assert "accuracy,none" in judged["results"]["micro_text"]


def test_all_questions_are_asked_without_a_limit() -> None:
    lm = Echo()
    run_task(lm, "micro", "micro_knowledge", "eval", None, scored=False)
    assert len(set(lm.asked)) == 150


def test_no_bar_and_no_log_reach_the_screen(capfd: pytest.CaptureFixture[str]) -> None:
    run_task(Echo(), "micro", "micro_math", "eval", 3, scored=True)
    assert capfd.readouterr() == ("", "")
