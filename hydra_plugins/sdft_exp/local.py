"""`hydra/launcher=local`: judges every job of a sweep before the first starts, then walks the graph of their stages."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from hydra.plugins.launcher import Launcher

if TYPE_CHECKING:  # Hydra imports every plugin at each start: nothing heavy up here
    from hydra.core.utils import JobReturn
    from hydra.types import HydraContext, TaskFunction
    from omegaconf import DictConfig


class LocalLauncher(Launcher):
    """Runs a sweep on this machine as one graph of unique stages."""

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        self.config = config
        self.hydra_context = hydra_context

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        from sdft_exp.launching import launch
        from sdft_exp.run import run_jobs

        return launch(self.config, self.hydra_context, job_overrides, run_jobs)
