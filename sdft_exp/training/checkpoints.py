"""Checkpoints that count only when all of their parts are on disk: a kill in the middle of one costs steps, not truth.

transformers resumes silently wrong from a checkpoint without its optimizer or random state; so each is sealed with the
list of its files when it is complete, and one without its seal, or with another content, is as good as none.
"""

from __future__ import annotations

import fnmatch
import json
import os
import shutil
from collections.abc import Sequence
from pathlib import Path

# What one must have, by patterns: of a training in one process, and under DeepSpeed.
ALONE = ("*.safetensors", "optimizer.pt", "scheduler.pt", "rng_state.pth", "trainer_state.json")
ZERO = (
    *("latest", "global_step*/*model_states.pt", "global_step*/*optim_states.pt"),
    *("scheduler.pt", "rng_state*.pth", "trainer_state.json"),
)
FOLDER = "checkpoints"  # of an attempt
_SEAL = "whole.json"
_PREFIX = "checkpoint-"


def seal(folder: Path) -> None:
    """Declare the checkpoint whole, once its files are on disk; the older ones beside it are then removed."""
    sizes = {}
    for name, path in _files(folder):
        with path.open("rb") as file:
            os.fsync(file.fileno())
        sizes[name] = path.stat().st_size
    beside = folder / f"{_SEAL}.part"
    with beside.open("w", encoding="utf-8") as file:
        json.dump(sizes, file)
        file.flush()
        os.fsync(file.fileno())
    beside.rename(folder / _SEAL)
    for other in folder.parent.glob(f"{_PREFIX}*"):
        if other != folder:
            shutil.rmtree(other)


def latest(folder: Path, parts: Sequence[str]) -> Path | None:
    """The whole checkpoint of most steps in `folder`, or None. All others are removed."""
    whole = [path for path in folder.glob(f"{_PREFIX}*") if _is_whole(path, parts)]
    best = max(whole, key=steps, default=None)
    for other in folder.glob(f"{_PREFIX}*"):
        if other != best:
            shutil.rmtree(other)
    return best


def steps(checkpoint: Path) -> int:
    """After how many optimizer steps it was written."""
    return int(checkpoint.name.removeprefix(_PREFIX))


def processes(checkpoint: Path) -> int:
    """How many processes it is of: each leaves its random state."""
    return len(list(checkpoint.glob("rng_state*.pth")))


def _is_whole(folder: Path, parts: Sequence[str]) -> bool:
    try:
        sizes = json.loads((folder / _SEAL).read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return False
    there = {name: path.stat().st_size for name, path in _files(folder)}
    complete = all(fnmatch.filter(sizes, part) for part in parts)
    return complete and all(there.get(name) == size for name, size in sizes.items())


def _files(folder: Path) -> list[tuple[str, Path]]:
    return sorted((path.relative_to(folder).as_posix(), path) for path in folder.rglob("*") if path.is_file())
