"""One invocation: check the jobs, plan, make what is missing, report, leave a folder for people. Imports no torch."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf
from rich.console import Console

from sdft_exp.compose import HOW_FAST, folder_name, run_config, telling, without_folders
from sdft_exp.config import RunConfig
from sdft_exp.display import Display
from sdft_exp.errors import ConfigError, DataError, UserError
from sdft_exp.execute import Listener, Record, execute
from sdft_exp.experiment import Experiment, experiment, with_strict_versions
from sdft_exp.models.tuned import ADAPTER, MODEL
from sdft_exp.plan import Plan, plan, plan_one, plan_table, price
from sdft_exp.processes import cuda_devices
from sdft_exp.report.card import write_card
from sdft_exp.report.terminal import print_table
from sdft_exp.stage import Stage
from sdft_exp.stages import report
from sdft_exp.store import Store, version_differences, versions
from sdft_exp.tracking import TrackedRun, track
from sdft_exp.tracking.redact import redact
from sdft_exp.workers import Step, traceback_path

# Keys that every row of the table tells, and those that never make a row of their own.
_ROW = ("dataset.name", "method.name", "method.mix_ratio", "tuning.name", "model.name")
_NOT_A_ROW = (
    "seed",
    "plan",
    "paths.",
    "sweep.",
    "launch.",
    "tracker.",
    "report.",
    *(f"generation.{key}" for key in HOW_FAST),
)


_REPORTS = ("summary.json", "summary.csv", "report.md", "figure.png", "figure.svg")
_SHARED = ("plan", "paths", "sweep", "launch", "tracker", "report")


@dataclass(frozen=True)
class Job:
    """One job of an invocation: the stages it needs, and the overrides that tell it from the others."""

    label: str
    experiment: Experiment

    @property
    def config(self) -> RunConfig:
        return self.experiment.config


def run_one(composed: DictConfig, overrides: list[str]) -> int:
    """Run a single job; returns the exit code."""
    config = run_config(composed)
    return run_jobs([composed], [overrides], Path(config.paths.output) / folder_name(config.sweep.name, overrides))


@dataclass(frozen=True)
class Sweep:
    """The checked jobs of one invocation, their plan, and where their results go."""

    jobs: list[Job]
    planned: Plan
    folder: Path
    preset: str | None  # the `experiment` of a sweep; Hydra knows it there only

    @property
    def config(self) -> RunConfig:
        """The first job's; what all jobs share stands in it."""
        return self.jobs[0].config

    @property
    def title(self) -> str:
        return self.folder.name

    @property
    def overview(self) -> str:
        """`demo: 12 jobs, 230 stages, 3 hit; to run: 1 distill, 4 train, ...`"""
        return _overview(self.title, len(self.jobs), self.planned)


def plan_jobs(composed: Sequence[DictConfig], overrides: Sequence[Sequence[str]], folder: Path) -> Sweep:
    """Check jobs and plan them as one graph of unique stages; nothing is started or written.

    Raises:
        UserError: a mistake in the config or the data of any job.
    """
    jobs = _checked(composed, overrides)
    planned = plan([job.experiment for job in jobs], Store(jobs[0].config.paths.store))
    return Sweep(jobs, planned, folder, OmegaConf.select(composed[0], "hydra.runtime.choices.experiment"))


