"""Signals that ask a process to stop before it is killed: what can be saved is saved first.

A cluster sends one some time before it ends a job (a time limit, a preemption), `kill` and `Pool` send SIGTERM. Outside
`deferred` it raises `Stopped` where the process happens to be, which loses no more than kill -9 would; inside, whoever
is at work looks at `asked` when it suits.
"""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Iterator
from types import FrameType

SIGNALS = (signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2)


class Stopped(BaseException):
    """The process was asked to stop. No Exception: between the signal and the process's own loop nobody catches it."""

    def __init__(self, number: int):
        super().__init__(f"stopped by {signal.Signals(number).name}")
        self.number = number


_asked: int | None = None
_deferred = False


def listen() -> None:
    """From now on `SIGNALS` ask this process to stop; to be called in its main thread."""
    global _asked
    _asked = None
    for number in SIGNALS:
        signal.signal(number, _note)


def asked() -> bool:
    """Whether a signal has come."""
    return _asked is not None


@contextlib.contextmanager
def deferred() -> Iterator[None]:
    """Inside, a signal is only noted, and `Stopped` is raised at the end."""
    global _deferred
    _deferred = True
    try:
        yield
    finally:
        _deferred = False
    if _asked is not None:
        raise Stopped(_asked)


@contextlib.contextmanager
def hangups() -> Iterator[None]:
    """Inside, the end of the terminal (SIGHUP) asks to stop like `SIGNALS`, unless the process ignores it (nohup)."""
    before = signal.getsignal(signal.SIGHUP)
    if before is not signal.SIG_IGN:
        signal.signal(signal.SIGHUP, _note)
    try:
        yield
    finally:
        signal.signal(signal.SIGHUP, before)


def _note(number: int, frame: FrameType | None) -> None:
    global _asked
    first, _asked = _asked is None, number
    if first and not _deferred:  # a second one finds the process on its way out
        raise Stopped(number)
