"""Training in several processes, seen from the one that asked for it: freeze the work, start torchrun, wait, collect.

`torch.distributed.run` starts a process a GPU (on the CPU as many as asked), on one machine, or through `srun` on the
nodes of a Slurm allocation. When one of them dies torchrun ends the others; when we die, torchrun is ended.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from sdft_exp.data.encode import Example
from sdft_exp.errors import UserError
from sdft_exp.processes import death
from sdft_exp.stage import Progress
from sdft_exp.stopping import asked, deferred
from sdft_exp.training import checkpoints
from sdft_exp.training.work import ERROR, FOLDER, LOG, PROGRESS, RESULT, STOP, Work, write_work

_LOOK_SECONDS = 0.1
_SET_PDEATHSIG = 1  # linux/prctl.h: the signal that a process gets when its parent is gone


def train_in_processes(
    work: Work, gpus: int, nodes: int, examples: Sequence[Example], out: Path, progress: Progress
) -> dict[str, Any]:
    """Train in `gpus` processes on each of `nodes` machines; they write `adapter/` or `model/` into `out`.

    Returns:
        "curve" (see training.trainer.tune) and "trainable_parameters".

    Raises:
        UserError: a process died or met a mistake of the user's, or the checkpoint is of another number of processes.
        Stopped: a signal asked for it; there is a checkpoint of the step at which it came.
    """
    _check_resume(out / checkpoints.FOLDER, work.processes)
    folder = out / FOLDER
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    write_work(folder, work, examples)
    progress(0, 0, f"starting {work.processes} processes, each of which loads the model")
    with deferred(), (folder / LOG).open("wb") as log:
        child = subprocess.Popen(
            command(folder, gpus, nodes, os.environ, _free_port() if nodes > 1 else 0),
            env=_environment(work),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            process_group=0,  # Ctrl-C is for us: torchrun would end them before they have saved anything
            preexec_fn=_end_with_parent,
        )
        try:
            code = _wait(child, folder, progress)
        finally:
            _end(child)
    # The result is written last and in one go: how the processes went home after it changes nothing.
    if not (folder / RESULT).is_file():
        raise UserError(_failure(folder, code, work.processes))
    result: dict[str, Any] = json.loads((folder / RESULT).read_text(encoding="utf-8"))
    shutil.rmtree(folder)
    return result


def command(folder: Path, gpus: int, nodes: int, environment: Mapping[str, str], port: int) -> list[str]:
    """What starts the processes; on several nodes they meet at `port` of this one, the first of the allocation."""
    run = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", str(gpus)]
    each = ["-m", "sdft_exp.training.rank", str(folder.resolve())]
    if nodes == 1:
        return [*run, "--standalone", *each]
    here = environment.get("SLURMD_NODENAME") or socket.gethostname()
    meet = ["--nnodes", str(nodes), "--rdzv-backend", "c10d", "--rdzv-endpoint", f"{here}:{port}"]
    meet += ["--rdzv-id", environment["SLURM_JOB_ID"]]
    # --overlap: the job's own step holds the processors while it waits for this one.
    srun = ["srun", f"--nodes={nodes}", f"--ntasks={nodes}", "--ntasks-per-node=1", "--overlap", "--kill-on-bad-exit=1"]
    return [*srun, *run, *meet, *each]


def _check_resume(folder: Path, processes: int) -> None:
    begun = checkpoints.latest(folder, checkpoints.ZERO)
    if begun is not None and checkpoints.processes(begun) != processes:
        raise UserError(
            f"training: its checkpoint of step {checkpoints.steps(begun)} was left by {checkpoints.processes(begun)} "
            f"processes and cannot be continued by {processes}; set launch.gpus and launch.nodes as they were, or "
            f"remove {folder} to begin again"
        )


def _environment(work: Work) -> dict[str, str]:
    # Ours before the user's, as this process found them; torchrun says 1 itself, and prints that it does.
    path = os.pathsep.join([str(Path(__file__).parents[2]), *filter(None, [os.environ.get("PYTHONPATH")])])
    told = os.environ | {"PYTHONPATH": path, "OMP_NUM_THREADS": str(work.model.threads or 1)}
    return told | ({"DS_ACCELERATOR": "cpu"} if work.model.device == "cpu" else {})


def _end_with_parent() -> None:
    """In the new process: a cluster's warning is for those who can heed it, and our death is a reason to end."""
    for number in (signal.SIGUSR1, signal.SIGUSR2):
        signal.signal(number, signal.SIG_IGN)
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_SET_PDEATHSIG, signal.SIGTERM)


def _wait(child: subprocess.Popen[bytes], folder: Path, progress: Progress) -> int:
    told = None
    while child.poll() is None:
        if asked():
            (folder / STOP).touch()
        with contextlib.suppress(FileNotFoundError):
            done = json.loads((folder / PROGRESS).read_text(encoding="utf-8"))
            if done != told:
                progress(*done)
                told = done
        time.sleep(_LOOK_SECONDS)
    return child.returncode


def _end(child: subprocess.Popen[bytes]) -> None:
    """SIGTERM, on which torchrun ends its processes; it has half a minute before it is killed, and they with it."""
    if child.poll() is None:
        child.terminate()
        try:
            child.wait(timeout=30)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()


def _failure(folder: Path, code: int, processes: int) -> str:
    """One line: a mistake that a process named, or which one died, or the error at the end of the log."""
    for file in sorted(folder.glob(ERROR.format("*"))):
        return file.read_text(encoding="utf-8").strip()
    if code == 0:
        return "training: its processes were stopped by a signal; run the same command to go on"
    if code < 0:
        return f"training: its launcher {death(code)}"
    log = (folder / LOG).read_text(encoding="utf-8", errors="replace")
    first = log.partition("Root Cause")[2]
    rank = re.search(r"rank\s+: (\d+)", first)
    ended = re.search(r"exitcode\s+: (-?\d+)", first)
    if rank and ended and ended[1].startswith("-"):
        return f"training: process {rank[1]} of {processes} {death(int(ended[1]))}"
    errors = re.findall(r"^(?:\[rank\d+\]: )?((?:\w+\.)*\w*(?:Error|Exception)\b.*)$", log, flags=re.MULTILINE)
    why = next((error for error in errors if "ChildFailedError" not in error), f"exit code {code}")
    short = " ".join(why.split())[:300]
    return f"training: one of its {processes} processes failed: {short}; their log: {folder / LOG}"


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("", 0))
        port: int = probe.getsockname()[1]
        return port
