"""What is refused before anything is submitted, and what stays known of a submission that ends early.

Slurm is made up here; submitting to a real one is tried in tests/recipe.
"""

from __future__ import annotations

import errno
import os
import signal
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml
from hydra import compose, initialize_config_dir

from sdft_exp.compose import CONF, register_resolvers
from sdft_exp.errors import ConfigError, UserError
from sdft_exp.slurm import queue, submit
from sdft_exp.slurm.queue import Queued
from sdft_exp.slurm.state import Ledger, read_ledger
from sdft_exp.slurm.submit import submit_jobs
from sdft_exp.stopping import Stopped

ZERO = ["tuning.deepspeed=zero2", "plan=true"]


@pytest.mark.parametrize(
    ("overrides", "train", "message"),
    [
        (ZERO, {"gpus": 8}, r"^launch\.gpus: is counted on this machine .*; set launch\.gpus=8$"),
        (
            [*ZERO, "launch.gpus=4"],
            {"gpus": 2},
            r"^launch\.gpus=4: the jobs that train ask for 2; set hydra\.launcher\.stages\.train\.gpus=4$",
        ),
        (
            [*ZERO, "launch.gpus=4", "launch.nodes=2"],
            {"gpus": 4},
            r"^launch\.nodes=2: the jobs that train ask for 1; set hydra\.launcher\.stages\.train\.nodes=2$",
        ),
    ],
)
def test_a_training_of_more_processes_than_its_job_has_room_for(
    overrides: list[str], train: dict[str, int], message: str, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match=message):
        submit_sweep(tmp_path, overrides, **train)


def test_a_training_that_the_nodes_have_no_room_for(slurm: Slurm, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"^training needs about .* GB a GPU and there are 0\.01; "):
        submit_sweep(tmp_path, [*RUN, "launch.device=cuda", "launch.memory=0.01"], gpus=1)
    assert slurm.arrays == []


@pytest.mark.parametrize(
    ("overrides", "key"),
    [
        (["generation=openai", "generation.base_url=http://me:hunter2@host/v1", "eval=none"], "generation"),
        (["eval.judge.base_url=http://hunter2@host/v1"], "eval.judge"),
    ],
)
def test_a_password_in_an_address_comes_into_no_file(overrides: list[str], key: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as refused:
        submit_sweep(tmp_path, [*overrides, "plan=true"])
    assert str(refused.value) == (
        f"{key}.base_url: a Slurm job would leave the user and password in it in files; put a key into the "
        f"environment and name its variable, {key}.key_variable=NAME"
    )


def submit_sweep(folder: Path, overrides: list[str], **train: int) -> int:
    """Submit a sweep of one run; `train` is what its training asks for."""
    register_resolvers()
    launcher = yaml.safe_load((CONF / "hydra" / "launcher" / "slurm.yaml").read_text(encoding="utf-8"))
    launcher.pop("_target_")
    launcher["stages"]["train"] |= train
    with initialize_config_dir(str(CONF), version_base="1.3"):
        composed = compose("config", [*overrides, f"paths.store={folder}/store"], return_hydra_config=True)
    return submit_jobs([composed], [overrides], folder / "sweep", launcher, overrides)


class Slurm:
    """One that takes every job and gives the ids 1, 2, 3, ...; `then` is called with an array's id, for mischief."""

    def __init__(self, sweep: Path) -> None:
        self.sweep = sweep
        self.arrays: list[str] = []
        self.queue: dict[str, Queued] = {}
        self.cancelled: list[str] = []
        self.then: Callable[[str], object] = lambda array: None

    def sbatch(self, sweep: Any, settings: Any, kind: str, dependency: Any, calls: Sequence[Any]) -> list[str]:
        array = str(len(self.arrays) + 1)
        self.arrays.append(array)
        taken = [array] if len(calls) == 1 else [f"{array}_{task}" for task in range(len(calls))]
        self.queue |= {one: Queued(one, "PENDING", "None") for one in taken}
        self.then(array)
        return taken

    @property
    def known(self) -> set[str]:
        """The arrays that the ledger on disk names."""
        ledger = read_ledger(self.sweep)
        return set() if ledger is None else {job.id.partition("_")[0] for job in ledger.jobs} | {ledger.report} - {""}


@pytest.fixture
def slurm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Slurm:
    made = Slurm(tmp_path / "sweep")
    monkeypatch.setattr(submit, "_sbatch", made.sbatch)
    monkeypatch.setattr(queue, "check_slurm", lambda: None)
    monkeypatch.setattr(queue, "settled", lambda: dict(made.queue))
    monkeypatch.setattr(queue, "cancel", made.cancelled.extend)
    return made


@pytest.fixture(autouse=True)
def _a_terminal() -> Iterator[None]:
    """A hang-up ends this process, whatever the tests themselves were started with."""
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGHUP, before)


