"""`hydra/launcher=slurm`: judges every job of a sweep, then submits the graph of their stages as Slurm jobs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from hydra.plugins.launcher import Launcher

if TYPE_CHECKING:  # Hydra imports every plugin at each start: nothing heavy up here
    from hydra.core.utils import JobReturn
    from hydra.types import HydraContext, TaskFunction
    from omegaconf import DictConfig


class SlurmLauncher(Launcher):
    """Submits a sweep and ends; `settings` are what conf/hydra/launcher/slurm.yaml says, judged with the jobs."""

    def __init__(self, **settings: Any) -> None:
        self.settings = settings

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        self.config = config
        self.hydra_context = hydra_context

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        from functools import partial

        from omegaconf import OmegaConf

        from sdft_exp.launching import launch
        from sdft_exp.slurm.submit import submit_jobs

        plain: Any = OmegaConf.to_container(OmegaConf.create(self.settings), resolve=True)
        told = self.config.hydra.overrides
        submit = partial(submit_jobs, launcher=plain, command=[*told.hydra, *told.task])
        return launch(self.config, self.hydra_context, job_overrides, submit)
