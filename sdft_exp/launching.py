"""What our Hydra launchers share: every job of a sweep is composed before the first is judged, let alone started."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # the launchers import this when they run; Hydra imports them at each start
    from hydra.core.utils import JobReturn
    from hydra.types import HydraContext
    from omegaconf import DictConfig

Run = Callable[["list[DictConfig]", "list[list[str]]", Path], int]


def launch(
    config: DictConfig, context: HydraContext, job_overrides: Sequence[Sequence[str]], run: Run
) -> list[JobReturn]:
    """Compose the jobs of a sweep and hand them to `run` with their overrides and the sweep's folder.

    Ends the process where `run` returns an exit code: a failed job is told in the report, and a JobReturn would raise
    its error past the other jobs.
    """
    from hydra.core.utils import JobReturn, JobStatus, filter_overrides

    folder = Path(config.hydra.sweep.dir)
    composed = [context.config_loader.load_sweep_config(config, list(overrides)) for overrides in job_overrides]
    code = run(composed, [list(filter_overrides(overrides)) for overrides in job_overrides], folder)
    if code:
        sys.exit(code)
    return [
        JobReturn(overrides=list(overrides), working_dir=str(folder), status=JobStatus.COMPLETED)
        for overrides in job_overrides
    ]