def run_jobs(composed: Sequence[DictConfig], overrides: Sequence[Sequence[str]], folder: Path) -> int:
    """Run jobs as one graph of unique stages and leave their results in `folder`.

    Returns:
        the exit code: 0, or 1 when a job failed.

    Raises:
        UserError: a mistake in the config or the data of any job, or a store that cannot be written, before the first
            job starts; later, results that cannot be written.
    """
    sweep = plan_jobs(composed, overrides, folder)
    config, planned = sweep.config, sweep.planned
    if config.launch.device == "cuda" and not cuda_devices():
        raise ConfigError("launch.device=cuda: there is no CUDA device here; set launch.device=cpu")
    if config.plan:
        print(plan_table(planned, config.launch.assume))
        return 0
    if planned.obstacles:
        raise ConfigError(planned.obstacles[0])
    store = Store(config.paths.store)
    if planned.missing:
        store.check_writable()
    console = begin(sweep, store)

    def make(tell: Listener) -> None:
        workers, device = config.sweep.workers, config.launch.device
        execute(planned, store, workers=workers, jobs=len(sweep.jobs), device=device, tell=tell)

    return finish(sweep, store, console, make)


def begin(sweep: Sweep, store: Store) -> Console:
    """Make the folder of the results and say what will run; returns where to go on saying things."""
    console = Console()
    with _writing(sweep.folder):
        sweep.folder.mkdir(parents=True, exist_ok=True)
    _warn_of_versions(sweep.planned, store, console)
    console.print(sweep.overview, markup=False, highlight=False, soft_wrap=True)
    return console


def finish(sweep: Sweep, store: Store, console: Console, make: Callable[[Listener], object]) -> int:
    """Let `make` tell how each planned stage ended, write the report, and leave the results in the sweep's folder.

    Returns:
        the exit code: 0, or 1 when a job failed.
    """
    jobs, planned, folder, title = sweep.jobs, sweep.planned, sweep.folder, sweep.title
    records: dict[str, Record] = {}
    try:
        with Display(console, len(planned.missing) + 1) as display:  # and the report

            def tell(event: Record | Step) -> None:
                if isinstance(event, Record):
                    records[event.stage.address] = event
                display(event)

            make(tell)
            finished = [job for job in jobs if not _failure(job, records)]
            table = _report(title, jobs, finished, records)
            execute(plan_one(table, store), store, workers=1, jobs=1, device="cpu", tell=tell)
    finally:  # also of what Ctrl-C cut short
        with _writing(folder):
            _write_stages(folder, planned, records)
    _print_tracebacks(records, store, console)
    with _writing(folder), _alone(folder):
        summary = _leave_results(folder, jobs, finished, table, store)
    if summary is not None:
        print_table(summary, console)
        _print_papers_table(sweep, store, console)
    message = track(sweep.config.tracker, [_tracked(job, title, store) for job in finished], folder)
    if message:
        console.print(message, markup=False, soft_wrap=True)
    left = "report.md, summary.json, summary.csv, figure.png, " if summary is not None else ""
    console.print(f"results: {folder}: {left}stages.json", markup=False, soft_wrap=True)
    failure = _failures(jobs, finished, records, table)
    if failure:
        print(f"error: {failure}", file=sys.stderr)
    return 1 if failure else 0


def _failures(jobs: Sequence[Job], finished: Sequence[Job], records: Mapping[str, Record], table: Stage) -> str:
    """What failed, in one line, or "" when nothing did."""
    failed = [job for job in jobs if job not in finished]
    if failed:
        reason = _failure(failed[0], records)
        if len(jobs) == 1:
            return reason
        return f"{len(failed)} of {len(jobs)} jobs failed, the first of them ({failed[0].label}): {reason}"
    broken = records[table.address]
    return f"report: {broken.reason}" if broken.status == "failed" else ""


@contextlib.contextmanager
def _writing(folder: Path) -> Iterator[None]:
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
def _alone(folder: Path) -> Iterator[None]:
    """Keep out others who write the same results here: the same command may run twice."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        with contextlib.suppress(OSError):  # network file systems lock no folder; then two at once may trip
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _print_papers_table(sweep: Sweep, store: Store, console: Console) -> None:
    """Print the paper's table behind a preset that reproduces one."""
    from analysis.tables import show

    show(sweep.preset, [job.experiment for job in sweep.jobs], store, console, sweep.folder)


