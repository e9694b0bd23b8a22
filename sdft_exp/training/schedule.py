"""Which rows make which optimizer step, and how a step's rows are laid out in forward passes. Imports no torch."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence


def plan_steps(rows: int, epochs: float, batch_size: int, seed: int) -> list[list[int]]:
    """The row numbers of every optimizer step.

    Each epoch is an order of its own, drawn from (seed, epoch); its last step may hold fewer rows. The plan depends on
    nothing else, so a resumed run and any layout of the rows see the same steps.
    """
    per_epoch = math.ceil(rows / batch_size)
    steps: list[list[int]] = []
    for epoch in range(math.ceil(epochs)):
        order = list(range(rows))
        random.Random(f"{seed}/{epoch}").shuffle(order)
        steps += [order[start : start + batch_size] for start in range(0, rows, batch_size)]
    return steps[: math.ceil(epochs * per_epoch)]


def deal(lengths: Sequence[int], processes: int) -> list[list[int]]:
    """A step's rows (by their place in `lengths`) for each process, the longest first, each to that of fewest tokens.

    Of one process all rows; of more processes than rows some have none.
    """
    shares: list[list[int]] = [[] for _ in range(processes)]
    tokens = [0] * processes
    for place in sorted(range(len(lengths)), key=lambda place: -lengths[place]):
        process = tokens.index(min(tokens))
        shares[process].append(place)
        tokens[process] += lengths[place]
    return shares


def plan_micro_batches(lengths: Sequence[int], budget: int) -> list[list[int]]:
    """A step's rows (by their place in `lengths`) in forward passes of at most `budget` padded tokens, longest first.

    A row longer than the budget stands alone.
    """
    batches: list[list[int]] = []
    width = 0
    for place in sorted(range(len(lengths)), key=lambda place: -lengths[place]):
        if batches and width * (len(batches[-1]) + 1) <= budget:
            batches[-1].append(place)
        else:
            batches.append([place])
            width = lengths[place]
    return batches
