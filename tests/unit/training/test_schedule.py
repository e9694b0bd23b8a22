from __future__ import annotations

from collections import Counter

from sdft_exp.training.schedule import deal, plan_micro_batches, plan_steps


def test_every_epoch_holds_every_row_once_in_an_order_of_its_own():
    steps = plan_steps(rows=10, epochs=3, batch_size=4, seed=0)
    assert [len(step) for step in steps] == [4, 4, 2] * 3
    epochs = [[row for step in steps[start : start + 3] for row in step] for start in (0, 3, 6)]
    assert all(sorted(epoch) == list(range(10)) for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) == 3


def test_the_plan_is_the_seeds():
    assert plan_steps(20, 2, 8, 1) == plan_steps(20, 2, 8, 1)
    assert plan_steps(20, 2, 8, 1) != plan_steps(20, 2, 8, 2)
    # More epochs go on from fewer: the order of an epoch depends on its number alone.
    assert plan_steps(20, 3, 8, 1)[:6] == plan_steps(20, 2, 8, 1)


def test_a_part_of_an_epoch_is_a_part_of_its_steps():
    # 20 rows in steps of 8 are 3 steps an epoch; one and a half epochs are 4.5 steps, so 5.
    steps = plan_steps(20, 1.5, 8, 0)
    assert [len(step) for step in steps] == [8, 8, 4, 8, 8]


def test_fewer_rows_than_a_step():
    assert [Counter(step) for step in plan_steps(3, 2, 8, 0)] == [Counter(range(3))] * 2


def test_micro_batches_are_filled_longest_first():
    # Widths 9, then 5: 9 takes one more (2 * 9 = 18), 5 takes two more (3 * 5 = 15).
    assert plan_micro_batches([5, 9, 2, 8, 1], budget=18) == [[1, 3], [0, 2, 4]]


def test_a_row_over_the_budget_stands_alone():
    assert plan_micro_batches([50, 3, 60], budget=10) == [[2], [0], [1]]


def test_rows_are_dealt_by_their_tokens():
    # 9 to the first, 8 and then 5 to the second (8 < 9), 2 and then 1 to the first (9 < 13, 11 < 13).
    assert deal([5, 9, 2, 8, 1], processes=2) == [[1, 2, 4], [3, 0]]


def test_one_process_has_every_row_and_some_of_many_have_none():
    lengths = [5, 9, 2]
    (alone,) = deal(lengths, processes=1)
    assert plan_micro_batches([lengths[place] for place in alone], 10) == plan_micro_batches([9, 5, 2], 10)
    assert sorted(alone) == [0, 1, 2]
    assert deal(lengths, processes=4) == [[1], [0], [2], []]
