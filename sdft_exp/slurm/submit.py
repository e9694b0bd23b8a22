"""Hands a sweep to Slurm: the graph of its missing stages, each once, and a last job that writes the report.

The same command again, or `python -m sdft_exp.sweep resume`, submits what is missing by then and not in the queue.
"""

from __future__ import annotations

import contextlib
import io
import os
import shlex
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from omegaconf import DictConfig
from rich.console import Console

from sdft_exp.config import LaunchConfig
from sdft_exp.errors import ConfigError, UserError
from sdft_exp.execute import execute
from sdft_exp.jobs import Job as RunJob
from sdft_exp.jobs import flatten
from sdft_exp.plan import plan_table
from sdft_exp.results import writing
from sdft_exp.run import Sweep, begin, finish, plan_jobs
from sdft_exp.slurm import queue
from sdft_exp.slurm.graph import LIGHT, Array, Job, arrays_of, graph_table, jobs_of
from sdft_exp.slurm.job import Terms, make_stages, write_report
from sdft_exp.slurm.settings import SlurmConfig, slurm_config
from sdft_exp.slurm.state import Ledger, Submitted, read_ledger
from sdft_exp.stopping import deferred, hangups
from sdft_exp.store import Store
from sdft_exp.training.obstacles import NEEDS
from sdft_exp.verbose import VARIABLE, verbose

_CHECKOUT = Path(__file__).resolve().parents[2]
_REPORT = "report"
_SLACK = 10  # seconds of the signal's that are left for going back into the queue


def submit_jobs(
    composed: Sequence[DictConfig],
    overrides: Sequence[Sequence[str]],
    folder: Path,
    launcher: Mapping[str, Any],
    command: Sequence[str],
) -> int:
    """Judge, plan and submit the jobs of a sweep; returns the exit code.

    `launcher` is its settings, and `command` the words behind main.py, for resuming.

    Raises:
        UserError: a mistake in any job's config or in the launcher's; what Slurm refused, and nothing stays submitted;
            results that cannot be written.
    """
    settings = slurm_config(launcher)
    sweep = replace(plan_jobs(composed, overrides, folder), folder=folder.absolute())
    _check_addresses(sweep.jobs)
    _check_processes(sweep.config.launch, any(job.config.tuning.deepspeed for job in sweep.jobs), settings)
    ledger = read_ledger(sweep.folder) or Ledger("")
    if sweep.config.plan:
        jobs = jobs_of(sweep.planned.missing, ledger.live(queue.in_queue()) if ledger.jobs else {})
        print(plan_table(sweep.planned, sweep.config.launch.assume))
        print(graph_table(jobs, arrays_of(jobs)))
        return 0
    queue.check_slurm()
    queued = queue.settled()
    store = Store(Path(sweep.config.paths.store).expanduser().absolute())
    console = begin(sweep, store)
    if not sweep.planned.missing:
        hits = partial(execute, sweep.planned, store, workers=1, jobs=1, device="cpu")
        return finish(sweep, store, console, lambda tell: hits(tell=tell))
    for obstacle in sweep.planned.obstacles:
        if obstacle.startswith(NEEDS) and sweep.config.launch.memory is not None:  # told for the nodes
            raise ConfigError(obstacle)
        if not obstacle.startswith(("launch.", NEEDS)):  # of the machine that we are on; the jobs run on another
            _say(console, f"warning: on this machine {obstacle}")
    live = ledger.live(queued)
    jobs = jobs_of(sweep.planned.missing, live)
    if jobs or ledger.report not in queued:
        ledger.command, ledger.cwd = list(command), str(Path.cwd())
        _submit(sweep, store, jobs, ledger, queued, settings, console)
    else:
        _say(console, "nothing to submit: what is missing is in the queue")
    _say(console, f"how it stands: python -m sdft_exp.sweep status {_for_shell(folder)}")
    return 0


def _check_addresses(jobs: Sequence[RunJob]) -> None:
    """Raise ConfigError for a server's address with a password in it: the jobs lie in files that show it."""
    for job in jobs:
        for key, value in flatten(job.config.model_dump(mode="json")):
            if key.endswith(".base_url") and value and "@" in value.partition("://")[2].partition("/")[0]:
                raise ConfigError(
                    f"{key}: a Slurm job would leave the user and password in it in files; put a key into the "
                    f"environment and name its variable, {key.removesuffix('base_url')}key_variable=NAME"
                )


