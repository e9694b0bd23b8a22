"""The faults, one function each: it disturbs whole runs of `main.py` and says how they ended.

Whatever happened, the end is the undisturbed run's: every file of every artifact, and the summary, byte for byte. A
fault that a run cannot live with must be told in one line, leave a store that `verify` calls clean, and once it is gone
the same command must come to that end.
"""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import time
from collections.abc import Callable

from tests.chaos.machine import (
    Clock,
    NotHere,
    children,
    fill,
    kill,
    mounted_on_itself,
    on_another_host,
    remount,
    running_with,
    tmpfs,
    until,
)
from tests.chaos.trial import Results, Running, Trial
from tests.local_slurm import NoSlurm, local_slurm

TRAINING = "train-*/checkpoints/*/whole.json"
THEN = "; then the same result"

Fault = Callable[[Trial, Results], str]


def kill_main(trial: Trial, undisturbed: Results) -> str:
    """kill -9 of the main process at a random moment: its workers have to notice."""
    while True:
        running = trial.start()
        time.sleep(random.uniform(1, 12))
        killed = kill(running.pid)
        running.end()
        if killed:
            return "killed" + _then(trial, undisturbed)
        trial.begin_again()  # it was faster


def kill_training(trial: Trial, undisturbed: Results) -> str:
    """kill -9 of the process that trains, between two checkpoints."""
    running = trial.start()
    until(lambda: trial.at_work_on(TRAINING))
    (worker,) = children(running.pid)
    os.kill(worker, signal.SIGKILL)
    return _told(trial, running, "train: its worker was killed by signal 9") + _then(trial, undisturbed)


def kill_rank(trial: Trial, undisturbed: Results) -> str:
    """kill -9 of one of two ranks that train every weight under DeepSpeed."""
    zero = ["tuning=full", "tuning.deepspeed=zero2", "launch.device=cpu", "launch.gpus=2"]
    alone = Trial.at(trial.folder / "alone")
    ended = alone.start(alone.command(*zero)).end()
    assert ended.code == 0, ended.out + ended.err
    running = trial.start(trial.command(*zero))
    until(lambda: trial.at_work_on(TRAINING))
    os.kill(running_with("sdft_exp.training.rank", str(trial.store))[-1], signal.SIGKILL)
    told = _told(trial, running, "was killed by signal 9")
    trial.right(trial.start(trial.command(*zero)).end(), alone.results())
    return told + THEN


def kill_generation_worker(trial: Trial, undisturbed: Results) -> str:
    """kill -9 of one of two processes that generate."""
    running = trial.start(trial.command("generation.workers=2"))
    until(lambda: any(len(children(worker)) == 2 for worker in children(running.pid)))
    (worker,) = children(running.pid)
    victim = children(worker)[0]
    os.kill(victim, signal.SIGSTOP)  # so that it has not finished when the other one has written something
    until(lambda: trial.at_work_on("distill-*/journal.jsonl.shard-001"))
    os.kill(victim, signal.SIGKILL)
    told = _told(trial, running, "one of its processes was killed by signal 9")
    return told + _then(trial, undisturbed)


def terminate(trial: Trial, undisturbed: Results) -> str:
    """SIGTERM to the main process during training: what can be saved is saved first."""
    return _stopped(trial, undisturbed, os.kill)


def terminate_all(trial: Trial, undisturbed: Results) -> str:
    """SIGTERM to all processes at once, as a cluster sends it."""
    return _stopped(trial, undisturbed, os.killpg)


def _stopped(trial: Trial, undisturbed: Results, send: Callable[[int, int], None]) -> str:
    running = trial.start()
    until(lambda: trial.at_work_on(TRAINING))
    send(running.pid, signal.SIGTERM)
    ended = running.end()
    assert ended.code == 128 + signal.SIGTERM, ended.out + ended.err
    assert ended.err == "stopped by SIGTERM: run the same command again to go on from here\n"
    trial.verify()
    return "stopped with a line" + _then(trial, undisturbed)


def preemption(trial: Trial, undisturbed: Results) -> str:
    """The jobs of a sweep on a real Slurm, pushed aside by those of the other partition."""
    try:
        with local_slurm():
            return _preempted(trial, undisturbed)
    except NoSlurm as reason:
        raise NotHere(str(reason)) from None


def _preempted(trial: Trial, undisturbed: Results) -> str:
    ended = trial.start(trial.command("-m", "hydra/launcher=slurm")).end()
    assert ended.code == 0, ended.out + ended.err
    for _ in range(2):
        until(lambda: trial.at_work_on("*/owner.json"))
        urgent = ["sbatch", "--partition=urgent", "--exclusive", "--wait", "--output=/dev/null", "--wrap=sleep 1"]
        subprocess.run(urgent, check=True, capture_output=True, timeout=120)
    until((trial.outputs / "job" / "summary.json").exists, what="the report")
    files = (trial.outputs / "job" / "slurm" / "stages").glob("*.jsonl")
    events = [json.loads(line) for file in files for line in file.read_text().splitlines()]
    # Each stage of a job tells of it.
    preempted = {(event["job"], event["restarts"]) for event in events if event.get("why") == "preempted"}
    assert preempted, "no job was preempted"
    return trial.right(ended, undisturbed) + f" ({len(preempted)} preemptions)"


