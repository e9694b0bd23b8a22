from __future__ import annotations

import random
from dataclasses import replace

from sdft_exp.generation.batches import plan_batches
from sdft_exp.generation.requests import Request


def request(name: str, length: int) -> Request:
    return Request(name, tuple(range(length)))


def test_longest_first_and_filled_to_the_budget():
    requests = [request("a", 3), request("b", 10), request("c", 5), request("d", 9), request("e", 4)]
    # With 2 new tokens: b fills 12 alone, b and d take 2 * 12 = 24, c, e and a take 3 * 7 = 21.
    batches = plan_batches(requests, new_tokens=2, batch_tokens=24)
    assert [[one.id for one in batch] for batch in batches] == [["b", "d"], ["c", "e", "a"]]


def test_one_that_fills_more_than_the_budget_stands_alone():
    assert [len(batch) for batch in plan_batches([request("a", 50), request("b", 1)], 1, 10)] == [1, 1]


def test_a_length_of_prompt_and_answer_together_is_the_width():
    bounded = [replace(request(name, 5), max_length=8) for name in "abc"]
    assert [len(batch) for batch in plan_batches(bounded, 100, 24)] == [3]


def test_the_plan_does_not_depend_on_the_order_of_the_requests():
    requests = [request(f"r{i}", i % 7 + 1) for i in range(40)]
    shuffled = random.Random(0).sample(requests, 40)
    assert plan_batches(requests, 3, 50) == plan_batches(shuffled, 3, 50)


def test_nothing_asked_is_no_batch():
    assert plan_batches([], 3, 50) == []
