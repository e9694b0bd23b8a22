"""launchers/train_nodes.sbatch: a training over the nodes of a real Slurm, and what the script does with signals."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from sdft_exp.training import checkpoints
from tests.local_slurm import NoSlurm, local_slurm, state_of_slurm
from tests.recipe.conftest import ROOT, SMALL, Bench

pytestmark = pytest.mark.recipe

LAUNCHER = ROOT / "launchers" / "train_nodes.sbatch"
JOB = [*SMALL, "method=vanilla", "tuning=full", "tuning.deepspeed=zero2", "launch.device=cpu", "sweep.name=job"]
JOB += ["eval.tasks=[]", "tuning.batch_size=8"]


@pytest.fixture
def two_nodes() -> Iterator[None]:
    try:
        with local_slurm(nodes=2):
            yield
    except NoSlurm as reason:
        (pytest.fail if os.environ.get("CI") else pytest.skip)(str(reason))


def submit(bench: Bench, *overrides: str) -> str:
    """The number of the job."""
    words = ["sbatch", "--parsable", "--nodes=2", f"--output={bench.folder}/log", str(LAUNCHER), *JOB, *overrides]
    words += [f"paths.store={bench.store}", f"paths.output={bench.folder}/outputs"]
    env = bench.env | {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    return subprocess.run(words, cwd=ROOT, env=env, check=True, capture_output=True, text=True).stdout.strip()


def until(true: Callable[[], object], bench: Bench, seconds: float = 300) -> None:
    end = time.monotonic() + seconds
    while not true():
        log = bench.folder / "log"
        assert time.monotonic() < end, (log.read_text() if log.is_file() else "no log") + state_of_slurm()
        time.sleep(0.1)


def ended_well(bench: Bench, job: str) -> Callable[[], bool]:
    def ended() -> bool:
        shown = subprocess.run(["scontrol", "show", "job", job], check=True, capture_output=True, text=True).stdout
        assert "JobState=FAILED" not in shown, (bench.folder / "log").read_text()
        return "JobState=COMPLETED" in shown

    return ended


def steps_done(bench: Bench, since: float = 0.0) -> int:
    """What the training has told of its progress since that time; 0: nothing."""
    for told in bench.store.glob(".partial/train-*/ranks/progress.json"):
        with contextlib.suppress(FileNotFoundError):
            return json.loads(told.read_text())[0] if told.stat().st_mtime > since else 0
    return 0


def nodes_of(step: str) -> list[str]:
    """Where a step of a job runs, "7.0"; nowhere before it begins and after it has ended."""
    steps = ["squeue", "--steps", "-h", "-o", "%i %N"]
    told = subprocess.run(steps, check=True, capture_output=True, text=True).stdout
    found = dict(line.split() for line in told.splitlines()).get(step)
    if found is None:
        return []
    names = ["scontrol", "show", "hostnames", found]
    return subprocess.run(names, check=True, capture_output=True, text=True).stdout.split()


@pytest.mark.usefixtures("two_nodes")
def test_two_nodes_train_together(bench: Bench) -> None:
    job = submit(bench)
    until(lambda: nodes_of(f"{job}.0"), bench)
    assert len(nodes_of(f"{job}.0")) == 2  # by the real srun
    until(ended_well(bench, job), bench)
    assert bench.count()["train", "ran"] == 1


@pytest.mark.slow
@pytest.mark.usefixtures("two_nodes")
def test_signalled_it_goes_back_into_the_queue_and_on(bench: Bench) -> None:
    job = submit(bench, "tuning.epochs=200", "tuning.checkpoint_steps=100000")
    until(lambda: steps_done(bench) >= 10, bench)
    subprocess.run(["scancel", "--batch", "--signal=USR2", job], check=True)  # as a time limit sends it
    until(lambda: "stopped by SIGUSR2" in (bench.folder / "log").read_text(), bench)
    stopped = time.time()
    (attempt,) = bench.store.glob(".partial/train-*")
    kept = checkpoints.latest(attempt / checkpoints.FOLDER, checkpoints.ZERO)
    assert kept is not None
    until(lambda: steps_done(bench, stopped), bench)
    assert steps_done(bench, stopped) >= checkpoints.steps(kept) >= 10
    until(ended_well(bench, job), bench)
    shown = subprocess.run(["scontrol", "show", "job", job], check=True, capture_output=True, text=True).stdout
    assert "Restarts=1 " in shown


# In the place of main.py: it notes how it was called, and ends as main.py does when a signal comes.
PYTHON = """#!/bin/bash
echo "$@" > called
for number in 10 12 15; do trap "exit $((128 + number))" $number; done
touch started
for i in $(seq 600); do sleep 0.1 & wait $!; done
"""
SCONTROL = """#!/bin/bash
echo "$@" > asked
"""


def start(folder: Path, **env: str) -> subprocess.Popen[str]:
    """The script as Slurm would start it in `folder`, with nothing real behind it."""
    for name, content in (("python", PYTHON), ("scontrol", SCONTROL)):
        (folder / name).write_text(content)
        (folder / name).chmod(0o755)
    known = {"PATH": f"{folder}:{os.environ['PATH']}", "SLURM_JOB_ID": "7", "SLURM_JOB_NUM_NODES": "2"}
    words = [str(LAUNCHER), "tuning.deepspeed=zero2"]
    return subprocess.Popen(words, cwd=folder, env=os.environ | known | env, stderr=subprocess.PIPE, text=True)


def signalled(folder: Path, number: int, **env: str) -> tuple[int, str]:
    """Exit code and what it said."""
    (folder / "main.py").touch()
    running = start(folder, **env)
    while not (folder / "started").exists():
        time.sleep(0.01)
    running.send_signal(number)
    said = running.communicate(timeout=60)[1]
    return running.returncode, said


def test_the_job_says_what_it_has(tmp_path: Path) -> None:
    signalled(tmp_path, signal.SIGTERM, SLURM_GPUS_ON_NODE="4")
    called = (tmp_path / "called").read_text().split()
    assert called[0] == "main.py" and called[-1] == "tuning.deepspeed=zero2"
    assert {"launch.nodes=2", "launch.gpus=4"} < set(called)


@pytest.mark.parametrize("number", [signal.SIGUSR1, signal.SIGUSR2])
def test_asked_to_give_way_it_requeues_itself_when_all_has_ended(number: int, tmp_path: Path) -> None:
    assert signalled(tmp_path, number, SLURM_RESTART_COUNT="2") == (128 + number, "")
    assert (tmp_path / "asked").read_text() == "requeue 7\n"


def test_what_slurm_ends_is_not_requeued(tmp_path: Path) -> None:
    assert signalled(tmp_path, signal.SIGTERM) == (128 + signal.SIGTERM, "")
    assert not (tmp_path / "asked").exists()


def test_requeues_have_a_limit(tmp_path: Path) -> None:
    code, said = signalled(tmp_path, signal.SIGUSR2, SLURM_RESTART_COUNT="3", SDFT_MAX_REQUEUES="3")
    assert code == 128 + signal.SIGUSR2
    assert said == "error: stopped by a signal after 3 requeues (SDFT_MAX_REQUEUES=3); sbatch the same to go on\n"
    assert not (tmp_path / "asked").exists()


@pytest.mark.parametrize(
    "env, reason",
    [({}, "there is no main.py in"), ({"SLURM_JOB_ID": ""}, "is for Slurm"), ({"SDFT_MAX_REQUEUES": "x"}, "no number")],
)
def test_a_mistake_is_one_line(env: dict[str, str], reason: str, tmp_path: Path) -> None:
    if "SDFT_MAX_REQUEUES" in env:
        (tmp_path / "main.py").touch()
    running = start(tmp_path, **env)
    said = running.communicate(timeout=60)[1]
    assert running.returncode == 2
    assert said.startswith("error: ") and reason in said and said.count("\n") == 1
