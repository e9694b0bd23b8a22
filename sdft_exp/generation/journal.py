"""The journal of a generation: completions on disk as they are made; a kill loses the batch in flight at most."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from sdft_exp import journal
from sdft_exp.generation.requests import Completion


def append(path: Path, completions: Iterable[Completion]) -> None:
    """Add a batch and have it on disk before returning."""
    journal.append(path, (dataclasses.asdict(done) for done in completions))


def read(path: Path) -> dict[str, Completion]:
    """The completions by request id; see `sdft_exp.journal`."""
    return {record["id"]: _completion(record) for record in journal.read(path)}


def _completion(record: dict[str, Any]) -> Completion:
    ids = record.pop("ids", None)
    return Completion(**record, ids=None if ids is None else tuple(ids))
