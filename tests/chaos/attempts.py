"""Every attempt at an artifact, as the kernel tells of it: none is too short to be seen, and no process has to tell."""

from __future__ import annotations

import contextlib
import ctypes
import os
import struct
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

_MOVED_FROM, _MOVED_TO, _OVERFLOW = 0x40, 0x80, 0x4000  # linux/inotify.h
_EVENT = struct.Struct("iIII")  # watch, what happened, which rename it is half of, bytes of the name that follows


@dataclass
class Attempts:
    """What was tried, by `<stage>-<key>`.

    Attributes:
        made: how often an attempt became the artifact.
        doubled: what two writers were at work on at once.
    """

    made: Counter[str] = field(default_factory=Counter)
    doubled: set[str] = field(default_factory=set)


@contextlib.contextmanager
def attempts(store: Path) -> Iterator[Attempts]:
    """Fill what it gives, when the context ends, with all that happened in the store's `.partial` meanwhile."""
    folder = store / ".partial"
    folder.mkdir(parents=True, exist_ok=True)
    libc = ctypes.CDLL(None, use_errno=True)
    told = libc.inotify_init1(os.O_NONBLOCK)
    if told < 0 or libc.inotify_add_watch(told, os.fsencode(folder), _MOVED_FROM | _MOVED_TO) < 0:
        raise OSError(ctypes.get_errno(), "cannot watch", str(folder))
    try:
        found = Attempts()
        yield found
        _sort_out(_renames(told), found)
    finally:
        os.close(told)


def _renames(told: int) -> Iterator[tuple[bool, str]]:
    """What the kernel kept for us, in order: whether a name came (or left), and the name."""
    with contextlib.suppress(BlockingIOError):  # all is read
        while True:
            content = os.read(told, 1 << 16)
            while content:
                _, what, _, size = _EVENT.unpack_from(content)
                assert not what & _OVERFLOW, "more happened than the kernel keeps (fs.inotify.max_queued_events)"
                yield bool(what & _MOVED_TO), content[_EVENT.size :][:size].rstrip(b"\0").decode()
                content = content[_EVENT.size + size :]


def _sort_out(renames: Iterator[tuple[bool, str]], found: Attempts) -> None:
    """A writer's folder gets its name when the work begins and leaves when the artifact is whole.

    What a dead writer left is renamed to `new-...` first by whoever takes it over; any other folder of that key that
    is still there when one begins is a living writer's.
    """
    at_work = defaultdict(set)
    for came, name in renames:
        address = name.removeprefix("new-").rpartition("-")[0]
        if name.startswith("new-"):
            found.made[address] -= came  # it left to be taken over
        elif came:
            at_work[address].add(name)
            if len(at_work[address]) > 1:
                found.doubled.add(address)
        else:
            at_work[address].discard(name)
            found.made[address] += 1
