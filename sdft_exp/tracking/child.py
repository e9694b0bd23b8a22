"""The child that logs: `python -m sdft_exp.tracking.child SETTINGS [RUN ...]`.

Reads names of files from its standard input, one run each, logs them one after the other, and at the end prints one
line of JSON: "mode", "logged" (runs), "remark" and "failure" (each null or a text). When W&B's server fails it starts
anew as a process that logs offline: W&B's library would go on waiting for the server.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
import shutil
import signal
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import filelock
import psutil

from sdft_exp.stage import canonical
from sdft_exp.tracking.mode import Mode, choose_mode

MARKER = "tracked.json"  # key of a run -> digest of what was logged of it
_NICE = 10  # it works beside stages, and they go first


class _Queue:
    """The files that the parent names, first those that were named to the process before this one."""

    def __init__(self, names: Sequence[str]):
        self.names = list(names)

    def __iter__(self) -> Iterator[Path]:
        rest = b""
        while True:
            while self.names:
                yield Path(self.names.pop(0))
            read = os.read(0, 1 << 16)
            if not read:
                return
            *whole, rest = (rest + read).split(b"\n")
            self.names += [os.fsdecode(name) for name in whole]


class _Session:
    """What is known of W&B so far; `settings` are the tracker's, with "home", "store" and, once known, "remark"."""

    def __init__(self, settings: dict[str, Any], queue: _Queue):
        self.settings = settings
        self.queue = queue
        self.home = Path(settings["home"])
        self.mode: Mode
        self.mode, self.remark = choose_mode(settings["mode"])
        self.remark = settings.get("remark", self.remark)
        self.patience = float(settings["timeout"]) / 4  # seconds for each of: opening a run, logging it, closing it
        self.digests = _read(self.home / MARKER)
        self.logged = 0
        self.failure: str | None = None

    def log(self, file: Path) -> None:
        """Log one run that is not logged yet."""
        run = json.loads(file.read_text(encoding="utf-8"))
        told = self.settings | {"home": "", "remark": "", "mode": self.mode}
        digest = hashlib.sha256(canonical([told, run]).encode()).hexdigest()
        if self.digests.get(run["key"]) == digest:
            return
        try:
            self._log(run)
        except Exception as error:
            reason = " ".join(f"{type(error).__name__}: {error}".split())
            if self.mode == "online":
                self._go_offline(file, run["key"], reason)
            self.failure = reason
            return
        self.digests[run["key"]] = digest
        (self.home / MARKER).write_text(json.dumps(self.digests, indent=1, sort_keys=True) + "\n", encoding="utf-8")
        self.logged += 1

    def _log(self, run: dict[str, Any]) -> None:
        from sdft_exp.tracking.wandb import log_run

        old = list(self.home.glob(f"offline-run-*-{run['key']}"))
        log_run(self.settings, self.mode, run, self.patience, lambda: _bounded(self.patience))
        # W&B cannot go on with an offline run: it opens a second folder, and a sync of both has two beginnings.
        for superseded in old:
            shutil.rmtree(superseded, ignore_errors=True)

    def _go_offline(self, file: Path, key: str, reason: str) -> None:
        """Start this program anew, without W&B's service and what it has of the run."""
        for process in psutil.Process().children(recursive=True):
            process.kill()
        for begun in self.home.glob(f"run-*-{key}"):
            shutil.rmtree(begun, ignore_errors=True)
        settings = self.settings | {"mode": "offline", "remark": f"the server did not take a run ({reason})"}
        again = file.with_name(f"{file.name}.offline")
        again.write_text(json.dumps(settings), encoding="utf-8")
        left = [str(file), *self.queue.names]
        os.execv(sys.executable, [sys.executable, "-m", "sdft_exp.tracking.child", str(again), *left])


@contextlib.contextmanager
def _bounded(seconds: float) -> Iterator[None]:
    """Raise TimeoutError in what takes longer."""

    def ring(number: int, frame: object) -> None:
        raise TimeoutError(f"took longer than {seconds:g} s")

    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def main(arguments: Sequence[str]) -> None:
    """Log every run that is asked for."""
    settings: dict[str, Any] = json.loads(Path(arguments[0]).read_text(encoding="utf-8"))
    home = Path(settings["home"])
    os.setpriority(os.PRIO_PROCESS, 0, _NICE)
    os.environ.setdefault("WANDB_DATA_DIR", str(home))  # tables wait for a sync there, not in the user's own folder
    os.environ.pop("WANDB_SERVICE", None)  # of another process: this one has its own
    sys.stdin = io.StringIO()  # nobody is to take the queue for an answer to a question
    queue = _Queue(arguments[1:])
    try:
        with filelock.FileLock(home / ".lock", blocking=False):
            session = _Session(settings, queue)
            os.environ["WANDB_MODE"] = session.mode  # else its telemetry asks a server, of an offline run too
            from sdft_exp.tracking.wandb import get_ready

            get_ready()  # takes a second or two, while stages are at work
            for file in queue:
                session.log(file)
                file.unlink(missing_ok=True)
    except filelock.Timeout:
        return  # another process is logging this folder
    told = {"mode": session.mode, "logged": session.logged, "remark": session.remark, "failure": session.failure}
    print(json.dumps(told), flush=True)


def _read(marker: Path) -> dict[str, str]:
    try:
        content: dict[str, str] = json.loads(marker.read_text(encoding="utf-8"))
    except (OSError, ValueError):  # none yet, or torn: everything is logged again, onto the same run ids
        return {}
    return content


if __name__ == "__main__":
    main(sys.argv[1:])
    sys.stdout.flush()
    os._exit(0)  # all is on disk or sent; W&B's telemetry would go on waiting for a server that hangs
