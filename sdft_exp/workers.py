"""Worker processes that make stages: each keeps the models it has loaded; the parent imports no torch.

A worker that dies fails the stage it was at and is replaced; a parent that dies takes its workers with it; a worker
that is asked to stop saves what it can; a stage that somebody else is computing is given back and tried again later.
"""

from __future__ import annotations

import contextlib
import importlib
import multiprocessing
import os
import signal
import sys
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any, Literal

from sdft_exp.errors import UserError
from sdft_exp.processes import SIGNALLED, death, end_with
from sdft_exp.progress import told_to
from sdft_exp.stage import Stage
from sdft_exp.stopping import Stopped, asked, listen
from sdft_exp.store import Busy, Store
from sdft_exp.verbose import verbose

PATIENCE = 10.0  # seconds that workers have for saving what they can, where nobody says otherwise
RETRY_SECONDS = 0.5  # between two looks at a stage that another process computes
_REPORT_SECONDS = 0.1  # between two progress messages of one worker

Ending = Literal["ran", "hit", "repaired", "busy", "failed"]


@dataclass(frozen=True)
class Done:
    """How one stage ended: made here (`ran`), found made (`hit`), computed by another (`busy`), or else.

    `reason` tells why it `failed`, or the damage for which it was made again (`repaired`).
    """

    stage: Stage
    ending: Ending
    reason: str
    seconds: float


@dataclass(frozen=True)
class Step:
    """How far a stage at work is; where `total` is 0, `what` says what it is at."""

    stage: Stage
    done: int
    total: int
    what: str


@dataclass
class _Worker:
    process: BaseProcess
    connection: Connection
    device: str | None
    stage: Stage | None = None


class Pool:
    """Up to `size` workers, started when there is work for them. Use as a context manager.

    `patience` is how many seconds those that are left at work have for saving what they can.
    """

    def __init__(self, store: Store, size: int, devices: list[str], patience: float = PATIENCE):
        self.store = store
        self.size = size
        # The CUDA devices of each worker, several where there are more of them than workers; empty on a CPU.
        self.devices = [",".join(devices[first::size]) for first in range(min(size, len(devices)))]
        self.patience = patience
        self.workers: list[_Worker] = []

    def __enter__(self) -> Pool:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        for worker in self.workers:
            if worker.stage is None:
                worker.connection.close()
            else:  # left at work: an error, Ctrl-C or a signal in the parent
                worker.process.terminate()
        left = [worker.stage.name for worker in self.workers if worker.stage is not None]
        if left and kind is KeyboardInterrupt:
            print(
                f"interrupted: {', '.join(left)} at work; saving what there is, {self.patience:g} s at most "
                "(Ctrl-C again: at once)",
                file=sys.stderr,
            )
        until = time.monotonic() + self.patience
        try:
            for worker in self.workers:
                worker.process.join(timeout=max(0.0, until - time.monotonic()))
        finally:  # also at a second Ctrl-C: nobody wants to wait any longer
            for worker in self.workers:
                worker.process.kill()  # nothing to one that has ended
                worker.process.join()
                worker.connection.close()

    @property
    def free(self) -> int:
        return self.size - sum(worker.stage is not None for worker in self.workers)

    def start(self, stage: Stage) -> None:
        """Give `stage` to a free worker."""
        for idle in [worker for worker in self.workers if worker.stage is None]:
            try:
                idle.connection.send(stage)
            except OSError:  # it died since its last stage
                self._bury(idle)
            else:
                idle.stage = stage
                return
        fresh = self._spawn()
        fresh.stage = stage
        with contextlib.suppress(OSError):  # dead already: `events` tells why
            fresh.connection.send(stage)

    def events(self, timeout: float) -> Iterator[Done | Step]:
        """What the workers tell within `timeout` seconds; returns early when there is something."""
        busy = [worker for worker in self.workers if worker.stage is not None]
        ready = wait([worker.connection for worker in busy], timeout)
        for worker in busy:
            if worker.connection not in ready:
                continue
            stage = worker.stage
            assert stage is not None
            try:
                message = worker.connection.recv()
            except (EOFError, OSError):
                self._bury(worker)
                yield Done(stage, "failed", f"its worker {death(worker.process.exitcode)}", 0.0)
                continue
            if isinstance(message, Done):
                worker.stage = None
            yield message

    def _spawn(self) -> _Worker:
        context = multiprocessing.get_context("spawn")
        ours, theirs = context.Pipe()
        taken = Counter(worker.device for worker in self.workers)
        device = min(self.devices, key=lambda name: taken[name], default=None)  # the first that fewest workers use
        process = context.Process(target=_work, args=(theirs, self.store.root, device, os.getpid()), daemon=False)
        process.start()
        theirs.close()
        worker = _Worker(process, ours, device)
        self.workers.append(worker)
        return worker

    def _bury(self, worker: _Worker) -> None:
        worker.connection.close()
        worker.process.join()
        self.workers.remove(worker)


def _work(connection: Connection, root: Path, device: str | None, parent: int) -> None:
    """The worker's loop: a stage in, progress and its ending out, until the parent closes the line."""
    end_with(parent)
    if device is not None:
        os.environ["CUDA_VISIBLE_DEVICES"] = device
    if not verbose():
        warnings.filterwarnings("ignore", category=FutureWarning)  # between the libraries; nothing a user can act on
    store = Store(root)
    listen()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches all of a terminal's: the parent then asks us to stop
    try:
        while True:
            try:
                stage = connection.recv()
            except EOFError:
                return
            connection.send(_make(store, stage, connection))
    except Stopped as stopped:
        os._exit(SIGNALLED + stopped.number)  # what can be saved is saved; the interpreter's own end takes seconds


def _make(store: Store, stage: Stage, connection: Connection) -> Done:
    started = time.monotonic()
    last = 0.0

    def progress(done: int, total: int, what: str) -> None:
        nonlocal last
        if asked():  # nobody reads the line any more
            return
        if time.monotonic() - last >= _REPORT_SECONDS or done == total or not total:
            last = time.monotonic()
            connection.send(Step(stage, done, total, what))

    inputs = {role: store.path(source.address) for role, source in stage.inputs.items()}
    module: Any = importlib.import_module(f"sdft_exp.stages.{stage.name}")
    try:
        with told_to(progress):
            made = store.produce(stage, lambda out: module.run(stage.params, inputs, out, progress))
    except Busy:
        return Done(stage, "busy", "", 0.0)
    except UserError as error:
        return Done(stage, "failed", str(error), time.monotonic() - started)
    except Exception as error:
        _keep_traceback(store, stage)
        text = " ".join(str(error).split())
        return Done(stage, "failed", f"{type(error).__name__}: {text[:300]}", time.monotonic() - started)
    return Done(stage, made.status, made.damage, time.monotonic() - started)


def traceback_path(store: Store, stage: Stage) -> Path:
    """Where the traceback of a stage that failed by a fault of the program's is kept."""
    return store.root / ".errors" / f"{stage.name}-{stage.key[:12]}.txt"


def _keep_traceback(store: Store, stage: Stage) -> None:
    log = traceback_path(store, stage)
    with contextlib.suppress(OSError):  # the reason is told all the same
        log.parent.mkdir(parents=True, exist_ok=True)
        log.write_text(traceback.format_exc(), encoding="utf-8")
