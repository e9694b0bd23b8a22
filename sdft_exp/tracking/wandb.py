"""One run on Weights & Biases: docs/wandb.md tells what is logged under which name."""

from __future__ import annotations

import contextlib
import importlib
import os
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import lm_eval.loggers
import wandb

from sdft_exp.models.tuned import ADAPTER, MODEL
from sdft_exp.results import PAGE
from sdft_exp.stages.report import ReportJob
from sdft_exp.tracking import content
from sdft_exp.tracking.content import REJECTED_COLUMNS, SAMPLE_COLUMNS, Artifacts, report_job
from sdft_exp.tracking.mode import Mode
from sdft_exp.tracking.redact import redact

_MEGABYTE = 1e6


def get_ready() -> None:
    """Have W&B's service started and loaded what a first run loads, before there is anything to log."""
    wandb.setup()
    with contextlib.suppress(ImportError):  # a part of it that `init` imports late, most of a first run's second
        importlib.import_module("wandb.sdk.launch")


def log_run(
    settings: Mapping[str, Any],
    mode: Mode,
    run: Mapping[str, Any],
    patience: float,
    bounded: Callable[[], AbstractContextManager[None]],
) -> None:
    """Log one run. Logging it again adds nothing: steps that W&B has are dropped, summary values are set.

    Args:
        settings: of the tracker, and "home" (a folder called wandb) and "store".
        run: a TrackedRun's plain values.
        patience: seconds for opening and for closing the run.
        bounded: what the logging itself is done within.

    Raises:
        Exception: whatever W&B raises when its server does not answer, or an artifact that cannot be read.
    """
    artifacts = Artifacts(Path(settings["store"]))
    figures: dict[str, Any] = {}
    notes = settings["notes"] or ""
    job = None if run["job"] is None else report_job(run["job"])
    if job is not None:
        terms = run["config"]["report"]
        figures, reading = content.metrics(artifacts, job, terms["resamples"], terms["confidence"])
        notes = settings["notes"] or reading
    opened = wandb.init(
        project=settings["project"],
        entity=settings["entity"],
        mode=mode,
        dir=str(Path(settings["home"]).parent),
        id=run["key"],
        name=run["name"],
        group=run["group"],
        job_type=run["job_type"],
        tags=[tag[:64] for tag in run["tags"]],  # W&B takes no longer one
        notes=redact(notes, os.environ),
        config=run["config"],
        resume="allow",
        allow_val_change=True,
        settings=_settings(patience),
    )
    with opened as tracked, bounded():
        if job is not None:
            _log_job(tracked, artifacts, settings, run, job)
        tracked.summary.update(figures)
        if run["report"] is not None:
            _log_report(tracked, artifacts, run, Path(settings["home"]).parent / PAGE)


def _settings(patience: float) -> wandb.Settings:
    return wandb.Settings(
        silent=True,
        console="off",
        x_disable_stats=True,
        x_disable_meta=True,
        x_save_requirements=False,
        disable_git=True,
        disable_code=True,
        disable_job_creation=True,
        init_timeout=patience,
        finish_timeout=patience,
        finish_timeout_raises=True,
    )


def _log_job(
    tracked: wandb.Run, artifacts: Artifacts, settings: Mapping[str, Any], run: Mapping[str, Any], job: ReportJob
) -> None:
    tracked.define_metric("train/step")
    tracked.define_metric("train/*", step_metric="train/step")
    last = 0
    if job.train is not None:
        for line in content.curve(artifacts, job.train):
            # The step is given, so that a curve that is logged twice is one curve.
            last = int(line["step"])
            tracked.log({f"train/{name}": value for name, value in line.items()}, step=last)
    most = settings["samples"]
    tables = {
        f"samples/{task}": wandb.Table(columns=SAMPLE_COLUMNS, data=redact(rows, os.environ))
        for task, rows in content.samples(artifacts, job, run["vanilla"], most)
        if rows
    }
    refused = content.rejected(artifacts, job, most)
    if refused:
        tables["rewrites/rejected"] = wandb.Table(columns=REJECTED_COLUMNS, data=redact(refused, os.environ))
    tracked.log(tables, step=last + 1)
    _log_as_lm_eval(artifacts, job, most, last + 1)
    _log_data(tracked, artifacts, run, job)
    if job.train is not None:
        _log_weights(tracked, artifacts, run, job, settings["upload_mb"])


def _log_as_lm_eval(artifacts: Artifacts, job: ReportJob, most: int, step: int) -> None:
    """What lm-eval's own logger logs of the tuned model (of the seed LM where there is no other)."""
    results, samples = content.lm_eval_results(artifacts, job.scores or job.seed_scores, most)
    if not results["results"]:
        return
    logger = lm_eval.loggers.WandbLogger({"step": step})  # goes on with the run that is open
    logger.post_init(redact(results, os.environ))
    logger.log_eval_result()
    logger.task_names = [name for name in logger.task_names if name in samples]
    logger.log_eval_samples(redact(samples, os.environ))


def _log_data(tracked: wandb.Run, artifacts: Artifacts, run: Mapping[str, Any], job: ReportJob) -> None:
    """The training set, and of distilled data how each rewrite was judged."""
    if run["mix"] is None:
        return
    made_of = [address for address in (job.data, job.select, run["mix"]) if address is not None]
    data = wandb.Artifact(_data_name(run), "dataset", metadata={"made_of": made_of, "mix_ratio": _ratio(run)})
    data.add_file(str(artifacts.at(run["mix"]) / "train.jsonl"), policy="immutable")  # else they are copied
    if job.select is not None:
        for name in ("selected.jsonl", "stats.json"):
            data.add_file(str(artifacts.at(job.select) / name), policy="immutable")
    # As an input, so that the adapter descends from it; W&B has no inputs offline.
    (tracked.log_artifact if tracked.offline else tracked.use_artifact)(data)


def _log_weights(tracked: wandb.Run, artifacts: Artifacts, run: Mapping[str, Any], job: ReportJob, most: float) -> None:
    assert job.train is not None
    folder = next(
        artifacts.at(job.train) / name for name in (ADAPTER, MODEL) if (artifacts.at(job.train) / name).is_dir()
    )
    metadata = {"made_by": job.train, "trained_on": _data_name(run), "seed_lm": job.model, "seed": job.seed}
    weights = wandb.Artifact(f"{folder.name}-{run['key']}", "model", metadata=metadata)
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    if size <= most * _MEGABYTE:
        weights.add_dir(str(folder), policy="immutable")
    else:
        weights.add_reference(folder.absolute().as_uri(), checksum=False)
    tracked.log_artifact(weights)


def _log_report(tracked: wandb.Run, artifacts: Artifacts, run: Mapping[str, Any], page: Path) -> None:
    report = wandb.Artifact(f"report-{tracked.id}", "report", metadata={"runs": list(run["runs"])})
    for path in sorted(artifacts.at(run["report"]).iterdir()):
        if not path.name.startswith("manifest."):
            report.add_file(str(path), policy="immutable")
    if page.is_file():
        report.add_file(str(page))
    tracked.log({"report/figure": wandb.Image(str(artifacts.at(run["report"]) / "figure.png"))})
    tracked.log_artifact(report)


def _data_name(run: Mapping[str, Any]) -> str:
    return f"training-set-{run['config']['dataset']['name']}-{run['mix'].rpartition('/')[2][:8]}"


def _ratio(run: Mapping[str, Any]) -> float:
    return float(run["config"]["method"]["mix_ratio"])
