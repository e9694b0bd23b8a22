"""The Progress of the stage at work in this process, for code that is not handed it: the loading of a model, say."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from sdft_exp.stage import Progress

_listening: list[Progress] = []


@contextlib.contextmanager
def told_to(progress: Progress) -> Iterator[None]:
    """Inside, `tell` tells it to `progress`."""
    _listening.append(progress)
    try:
        yield
    finally:
        _listening.pop()


def tell(done: int, total: int, what: str) -> None:
    """Tell how far the stage at work is; with a total of 0, what it is at before anything can be counted."""
    for progress in _listening[-1:]:
        progress(done, total, what)