def _check_processes(launch: LaunchConfig, deepspeed: bool, settings: SlurmConfig) -> None:
    """Raise ConfigError for trainings of more processes than their jobs have room for."""
    asked = settings.resources("train")
    if deepspeed and asked["gpus"] and launch.gpus is None:
        raise ConfigError(
            "launch.gpus: is counted on this machine where it is not set, and the jobs run on another; "
            f"set launch.gpus={asked['gpus']}"
        )
    for name, wanted in (("nodes", launch.nodes), ("gpus", launch.gpus)):
        if wanted and asked[name] and wanted > asked[name]:
            raise ConfigError(
                f"launch.{name}={wanted}: the jobs that train ask for {asked[name]}; "
                f"set hydra.launcher.stages.train.{name}={wanted}"
            )


def _submit(
    sweep: Sweep,
    store: Store,
    jobs: Sequence[Job],
    ledger: Ledger,
    queued: Mapping[str, queue.Queued],
    settings: SlurmConfig,
    console: Console,
) -> None:
    """Submit `jobs` and the report behind them, or, when Slurm refuses one or a signal comes, nothing.

    Each array is in the ledger before the next is submitted, so that `cancel` finds it whatever ends this process.
    """
    for address, node in sweep.planned.nodes.items():
        if node.hit:
            store.touch(address)
    for name in [name for name in os.environ if name.startswith("SLURM_ARRAY_") or name == "SLURM_RESTART_COUNT"]:
        del os.environ[name]  # of the job that we may be in: jobs that we submit would take them for their own
    arrays = arrays_of(jobs)
    ids: dict[int, str] = {}
    last_report = ledger.report
    _renew(ledger, sweep, store, queued)
    known = len(ledger.jobs)
    try:
        with hangups():
            for array in arrays:
                with deferred(), writing(sweep.folder):
                    ids |= _submit_array(sweep, store, array, jobs, ids, ledger, settings)
            with deferred(), writing(sweep.folder):
                ahead = {_base(one) for one in [*ids.values(), *ledger.live(queued).values()]}
                _submit_report(sweep, store, ahead, ledger, settings)
                if last_report in queued:
                    queue.cancel([last_report])
    except BaseException as stop:
        new = {_base(job.id) for job in ledger.jobs[known:]} | ({ledger.report} - {last_report})
        _take_back(new, stop, sweep.folder)
        raise
    _say(console, graph_table(jobs, arrays))
    _say(console, f"submitted {len(jobs) + 1} jobs; the report is job {ledger.report}")


def _renew(ledger: Ledger, sweep: Sweep, store: Store, queued: Mapping[str, queue.Queued]) -> None:
    """Put the stages of this sweep into the ledger; of an earlier one of that name stays what is in the queue."""
    planned = {
        address: {"label": node.stage.label, "inputs": [one.address for one in node.stage.inputs.values()]}
        for address, node in sweep.planned.nodes.items()
    }
    live = ledger.live(queued)
    ledger.store = str(store.root)
    ledger.stages = planned | {address: told for address, told in ledger.stages.items() if address in live}
    ledger.jobs = [job for job in ledger.jobs if job.id in queued or set(job.stages) & set(ledger.stages)]
    if ledger.report in queued:
        ledger.jobs.append(Submitted(ledger.report, _REPORT, [], []))


def _submit_array(
    sweep: Sweep,
    store: Store,
    array: Array,
    jobs: Sequence[Job],
    ids: Mapping[int, str],
    ledger: Ledger,
    settings: SlurmConfig,
) -> dict[int, str]:
    """Submit an array and write it down; returns the ids of its jobs by their positions in `jobs`."""
    members = array.of(jobs)
    after = sorted({ids[one] for one in members[0].after} | members[0].after_submitted)
    calls = [(make_stages, tuple(job.stages), _terms(sweep, store, settings)) for job in members]
    taken = _sbatch(sweep, settings, members[0].kind, _dependency("afterok", after), calls)
    ledger.jobs += [
        Submitted(one, job.label, [stage.address for stage in job.stages], after)
        for one, job in zip(taken, members, strict=True)
    ]
    ledger.save(sweep.folder)
    return dict(zip(array.jobs, taken, strict=True))


