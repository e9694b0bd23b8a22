"""The folder of a run or a sweep that people read: what was asked for, what became of it, the results."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from sdft_exp.compose import folder_name
from sdft_exp.errors import UserError
from sdft_exp.execute import Record
from sdft_exp.jobs import Job, report_job, row_values
from sdft_exp.models.tuned import ADAPTER, MODEL
from sdft_exp.plan import Plan
from sdft_exp.report.card import write_card
from sdft_exp.stage import Stage
from sdft_exp.store import Store
from sdft_exp.tracking.redact import redact

PLAN = "plan.json"
STAGES = "stages.json"
PAGE = "report.html"
TOKEN_PAGE = "token_shift.html"
SUMMARY = "summary.json"
LOSS_CURVES = "loss_curves"  # name of what tells how the loss fell, of trainings that nothing else was measured of
SHIFT_FIGURES = "shift_"  # begins the names of figures of how far the models moved
_REPORTS = (SUMMARY, "summary.csv", "report.md", "figure.png", "figure.svg")


def write_plan(folder: Path, jobs: Sequence[Job], planned: Plan, store: Store, command: Sequence[str]) -> None:
    """Write `plan.json`: what an invocation is to make, for whoever looks on. Takes away what an earlier one told.

    Args:
        command: the words behind main.py.
    """
    rows = row_values(jobs)
    content = {
        "title": folder.name,
        "command": list(command),
        "store": str(store.root.absolute()),
        "stages": [
            {"stage": node.stage.name, "key": node.stage.key, "label": node.stage.label}
            for node in planned.nodes.values()
        ],
        "jobs": [
            {
                "overrides": list(job.overrides),
                "config": job.config.model_dump(mode="json"),
                "report": asdict(report_job(job, rows[job.label])),
            }
            for job in jobs
        ],
    }
    (folder / STAGES).unlink(missing_ok=True)
    beside = folder / f".{PLAN}.{os.getpid()}"
    text = json.dumps(redact(content, os.environ), indent=1, ensure_ascii=False)
    beside.write_text(text + "\n", encoding="utf-8")
    beside.rename(folder / PLAN)


@contextlib.contextmanager
def writing(folder: Path) -> Iterator[None]:
    """Tell a folder of results that cannot be written as the user's matter that it is."""
    try:
        yield
    except OSError as error:
        # copytree gathers the errors of its files: [(source, target, reason), ...]
        reason = error.args[0][0][2] if isinstance(error, shutil.Error) else error.strerror or error
        raise UserError(
            f"paths.output={folder.parent}: cannot be written ({reason}); "
            "make room and run the same command again, or name another folder, paths.output=DIR"
        ) from None


@contextlib.contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Keep out others who write the same results here: the same command may run twice."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        with contextlib.suppress(OSError):  # network file systems lock no folder; then two at once may trip
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def write_stages(folder: Path, planned: Plan, records: Mapping[str, Record]) -> None:
    """One line a stage, inputs before the stages that take them, the report last."""
    order = [address for address in planned.nodes if address in records]
    order += [address for address in records if address not in planned.nodes]
    lines = [redact(records[address].as_json(), os.environ) for address in order]
    (folder / STAGES).write_text(json.dumps(lines, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def leave_results(
    folder: Path, jobs: Sequence[Job], finished: Sequence[Job], table: Stage, store: Store
) -> dict[str, Any] | None:
    """Copy the report into `folder`, and beside it each finished job's config, adapter or model, and model card.

    What an earlier command of the same name left is taken away first.
    """
    for name in (*_REPORTS, PAGE, TOKEN_PAGE, "config.yaml", "README.md"):
        (folder / name).unlink(missing_ok=True)
    for figure in (*folder.glob(f"{SHIFT_FIGURES}*"), *folder.glob(f"{LOSS_CURVES}.*")):
        figure.unlink()
    for name in (ADAPTER, MODEL, "merged", "jobs"):
        shutil.rmtree(folder / name, ignore_errors=True)
    made = store.path(table.address)
    if not made.is_dir():
        return None
    for name in _REPORTS:
        shutil.copyfile(made / name, folder / name)
    summary: dict[str, Any] = json.loads((made / SUMMARY).read_text(encoding="utf-8"))
    for job in finished:
        own = folder if len(jobs) == 1 else folder / "jobs" / folder_name(None, job.label.split())
        own.mkdir(parents=True, exist_ok=True)
        config = redact(job.config.model_dump(mode="json"), os.environ)
        OmegaConf.save(OmegaConf.create(config), own / "config.yaml")
        story = job.experiment
        if story.train:
            trained = store.path(story.train.address)
            name = MODEL if (trained / MODEL).is_dir() else ADAPTER
            _copy(trained / name, own / name)
        if story.export:
            _copy(store.path(story.export.address), own / "merged")
        if story.train:
            write_card(own, job.label, job.config, summary)
    return summary


def _copy(source: Path, target: Path) -> None:
    shutil.copytree(source, target, ignore=shutil.ignore_patterns("manifest.*"), copy_function=_copy_file)


def _copy_file(source: str, target: str) -> None:
    """Weights of a whole model are gigabytes: where the file system allows it, they are one file under two names."""
    if Path(source).name.startswith("model") and source.endswith(".safetensors"):
        with contextlib.suppress(OSError):
            os.link(source, target)
            return
    shutil.copy2(source, target)
