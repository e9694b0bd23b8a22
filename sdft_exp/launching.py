"""What our Hydra launchers share: every job of a sweep is composed before the first is judged, let alone started."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # the launchers import this when they run; Hydra imports them at each start
    from hydra.core.utils import JobReturn
    from hydra.types import HydraContext
    from omegaconf import DictConfig

Run = Callable[["list[DictConfig]", "list[list[str]]", Path], int]


def launch(
    config: DictConfig, context: HydraContext, job_overrides: Sequence[Sequence[str]], run: Run
) -> list[JobReturn]:
    """Compose the jobs of a sweep and hand them to `run` with their overrides and the sweep's folder.

    Hydra's own note of the sweep, `multirun.yaml`, is rid of secrets first. Ends the process where `run` returns an
    exit code: a failed job is told in the report, and a JobReturn would raise its error past the other jobs.
    """
    from hydra.core.utils import JobReturn, JobStatus, filter_overrides

    from sdft_exp.results import writing

    folder = Path(config.hydra.sweep.dir)
    with writing(folder):
        hide_secrets(folder)
    composed = [context.config_loader.load_sweep_config(config, list(overrides)) for overrides in job_overrides]
    code = run(composed, [list(filter_overrides(overrides)) for overrides in job_overrides], folder)
    if code:
        sys.exit(code)
    return [
        JobReturn(overrides=list(overrides), working_dir=str(folder), status=JobStatus.COMPLETED)
        for overrides in job_overrides
    ]


def hide_secrets(folder: Path) -> None:
    """Leave no secret in the note of a sweep's config that Hydra has written, `multirun.yaml`."""
    from omegaconf import OmegaConf

    from sdft_exp.tracking.redact import redact

    path = folder / "multirun.yaml"
    content: Any = OmegaConf.to_container(OmegaConf.load(path))
    hidden = redact(content, os.environ)
    hidden["hydra"]["overrides"] = {  # by their keys: a commit in a `revision` looks like a key of W&B
        kind: [_hide(word) for word in words] for kind, words in content["hydra"]["overrides"].items()
    }
    if hidden != content:
        beside = path.with_suffix(f".{os.getpid()}")
        OmegaConf.save(OmegaConf.create(hidden), beside)
        beside.rename(path)


def _hide(override: str) -> str:
    from sdft_exp.tracking.redact import redact

    key, equals, value = override.partition("=")
    return f"{key}={redact({key: value}, os.environ)[key]}" if equals else override