def _overview(title: str, jobs: int, planned: Plan) -> str:
    """`demo: 12 jobs, 230 stages, 3 hit; to run: 1 distill, 4 train, ...`"""
    counts: dict[str, int] = {}
    for stage in planned.missing:
        counts[stage.name] = counts.get(stage.name, 0) + 1
    hits = len(planned.nodes) - len(planned.missing)
    to_run = ", ".join(f"{count} {name}" for name, count in counts.items()) or "nothing"
    named = "1 job" if jobs == 1 else f"{jobs} jobs"
    return f"{title}: {named}, {len(planned.nodes)} stages, {hits} hit; to run: {to_run}{price(planned.missing)}"


def _checked(composed: Sequence[DictConfig], overrides: Sequence[Sequence[str]]) -> list[Job]:
    """Every job's config and stages, or the first mistake with the job it is in. Nothing has started yet."""
    varying = _varying_overrides(overrides)
    jobs = []
    for position, (job, own) in enumerate(zip(composed, varying, strict=True)):
        label = " ".join(own)
        try:
            story = experiment(run_config(job))
        except (ConfigError, DataError) as error:
            where = f" (job {position + 1} of {len(composed)}: {label})" if len(composed) > 1 else ""
            raise type(error)(f"{error}{where}") from None
        if story.config.paths.strict_versions:
            story = with_strict_versions(story, versions())
        jobs.append(Job(label or story.config.method.name, story))
    for group in _SHARED:
        if len({str(getattr(job.config, group)) for job in jobs}) > 1:
            raise ConfigError(f"{group}: differs from job to job; a sweep has one {group} for all its jobs")
    return jobs


def _varying_overrides(overrides: Sequence[Sequence[str]]) -> list[list[str]]:
    """Each job's overrides without those that all jobs share, and those that say where or how fast it runs.

    Folders are left out of paths, unless jobs differ in them alone.
    """
    common = set(overrides[0]).intersection(*overrides[1:]) if len(overrides) > 1 else set()
    own = [[override for override in telling(job) if override not in common] for job in overrides]
    short = [[without_folders(override) for override in job] for job in own]
    return short if len({tuple(job) for job in short}) == len(own) else own


def _failure(job: Job, records: Mapping[str, Record]) -> str:
    """Why a job failed, or "" when it did not."""
    for stage in job.experiment.results:
        record = records[stage.address]
        if record.status == "failed":
            return record.reason if record.reason.startswith("needs ") else f"{stage.name}: {record.reason}"
    return ""


def _report(title: str, jobs: Sequence[Job], finished: Sequence[Job], records: Mapping[str, Record]) -> Stage:
    rows = _rows(jobs)
    failed = [
        {"label": job.label, "reason": without_folders(_failure(job, records))} for job in jobs if job not in finished
    ]
    inputs: dict[str, Stage] = {}
    entries = []
    for job in finished:
        story, config = job.experiment, job.config
        inputs |= {
            stage.address: stage for stage in story.results if stage.name in ("dataset", "score", "select", "train")
        }
        entries.append(
            report.ReportJob(
                label=job.label,
                row=rows[job.label],
                seed=config.seed,
                model=config.model.name,
                dataset=config.dataset.name,
                target=config.dataset.target,
                scores={task: stage.address for task, stage in story.scores.items()},
                seed_scores={task: stage.address for task, stage in story.seed_scores.items()},
                data=story.dataset.address if story.dataset else None,
                engine=config.generation.name,
                select=story.select.address if story.select else None,
                train=story.train.address if story.train else None,
            )
        )
    return report.stage(title, tuple(entries), inputs, tuple(failed), jobs[0].config)


