"""What the page is made from: what a run left in its folder, and the artifacts that it names."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from sdft_exp.errors import DataError
from sdft_exp.results import PLAN, STAGES, SUMMARY
from sdft_exp.stages.report import ReportJob
from sdft_exp.store import Store

Json = Mapping[str, Any]


@dataclass(frozen=True)
class Source:
    """A run or a sweep.

    Attributes:
        folder: its results.
        plan: plan.json.
        stages: stages.json; empty while it is at work.
        summary: of the finished jobs (docs/summary.md).
    """

    folder: Path
    plan: Json
    stages: list[Json]
    summary: Json

    @cached_property
    def jobs(self) -> list[ReportJob]:
        return [ReportJob(**job["report"]) for job in self.plan["jobs"]]

    @property
    def store(self) -> Store:
        return Store(self.plan["store"])

    @cached_property
    def manifests(self) -> dict[str, Json]:
        """Of every artifact that is there, by address: what a hit was made from may be gone."""
        found: dict[str, Json] = {}
        for stage in self.stages or self.plan["stages"]:
            address = f"{stage['stage']}/{stage['key']}"
            with contextlib.suppress(OSError, ValueError):
                found[address] = self.store.manifest(address)
        return found

    def artifact(self, address: str, name: str) -> Path | None:
        """A file of an artifact, where it is there."""
        path = self.store.path(address) / name
        return path if path.is_file() else None


def find(name: str) -> Path:
    """The folder of a run or a sweep.

    Raises:
        DataError: there is none, or nothing was run in it.
    """
    folder = next((path for path in (Path(name), Path("outputs") / name) if path.is_dir()), None)
    if folder is None:
        raise DataError(f"{name}: no such folder, neither here nor under outputs/; name the folder of a run or a sweep")
    if not (folder / PLAN).is_file():
        raise DataError(f"{folder}: is no folder of a run or a sweep (it has no {PLAN}); run its command again")
    return folder


def read_finished(folder: Path) -> Source:
    """What a finished run or sweep left.

    Raises:
        DataError: it is at work, or was stopped before it could report; or a file of it is damaged.
    """
    if not is_finished(folder):
        raise DataError(
            f"{folder}: has not finished; follow it with --serve, or run its command again if it was stopped"
        )
    return Source(folder, read_json(folder / PLAN), read_json(folder / STAGES), read_json(folder / SUMMARY))


def is_finished(folder: Path) -> bool:
    """Whether the last invocation has ended and reported."""
    return (folder / STAGES).is_file() and (folder / SUMMARY).is_file()


def read_json(path: Path) -> Any:
    """The content of a file of the folder.

    Raises:
        DataError: it cannot be read.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: cannot be read ({type(error).__name__}); run the sweep's command again") from None
