"""The journal of a generation: completions on disk as they are made; a kill loses the batch in flight at most."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from pathlib import Path

from sdft_exp import journal
from sdft_exp.generation.requests import Completion


def append(path: Path, completions: Iterable[Completion]) -> None:
    """Add a batch and have it on disk before returning."""
    journal.append(path, (dataclasses.asdict(done) for done in completions))


def read(path: Path) -> dict[str, Completion]:
    """The completions by request id; see `sdft_exp.journal`."""
    return {done.id: done for done in (Completion(**record) for record in journal.read(path))}