def full_disk_in_distillation(trial: Trial, undisturbed: Results) -> str:
    """A disk that somebody else fills while the seed LM rewrites."""
    return _filled(trial, undisturbed, "distill-*/owner.json", "needs distill")


def full_disk_in_training(trial: Trial, undisturbed: Results) -> str:
    """A disk that somebody else fills between two checkpoints."""
    return _filled(trial, undisturbed, TRAINING, "train:")


def _filled(trial: Trial, undisturbed: Results, at_work: str, failed: str) -> str:
    with tmpfs(trial.store, "16m"):
        running = trial.start()
        until(lambda: trial.at_work_on(at_work))
        ballast = fill(trial.store)
        told = _told(trial, running, failed, "No space left on device")
        refused = trial.run()
        assert (refused.code, refused.out) == (1, ""), "it began with no room at all"
        assert "No space left on device" in refused.error()
        ballast.unlink()
        return told + _then(trial, undisturbed)


def full_outputs(trial: Trial, undisturbed: Results) -> str:
    """No room where the results for people go: none at all from the training on, then enough for some of them."""
    with tmpfs(trial.outputs, "16m"):
        running = trial.start()
        until(lambda: trial.at_work_on(TRAINING))
        ballast = fill(trial.outputs)
        _told(trial, running, "No space left on device")
        os.truncate(ballast, ballast.stat().st_size - 60_000)  # less than the adapter takes
        told = _told(trial, trial.start(), "No space left on device")
        assert (trial.outputs / "job" / "summary.json").is_file(), "it did not come to the results"
        ballast.unlink()
        return told + _then(trial, undisturbed)


def read_only(trial: Trial, undisturbed: Results) -> str:
    """A store that nobody may write to: empty, and with everything in it."""
    with mounted_on_itself(trial.store):
        remount(trial.store, "bind,ro")
        told = _told(trial, trial.start(), "Read-only file system")
        remount(trial.store, "bind,rw")
        trial.right(trial.run(), undisturbed)
        remount(trial.store, "bind,ro")
        return f"empty: {told}; with everything in it: " + trial.right(trial.run(), undisturbed)


def read_only_midway(trial: Trial, undisturbed: Results) -> str:
    """A store that becomes read-only during the training."""
    with mounted_on_itself(trial.store):
        running = trial.start()
        until(lambda: trial.at_work_on(TRAINING))
        remount(trial.store, "bind,ro")
        told = _told(trial, running, "Read-only file system")
        remount(trial.store, "bind,rw")
        return told + _then(trial, undisturbed)


def two_writers(trial: Trial, undisturbed: Results) -> str:
    """The same command twice at once: one store, one folder of outputs."""
    first, second = trial.start(), trial.start()
    trial.right(first.end(), undisturbed)
    return trial.right(second.end(), undisturbed)


def jumping_clock(trial: Trial, undisturbed: Results) -> str:
    """A clock that jumps three days ahead and then to five days before, again and again."""
    clock = Clock(trial.folder)
    running = trial.start(env=clock.env)
    jumps = 0
    while running.process.poll() is None:
        clock.set(("+3d", "-5d")[jumps % 2])
        jumps += 1
        time.sleep(0.5)
    return trial.right(running.end(), undisturbed) + f" ({jumps} jumps)"


def lying_locks(trial: Trial, undisturbed: Results) -> str:
    """The same command on two hosts with one store, and locks that neither sees of the other."""
    hosts = {name: Trial(trial.folder, trial.store, trial.folder / name) for name in ("one", "two")}
    runs = {name: host.start(on_another_host(host.store, name, host.command())) for name, host in hosts.items()}
    ends = {name: running.end() for name, running in runs.items()}
    return ", ".join({host.right(ends[name], undisturbed) for name, host in hosts.items()})


FAULTS: dict[str, Fault] = {
    "kill -9 of the main process": kill_main,
    "kill -9 of the process that trains": kill_training,
    "kill -9 of a training rank": kill_rank,
    "kill -9 of a generation worker": kill_generation_worker,
    "SIGTERM to the main process": terminate,
    "SIGTERM to all processes": terminate_all,
    "preemption by the other partition": preemption,
    "a disk that fills up during the distillation": full_disk_in_distillation,
    "a disk that fills up during the training": full_disk_in_training,
    "a full disk under the outputs": full_outputs,
    "a read-only store": read_only,
    "a store that becomes read-only": read_only_midway,
    "two writers": two_writers,
    "a clock that jumps": jumping_clock,
    "two hosts whose locks lie": lying_locks,
}


def _told(trial: Trial, running: Running, *words: str) -> str:
    """The run failed with one line that holds all of `words`, and left a clean store."""
    ended = running.end()
    assert ended.code == 1, ended.out + ended.err
    assert all(word in ended.error() for word in words), ended.out + ended.err
    trial.verify()
    return "one clear line"


def _then(trial: Trial, undisturbed: Results) -> str:
    trial.right(trial.run(), undisturbed)
    return THEN
