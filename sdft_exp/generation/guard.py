"""Runs a server and ends it when its starter is gone, however that went: `guard.py FOLDER COMMAND...`.

A program of its own on the standard library alone. Its standard input is a pipe that the starter holds open: end of
file is the starter's end, kill -9 included. FOLDER holds what is the server's: its process id, its merged model.
"""

from __future__ import annotations

import contextlib
import os
import select
import shutil
import signal
import subprocess
import sys
from pathlib import Path

GRACE = 5.0  # seconds between SIGTERM and SIGKILL
_LOOK_SECONDS = 0.2


def main(folder: Path, command: list[str]) -> int:
    """Run `command` in a process group of its own; returns its exit code, as a shell has it."""
    try:
        server = subprocess.Popen(command, stdin=subprocess.DEVNULL, start_new_session=True)
    except OSError as error:
        print(f"{command[0]}: {error.strerror}", flush=True)
        return 127
    (folder / "pid").write_text(str(server.pid), encoding="utf-8")
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)  # the end of the starter is what ends us
    abandoned = False
    while not abandoned and server.poll() is None:
        readable, _, _ = select.select([0], [], [], _LOOK_SECONDS)
        abandoned = bool(readable) and not os.read(0, 1)
    end(server.pid, server)
    if abandoned:
        shutil.rmtree(folder, ignore_errors=True)
    return server.returncode if server.returncode >= 0 else 128 - server.returncode


def end(group: int, leader: subprocess.Popen[bytes]) -> None:
    """End a process group: SIGTERM, and SIGKILL for what is left of it."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(group, signal.SIGTERM)
    with contextlib.suppress(subprocess.TimeoutExpired):
        leader.wait(GRACE)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(group, signal.SIGKILL)
    leader.wait()


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), sys.argv[2:]))
