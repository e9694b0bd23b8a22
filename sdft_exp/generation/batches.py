"""Which requests share a batch: planned from the whole list, so that a resumed run forms the very same ones."""

from __future__ import annotations

from collections.abc import Sequence

from sdft_exp.generation.requests import Request


def plan_batches(requests: Sequence[Request], new_tokens: int, batch_tokens: int) -> list[list[Request]]:
    """Requests sorted by length, longest first, in batches of at most `batch_tokens` padded tokens, new ones counted.

    The longest come first so that memory runs out early if it does. A request that fills the budget alone stands alone.
    """
    batches: list[list[Request]] = []
    width = 0
    for request in sorted(requests, key=lambda request: (-len(request.prompt), request.id)):
        if batches and width * (len(batches[-1]) + 1) <= batch_tokens:
            batches[-1].append(request)
        else:
            batches.append([request])
            width = len(request.prompt) + new_tokens  # the longest of the batch comes first
            width = min(width, request.max_length or width)
    return batches