def _rows(jobs: Sequence[Job]) -> dict[str, dict[str, Any]]:
    """For each job what names its row in the table: the keys of `_ROW`, and others that vary where those are equal.

    What only follows from an option (a data set's epochs) is told by the option's name already.
    """
    flat = {job.label: dict(_flatten(job.config.model_dump(mode="json"))) for job in jobs}
    named = {label: tuple(values[key] for key in _ROW) for label, values in flat.items()}
    seen: dict[tuple[str, tuple[Any, ...]], str] = {}
    extra = set()
    for label, values in flat.items():
        for key, value in values.items():
            if key not in _ROW and not key.startswith(_NOT_A_ROW):
                known = seen.setdefault((key, named[label]), str(value))
                if known != str(value):
                    extra.add(key)
    telling_keys = _without_followers(sorted(extra), flat)
    return {
        label: {key.removesuffix(".name"): values[key] for key in [*_ROW, *telling_keys] if key in values}
        for label, values in flat.items()
    }


def _without_followers(keys: Sequence[str], flat: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """`keys` without those that repeat another of the same last name (tuning.epochs follows dataset.epochs)."""
    kept: dict[tuple[str, ...], str] = {}
    for key in keys:
        kept.setdefault((key.rpartition(".")[2], *(str(values.get(key)) for values in flat.values())), key)
    return list(kept.values())


def _flatten(values: Mapping[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    found: list[tuple[str, Any]] = []
    for name, value in values.items():
        found += _flatten(value, f"{prefix}{name}.") if isinstance(value, Mapping) else [(prefix + name, value)]
    return found


def _write_stages(folder: Path, planned: Plan, records: Mapping[str, Record]) -> None:
    """One line a stage, inputs before the stages that take them, the report last."""
    order = [address for address in planned.nodes if address in records]
    order += [address for address in records if address not in planned.nodes]
    lines = [redact(records[address].as_json(), os.environ) for address in order]
    (folder / "stages.json").write_text(json.dumps(lines, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def _print_tracebacks(records: Mapping[str, Record], store: Store, console: Console) -> None:
    for record in records.values():
        path = traceback_path(store, record.stage)
        if record.status == "failed" and path.is_file():
            console.print(f"{record.stage.name} failed; its traceback: {path}", markup=False, soft_wrap=True)


def _leave_results(
    folder: Path, jobs: Sequence[Job], finished: Sequence[Job], table: Stage, store: Store
) -> dict[str, Any] | None:
    """Copy the report into `folder`, and beside it each finished job's config, adapter or model, and model card.

    What an earlier command of the same name left is taken away first.
    """
    for name in (*_REPORTS, "config.yaml", "README.md"):
        (folder / name).unlink(missing_ok=True)
    for name in (ADAPTER, MODEL, "merged", "jobs"):
        shutil.rmtree(folder / name, ignore_errors=True)
    made = store.path(table.address)
    if not made.is_dir():
        return None
    for name in _REPORTS:
        shutil.copyfile(made / name, folder / name)
    summary: dict[str, Any] = json.loads((made / "summary.json").read_text(encoding="utf-8"))
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


def _tracked(job: Job, title: str, store: Store) -> TrackedRun:
    story = job.experiment
    return TrackedRun(
        key=story.key[:16],
        name=job.label,
        group=title,
        config=job.config.model_dump(mode="json"),
        curve=str(store.path(story.train.address) / "curve.jsonl") if story.train else None,
        scores={task: str(store.path(stage.address) / "scores.json") for task, stage in story.scores.items()},
        seed_scores={task: str(store.path(stage.address) / "scores.json") for task, stage in story.seed_scores.items()},
    )


def _warn_of_versions(planned: Plan, store: Store, console: Console) -> None:
    differing: dict[str, int] = {}
    for address, node in planned.nodes.items():
        if node.hit:
            for difference in version_differences(store.manifest(address)):
                differing[difference] = differing.get(difference, 0) + 1
    for difference, count in sorted(differing.items()):
        console.print(
            f"warning: {count} artifacts are reused across library versions ({difference}); "
            "paths.strict_versions=true makes them again",
            markup=False,
            soft_wrap=True,
        )
