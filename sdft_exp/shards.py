"""Several processes for the work of one stage: it is dealt out in whole pieces, each process writes its own journal.

What a piece holds never depends on the number of processes, so neither does what is made of it. Imports no torch.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import warnings
from collections.abc import Callable, Sequence
from multiprocessing.connection import Connection, wait
from multiprocessing.pool import ExceptionWithTraceback  # type: ignore[attr-defined]  # typeshed leaves it out
from pathlib import Path
from typing import Any, Protocol

from sdft_exp import journal as journals
from sdft_exp.errors import UserError
from sdft_exp.models.load import release
from sdft_exp.processes import cuda_devices, death, end_with
from sdft_exp.verbose import verbose


class Work(Protocol):
    """Makes the pieces into lines of `journal`; `done` is told how many items each piece added."""

    def __call__(self, pieces: Sequence[Any], journal: Path, done: Callable[[int], None], /) -> None: ...


def worker_count(asked: int | None, device: str) -> int:
    """Processes: as asked, else one a GPU that this process may use, on a CPU one."""
    return asked or max(1, len(_devices(device)))


def spread(
    count: int,
    device: str,
    work: Work,
    pieces: Sequence[Any],
    journal: Path,
    key: str,
    done: Callable[[int], None],
) -> None:
    """Do all of `pieces` by at most `count` processes, on a GPU of its own each as far as there are some.

    Args:
        device: of the model: see `ModelRef`.
        work: what can be pickled; done by this very process where there is but one.
        key: the field that tells one line of the journal from the others.

    Raises:
        UserError: a process died.
        Exception: what a process met, with its traceback.
        In both cases the others are ended, and all that was finished is kept.
    """
    count = min(count, len(pieces))
    if count == 1:
        work(pieces, journal, done)
        return
    release()  # they load models of their own, where ours or a server may lie
    context = multiprocessing.get_context("spawn")
    devices = _devices(device)
    children = []
    for number in range(count):
        ours, theirs = context.Pipe(duplex=False)
        own = devices[number % len(devices)] if devices else None
        # Dealt like cards: where the pieces come sorted by size, every process gets large and small ones.
        task = (work, pieces[number::count], journal.with_name(f"{journal.name}.shard-{number:03d}"))
        child = context.Process(target=_work, args=(theirs, os.getpid(), own, task))
        child.start()
        theirs.close()
        children.append((child, ours))
    try:
        _listen({ours: child for child, ours in children}, done)
    finally:
        for child, ours in children:
            ours.close()
            child.kill()  # nothing to one that has ended
            child.join()
        gather(journal, key)


def gather(journal: Path, key: str) -> None:
    """Move what the processes' journals hold into `journal`; also what an attempt that was killed left in them."""
    for shard in sorted(journal.parent.glob(f"{journal.name}.shard-*")):
        made = {record[key] for record in journals.read(journal)}
        journals.append(journal, (record for record in journals.read(shard) if record[key] not in made))
        shard.unlink()


def _devices(device: str) -> list[str]:
    return [] if device == "cpu" else cuda_devices()


def _listen(waiting: dict[Connection, Any], done: Callable[[int], None]) -> None:
    while waiting:
        for connection in wait(list(waiting)):
            assert isinstance(connection, Connection)
            try:
                message = connection.recv()
            except (EOFError, OSError):
                child = waiting[connection]
                child.join()
                raise UserError(f"one of its processes {death(child.exitcode)}") from None
            if isinstance(message, int):
                done(message)
            elif message is None:
                del waiting[connection]
            else:
                raise message


def _work(connection: Connection, parent: int, device: str | None, task: tuple[Work, Sequence[Any], Path]) -> None:
    """The child: tells how many items each piece added, then None, or the error it met."""
    end_with(parent)
    if device is not None:
        os.environ["CUDA_VISIBLE_DEVICES"] = device
    if not verbose():
        warnings.filterwarnings("ignore", category=FutureWarning)  # between the libraries; nothing a user can act on
    work, pieces, journal = task
    with contextlib.suppress(BrokenPipeError):
        try:
            work(pieces, journal, connection.send)
        except Exception as error:
            connection.send(ExceptionWithTraceback(error, error.__traceback__))
        else:
            connection.send(None)