def _submit_report(sweep: Sweep, store: Store, ahead: set[str], ledger: Ledger, settings: SlurmConfig) -> None:
    """Submit the report behind the jobs `ahead`, and write it down."""
    call = (write_report, sweep, _terms(sweep, store, settings))
    dependency = _dependency("afterany", sorted(ahead, key=int))
    (ledger.report,) = _sbatch(sweep, settings, _REPORT, dependency, [call])
    ledger.save(sweep.folder)


def _terms(sweep: Sweep, store: Store, settings: SlurmConfig) -> Terms:
    return Terms(
        sweep=sweep.folder,
        store=store.root,
        device=sweep.config.launch.device,
        max_requeues=settings.max_requeues,
        patience=max(1.0, settings.signal_seconds - _SLACK),
    )


def _take_back(submitted: set[str], stop: BaseException, folder: Path) -> None:
    """Cancel what was submitted until `stop` came; the ledger goes on knowing of it, should Slurm not do it."""
    try:
        queue.cancel(submitted)
    except UserError as error:
        raise UserError(
            f"{stop}; the jobs submitted before could not be cancelled ({error}): "
            f"python -m sdft_exp.sweep cancel {_for_shell(folder)}"
        ) from stop


def _sbatch(
    sweep: Sweep,
    settings: SlurmConfig,
    name: str,
    dependency: str | None,
    calls: Sequence[tuple[Any, ...]],
) -> list[str]:
    """Submit calls as one job, or one array, of the kind `name`; returns an id a call.

    Raises:
        UserError: what sbatch said.
    """
    try:
        from submitit import SlurmExecutor
        from submitit.core.utils import FailedJobError
    except ModuleNotFoundError:
        raise UserError("hydra/launcher=slurm: submitit is missing; pip install 'sdft_exp[slurm]'") from None
    logs = sweep.folder / "slurm" / "logs"
    asks = settings.resources(LIGHT if name == _REPORT else name)
    executor = SlurmExecutor(logs)
    executor.update_parameters(
        job_name=f"{sweep.title[:40]}:{name}",
        account=settings.account,
        **{name: asks[name] for name in ("partition", "qos", "constraint", "time", "nodes")},
        ntasks_per_node=1,
        cpus_per_task=asks["cpus"],
        gpus_per_node=asks["gpus"] or None,
        **({} if asks["memory"] is None else {"mem_gb": asks["memory"]}),
        dependency=dependency,
        array_parallelism=settings.array_parallelism,
        setup=_setup(settings, logs),
        wckey=None,
        use_srun=False,
        additional_parameters={
            "signal": f"B:USR2@{settings.signal_seconds}",
            "requeue": True,
            "kill-on-invalid-dep": "yes",
            **{name: value or True for name, _, value in (option.partition("=") for option in settings.options)},
        },
    )
    try:
        with contextlib.redirect_stderr(io.StringIO()), executor.batch():  # submitit prints what it raises
            submitted = [executor.submit(*call) for call in calls]
    except FailedJobError as error:
        said = [line.strip().removeprefix("sbatch: error: ") for line in str(error).splitlines() if line.strip()]
        raise UserError(f"Slurm takes no {name} job: {'; '.join(said) or 'sbatch failed'}") from None
    return [job.job_id for job in submitted]


def _setup(settings: SlurmConfig, logs: Path) -> list[str]:
    """The lines of the job's script up to the program itself, which takes the shell's place.

    So the signal reaches the program and not a shell that would hold it back, and one that comes before the program
    listens does not end it. submitit's own last line starts a child of the shell; it is never reached.
    """
    path = [str(_CHECKOUT), *filter(None, [os.environ.get("PYTHONPATH")])]
    return [
        "trap '' USR1 USR2",
        *settings.setup,
        f"export PYTHONPATH={shlex.quote(os.pathsep.join(path))}",
        *([f"export {VARIABLE}=1"] if verbose() else []),  # clusters may hand no environment on
        "export SUBMITIT_EXECUTOR=slurm",
        shlex.join(["exec", sys.executable, "-u", "-m", "submitit.core._submit", str(logs)]),
    ]


def _dependency(kind: str, ids: Iterable[str]) -> str | None:
    joined = ":".join(ids)
    return f"{kind}:{joined}" if joined else None


def _base(job: str) -> str:
    """The id of the whole array."""
    return job.partition("_")[0]


def _for_shell(folder: Path) -> str:
    return shlex.quote(str(folder))


def _say(console: Console, text: str) -> None:
    console.print(text, markup=False, highlight=False, soft_wrap=True)
