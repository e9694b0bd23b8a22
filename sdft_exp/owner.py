"""Who works in a folder of a store, and whether they live: on this host the kernel knows, of another host's process the
time of its owner.json is the sign of life."""

from __future__ import annotations

import contextlib
import json
import os
import platform
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

OWNER = "owner.json"

_BEAT_SECONDS = 15.0  # between two signs of life
_DEAD_SECONDS = 150.0  # without one; a network file system may show times that are a minute old


def claim(folder: Path) -> None:
    """Write down that this process works in `folder`."""
    owner = {"host": _host(), "pid": os.getpid(), "started": _process_start(os.getpid())}
    (folder / OWNER).write_text(json.dumps(owner, sort_keys=True), encoding="utf-8")


def life(folder: Path) -> Literal["here", "elsewhere", "dead"]:
    """Where the owner of `folder` runs, if it does. Makes a file beside the folder for a moment.

    Raises:
        OSError: the file cannot be made.
    """
    try:
        owner = json.loads((folder / OWNER).read_text(encoding="utf-8"))
        sign = (folder / OWNER).stat().st_mtime
    except (OSError, ValueError):
        return "dead"
    if owner.get("host") == _host():
        return "here" if _process_start(owner.get("pid", -1)) == owner.get("started") else "dead"
    # Both times are the file system's own: the clocks of two hosts differ.
    with tempfile.TemporaryFile(dir=folder.parent) as file:
        now = os.fstat(file.fileno()).st_mtime
    return "elsewhere" if now - sign < _DEAD_SECONDS else "dead"


@contextlib.contextmanager
def signs_of_life(folder: Path) -> Iterator[None]:
    """Renew the time of owner.json while inside: all that another host can see of this process."""
    done = threading.Event()

    def beat() -> None:
        while not done.wait(_BEAT_SECONDS):
            with contextlib.suppress(OSError):
                os.utime(folder / OWNER)

    thread = threading.Thread(target=beat, daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


def _host() -> str:
    """Names what process numbers are counted in: the host, and in a container its own count."""
    try:
        return f"{platform.node()} {Path('/proc/self/ns/pid').stat().st_ino}"
    except OSError:  # no /proc (macOS)
        return platform.node()


def _process_start(pid: int) -> str | None:
    """When a process started, in clock ticks since boot: tells a process from a later one with the same number.

    None: it does not run. That goes for a dead one that nobody has waited for: PID 1 of many containers waits for none.
    """
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return None if fields[0] in "ZX" else fields[19]
    except OSError:
        try:
            os.kill(pid, 0)  # no /proc (macOS): a live process of that number has to do
        except OSError:
            return None
        return "unknown"
