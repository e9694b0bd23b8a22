"""What stands in the way of a training on this machine, told in the plan and before a run. Imports no torch."""

from __future__ import annotations

import functools
import importlib.util
import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from sdft_exp.config import RunConfig
from sdft_exp.data.cost import row_tokens
from sdft_exp.estimate import gpus_of, training_bytes, training_gpus
from sdft_exp.models.shape import shape_of
from sdft_exp.processes import cuda_devices
from sdft_exp.stage import Cost, Stage
from sdft_exp.training.zero import CHOICES

NEEDS = "training needs about"  # so begins what `obstacle` says of memory


def obstacle(config: RunConfig, dataset: Stage, cost: Cost) -> str:
    """One line for a person, or "": what the training of `cost` on the rows of `dataset` lacks here."""
    chosen, nodes, gpus = config.tuning.deepspeed, config.launch.nodes, training_gpus(config)
    here = len(cuda_devices()) if gpus_of(config) else 0
    if chosen is not None and importlib.util.find_spec("deepspeed") is None:
        install = "pip install -c constraints.txt -e '.[deepspeed]'"
        return f"tuning.deepspeed={chosen}: DeepSpeed is not installed; {install}"
    room = _room(config)
    if cost.memory is not None and room is not None and cost.memory > room:
        what = "a GPU" if gpus_of(config) else "a process"
        return f"{NEEDS} {_gb(cost.memory)} GB {what} and there are {_gb(room)}; {_way_out(config, dataset)}"
    if nodes > 1 and "SLURM_JOB_ID" not in os.environ:
        return f"launch.nodes={nodes}: this is no Slurm job; start it in one, sbatch --nodes={nodes}"
    if here and gpus > here:
        return f"launch.gpus={gpus}: this machine has {here}; set launch.gpus={here}"
    return ""


def lacking_memory(stage: Stage, device: str) -> str:
    """One line, or "": that the machine at which a job of a cluster has come to run has too little for its training.

    Args:
        device: `launch.device`.
    """
    if stage.name != "train" or stage.cost.memory is None:
        return ""
    on_gpu = device != "cpu" and bool(cuda_devices())
    room = _gpu_memory() if on_gpu else _job_memory()
    if room is None or stage.cost.memory <= (own := room if on_gpu else room // stage.gpus):
        return ""
    what = "a GPU" if on_gpu else "a process"
    wanted = "hydra.launcher.constraint" if on_gpu else "hydra.launcher.memory"
    return f"{NEEDS} {_gb(stage.cost.memory)} GB {what} and this node has {_gb(own)}; ask for another by {wanted}"


def _job_memory() -> int | None:
    """What is free of the host, and no more than Slurm has given the job."""
    given = os.environ.get("SLURM_MEM_PER_NODE")  # in MiB
    known = [room for room in (_free_memory(), int(given) * 2**20 if given else None) if room is not None]
    return min(known, default=None)


def _room(config: RunConfig) -> int | None:
    """Bytes that one process of the training may take; None where nothing tells it."""
    if config.launch.memory is not None:
        return round(config.launch.memory * 1e9)
    if gpus_of(config):
        return _gpu_memory()
    free = _free_memory()
    return None if free is None else free // training_gpus(config)


@functools.cache
def _gpu_memory() -> int | None:
    """Of the smallest GPU, by the driver's own tool."""
    asked = ["nvidia-smi", "--query-gpu=memory.total", "--format=csv,noheader,nounits"]
    try:
        told = subprocess.run(asked, capture_output=True, text=True, timeout=20).stdout.split()
        return min(int(mebibytes) for mebibytes in told) * 2**20
    except (OSError, ValueError, subprocess.TimeoutExpired):
        return None


def _free_memory() -> int | None:
    """Of the host, or what its control group leaves of it."""
    try:
        meminfo = Path("/proc/meminfo").read_text(encoding="ascii")
    except OSError:
        return None
    free = 1024 * int(re.findall(r"MemAvailable:\s+(\d+) kB", meminfo)[0])
    try:
        limit = Path("/sys/fs/cgroup/memory.max").read_text(encoding="ascii").strip()
        used = Path("/sys/fs/cgroup/memory.current").read_text(encoding="ascii")
    except OSError:
        return free
    return free if limit == "max" else min(free, int(limit) - int(used))


def _way_out(config: RunConfig, dataset: Stage) -> str:
    """The first change of settings that would fit, or that none does."""
    shape, tokens = shape_of(config.model), row_tokens(dataset.params, config)
    assert shape is not None and tokens is not None  # or there would be no estimate
    for told, tuning, launch in _changes(config, tokens.longest, gpus_of(config)):
        changed = config.model_copy(
            update={
                "tuning": config.tuning.model_copy(update=tuning),
                "launch": config.launch.model_copy(update=launch),
            }
        )
        needed, room = training_bytes(changed, shape, tokens.longest), _room(changed)
        if needed is not None and room is not None and needed <= room:
            return f"{told} would take {_gb(needed)}"
    return "tuning=lora takes less" if config.tuning.name == "full" else "take a smaller model, or lower dataset.cutoff"


def _changes(config: RunConfig, longest: int, gpus: int) -> Iterator[tuple[str, dict[str, Any], dict[str, Any]]]:
    """What to type, and the settings of tuning and of launch that it changes; the smallest change first."""
    budget = config.tuning.micro_batch_tokens // 2
    while budget >= longest:
        yield f"tuning.micro_batch_tokens={budget}", {"micro_batch_tokens": budget}, {}
        budget //= 2
    for choice in CHOICES if gpus else ():
        yield (
            f"tuning.deepspeed={choice} launch.gpus={gpus}",
            {"deepspeed": choice, "micro_batch_tokens": max(longest, budget)},
            {"gpus": gpus},
        )


def _gb(count: int) -> str:
    return f"{count / 1e9:.2g}" if count < 1e10 else f"{count / 1e9:.0f}"