RUN = ["dataset.size=20", "eval.tasks=[micro_math]", "tracker=none"]


def test_what_is_submitted_is_known_before_the_next_is(slurm: Slurm, tmp_path: Path) -> None:
    """kill -9 can come at any moment."""
    known: list[set[str]] = []
    slurm.then = lambda array: known.append(slurm.known)
    submit_sweep(tmp_path, RUN)
    assert len(known) > 3
    assert known == [set(slurm.arrays[:count]) for count in range(len(known))]
    assert slurm.known == set(slurm.arrays)
    assert slurm.cancelled == []


def refuse(*arguments: Any) -> None:
    raise UserError("Slurm has gone")


def hang_up(array: str) -> None:
    if array == "2":
        os.kill(os.getpid(), signal.SIGHUP)


@pytest.mark.usefixtures("listening")
def test_a_dropped_terminal_takes_back_what_was_submitted(slurm: Slurm, tmp_path: Path) -> None:
    slurm.then = hang_up
    with pytest.raises(Stopped):
        submit_sweep(tmp_path, RUN)
    assert signal.getsignal(signal.SIGHUP) is signal.SIG_DFL
    assert set(slurm.cancelled) == slurm.known == set(slurm.arrays) == {"1", "2"}


@pytest.mark.usefixtures("listening")
def test_one_that_ignores_its_terminal_goes_on(slurm: Slurm, tmp_path: Path) -> None:
    """nohup python main.py ..."""
    slurm.then = hang_up
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    assert submit_sweep(tmp_path, RUN) == 0
    assert slurm.cancelled == []


def test_a_ledger_that_finds_no_room_takes_back_what_was_submitted(
    slurm: Slurm, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def save(ledger: Ledger, sweep: Path) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Ledger, "save", save)
    with pytest.raises(UserError, match=r"^paths\.output=.*: cannot be written \(No space left on device\)"):
        submit_sweep(tmp_path, RUN)
    assert slurm.cancelled == slurm.arrays == ["1"]


@pytest.mark.usefixtures("listening")
def test_jobs_that_cannot_be_taken_back_stay_known(
    slurm: Slurm, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    slurm.then = hang_up
    monkeypatch.setattr(queue, "cancel", refuse)
    with pytest.raises(UserError, match=r"SIGHUP; .* \(Slurm has gone\): python -m sdft_exp\.sweep cancel .*sweep$"):
        submit_sweep(tmp_path, RUN)
    assert slurm.known == {"1", "2"}


def test_a_last_report_that_cannot_be_cancelled_leaves_no_unknown_job(
    slurm: Slurm, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    submit_sweep(tmp_path, RUN)
    monkeypatch.setattr(queue, "cancel", refuse)
    with pytest.raises(UserError, match="Slurm has gone"):
        submit_sweep(tmp_path, [*RUN, "seed=1"])
    assert slurm.known == set(slurm.arrays)


def test_jobs_of_another_grid_of_that_name_stay_known_while_they_are_in_the_queue(slurm: Slurm, tmp_path: Path) -> None:
    submit_sweep(tmp_path, RUN)
    jobs = set(slurm.arrays[:-1])
    submit_sweep(tmp_path, [*RUN, "seed=7"])
    assert slurm.cancelled == [str(len(jobs) + 1)]  # the report of the first
    assert slurm.known >= jobs
    slurm.queue.clear()
    submit_sweep(tmp_path, [*RUN, "seed=8"])
    ended = {stage for stage in (read_ledger(slurm.sweep) or Ledger("")).stages if stage.startswith("train/")}
    assert len(ended) == 1
