"""lm-eval's own tasks as its installed package has them, without importing it: which files, which versions.

A YAML of ours names them under `lm_eval`, by their files in `lm_eval/tasks`. They are asked and judged unchanged; ours
says which commit of their data set is asked, and what one value several of them make.
"""

from __future__ import annotations

import functools
import importlib.metadata
import importlib.util
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sdft_exp.data.files import file_digest


@dataclass(frozen=True)
class LmEvalTasks:
    """Tasks of lm-eval's own that make up one of ours.

    Attributes:
        files: of the tasks or groups, in `root()`.
        hub, revision: the data set that they ask from, and its commit.
        subtasks: how many tasks they are.
        aggregate: what lm-eval is to aggregate over them, an `aggregate_metric_list` of its groups; empty for a single
            task, for a group of its own, and where there are weights.
        weights: of each one's value for a question that all of them ask; empty: every question of every task counts
            alike.
    """

    files: tuple[str, ...]
    hub: str
    revision: str
    subtasks: int = 1
    aggregate: tuple[Mapping[str, Any], ...] = ()
    weights: Mapping[str, float] = field(default_factory=dict)


@functools.cache
def root() -> Path:
    """The folder `tasks` of the installed lm-eval."""
    spec = importlib.util.find_spec("lm_eval")
    assert spec is not None and spec.submodule_search_locations  # it is a dependency of ours
    return Path(spec.submodule_search_locations[0]) / "tasks"


def version() -> str:
    """Of the installed lm-eval."""
    return importlib.metadata.version("lm_eval")


@functools.cache
def folder_digests(file: str) -> dict[str, str]:
    """Digest of each file beside `file` (YAMLs, what they include, their functions), by its name in `root()`."""
    folder = (root() / file).parent
    files = sorted(path for path in folder.iterdir() if path.is_file() and path.suffix != ".md")
    return {path.relative_to(root()).as_posix(): file_digest(path) for path in files}
