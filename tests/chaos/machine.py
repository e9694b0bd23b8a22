"""Faults of the machine, all of them real: file systems of its own kernel, signals, another clock. Linux, as root."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path


class NotHere(Exception):
    """This machine, or this user, cannot have the fault; says why and what would help."""


def until(happens: Callable[[], object], seconds: float = 300, *, what: str = "what the fault waits for") -> None:
    """Wait for something that a run does.

    Raises:
        AssertionError: it did not within `seconds`.
    """
    deadline = time.monotonic() + seconds
    while not happens():
        assert time.monotonic() < deadline, f"{what} did not happen in {seconds:.0f} s"
        time.sleep(0.01)


def kill(pid: int) -> bool:
    """kill -9; False: it had ended by itself. It is halted first, so that it cannot end in between."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGSTOP)
    until(lambda: _state(pid) in "TZX")
    alive = _state(pid) == "T"
    if alive:
        os.kill(pid, signal.SIGKILL)
    return alive


def _state(pid: int) -> str:
    """As the kernel has it: R, S, D; T: halted; Z: dead, and nobody asked how it ended; X: gone."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return "X"


def children(pid: int) -> list[int]:
    """Processes of ours that `pid` has spawned and that work: multiprocessing's resource tracker is none."""
    found = []
    for status in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            parent = int(status.read_text().rpartition(")")[2].split()[1])
            if parent == pid and b"spawn_main" in (status.parent / "cmdline").read_bytes():
                found.append(int(status.parent.name))
    return sorted(found)


def running_with(*words: str) -> list[int]:
    """Processes each of whose command lines holds all of `words`; what started them as torchrun does is left out."""
    found = []
    for status in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            line = status.read_bytes().decode(errors="replace")
            if all(word in line for word in words) and "torch.distributed.run" not in line:
                found.append(int(status.parent.name))
    return sorted(found)


@contextlib.contextmanager
def tmpfs(folder: Path, size: str) -> Iterator[None]:
    """`folder` as a file system of its own that holds `size` ("16m"), gone with all that is in it at the end."""
    folder.mkdir(parents=True, exist_ok=True)
    _mount("-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder))
    try:
        yield
    finally:
        _unmount(folder)


def fill(folder: Path) -> Path:
    """Take all the room that the file system of `folder` has left; returns the file that holds it."""
    ballast = folder / "ballast"
    with ballast.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(bytes(1 << 20))  # as much of it as there is room for
        except OSError as error:
            if error.errno != errno.ENOSPC:
                raise
    return ballast


@contextlib.contextmanager
def mounted_on_itself(folder: Path) -> Iterator[None]:
    """`folder` as a mount of its own, to be made read-only: to root no permission bit is one."""
    folder.mkdir(parents=True, exist_ok=True)
    _mount("--bind", str(folder), str(folder))
    try:
        yield
    finally:
        _unmount(folder)


def remount(folder: Path, options: str) -> None:
    """Change a mount ("bind,ro"), at the first moment at which nobody has a file open for writing."""
    until(lambda: _tried("mount", "-o", f"remount,{options}", str(folder)), what=f"remounting {folder} with {options}")


def on_another_host(store: Path, host: str, command: list[str]) -> list[str]:
    """`command` as a host of the name `host` would run it, with a store whose locks reach no other host.

    It has a file system of its own over the store's lock folder, and so holds locks that nobody else sees.
    """
    if not _tried("unshare", "--mount", "--uts", "true"):
        raise NotHere("may not make namespaces (unshare): run it as root, in a container with CAP_SYS_ADMIN")
    (store / ".locks").mkdir(parents=True, exist_ok=True)
    script = f'hostname {host} && mount -t tmpfs tmpfs "$0/.locks" && exec "$@"'
    return ["unshare", "--mount", "--uts", "sh", "-c", script, str(store), *command]


class Clock:
    """The clock of the processes that run with `env`, set while they run. Their monotonic clock is the machine's."""

    def __init__(self, folder: Path):
        libraries = sorted(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"))
        if not libraries:
            raise NotHere("no libfaketime: make faketime")
        self._file = folder / "clock"
        self.set("+0")
        self.env = {
            "LD_PRELOAD": str(libraries[0]),
            "FAKETIME_TIMESTAMP_FILE": str(self._file),
            "FAKETIME_NO_CACHE": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        }

    def set(self, ahead: str) -> None:
        """Let it be `ahead` of the machine's: "+3d", "-5h"."""
        beside = self._file.with_suffix(".new")
        beside.write_text(ahead + "\n")
        beside.rename(self._file)


def _mount(*arguments: str) -> None:
    if os.geteuid() != 0 or shutil.which("mount") is None:
        raise NotHere("may not mount a file system: run it as root")
    ended = subprocess.run(["mount", *arguments], capture_output=True, text=True)
    if ended.returncode:
        raise NotHere(f"may not mount a file system ({ended.stderr.strip()}): run it with CAP_SYS_ADMIN")


def _unmount(folder: Path) -> None:
    # Lazily: a process that was just killed may hold it for a moment yet.
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


def _tried(*command: str) -> bool:
    return subprocess.run(command, capture_output=True).returncode == 0
