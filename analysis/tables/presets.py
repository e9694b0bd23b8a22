"""The jobs of a preset, expanded and composed as its sweep would be, outside `hydra.main`. Imports no torch.

The sweep's own code does the work: Hydra's config loader reads the preset with its grid, Hydra's basic sweeper
multiplies the grid out, and the loader composes each job as it does for the launcher.
"""

from __future__ import annotations

from collections.abc import Sequence

from omegaconf import DictConfig

from sdft_exp.compose import CONF, MISTAKES, explain, register_resolvers, run_config
from sdft_exp.config import RunConfig
from sdft_exp.errors import ConfigError


def preset_names() -> list[str]:
    """Every file of conf/experiment, those of a subfolder as `limits/loss_curves`."""
    root = CONF / "experiment"
    return sorted(path.relative_to(root).with_suffix("").as_posix() for path in root.rglob("*.yaml"))


def preset_configs(name: str, overrides: Sequence[str] = ()) -> list[RunConfig]:
    """The judged configs of `python main.py -m experiment=NAME OVERRIDES`, in the sweep's order.

    Args:
        name: a preset, `table4` say.
        overrides: as on the command line, sweeps among them (`seed=0,1`).

    Raises:
        ConfigError: one line naming the key.
    """
    try:
        return [run_config(job) for job in _composed([f"experiment={name}", *overrides])]
    except MISTAKES as error:
        raise ConfigError(explain(error)) from None


def _composed(overrides: list[str]) -> list[DictConfig]:
    # Hydra's own entry points keep one loader for the process, and inside a run that is the run's.
    from hydra._internal.config_loader_impl import ConfigLoaderImpl
    from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
    from hydra._internal.utils import create_config_search_path
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.core.utils import setup_globals
    from hydra.types import RunMode

    setup_globals()
    register_resolvers()
    loader = ConfigLoaderImpl(create_config_search_path(str(CONF)))
    sweep = loader.load_configuration("config", overrides, run_mode=RunMode.MULTIRUN, validate_sweep_overrides=False)
    grid = [f"{key}={values}" for key, values in (sweep.hydra.sweeper.params or {}).items()]
    parsed = OverridesParser.create(loader).parse_overrides([*grid, *sweep.hydra.overrides.task])
    (jobs,) = BasicSweeper.split_arguments(parsed, max_batch_size=None)
    return [_without_hydra(loader.load_sweep_config(sweep, job)) for job in jobs]


def _without_hydra(job: DictConfig) -> DictConfig:
    from omegaconf import open_dict

    with open_dict(job):
        del job["hydra"]
    return job
