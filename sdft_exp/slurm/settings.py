"""What conf/hydra/launcher/slurm.yaml may say, typed and judged like every other config."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError

from sdft_exp.config import Group, Names, Positive, nearest
from sdft_exp.errors import ConfigError

Kind = Literal["distill", "train", "export", "answer", "judge", "shift", "light"]
Count = Annotated[int, Field(ge=0)]


class Resources(Group):
    """What one kind of job asks for; None: as the launcher says for all."""

    partition: str | None = None
    qos: str | None = None
    constraint: str | None = None
    time: Positive | None = None
    nodes: Positive | None = None
    gpus: Count | None = None
    cpus: Positive | None = None
    memory: Annotated[float, Field(gt=0)] | None = None


class SlurmConfig(Group):
    """Jobs on Slurm. None leaves the choice to the cluster; docs/slurm.md tells how to set it up."""

    account: str | None
    partition: str | None
    qos: str | None
    constraint: str | None
    time: Positive  # minutes
    nodes: Positive
    gpus: Count  # of a node
    cpus: Positive  # of a node
    memory: Annotated[float, Field(gt=0)] | None  # GB of a node
    stages: Mapping[Kind, Resources]
    setup: Names
    options: Names
    array_parallelism: Positive
    signal_seconds: Positive
    max_requeues: Count

    def resources(self, kind: str) -> dict[str, Any]:
        """What a job of that kind asks for: its own settings over those of all jobs."""
        common = {name: getattr(self, name) for name in Resources.model_fields}
        own = self.stages.get(kind)  # type: ignore[call-overload]  # kinds come from `graph.Job.kind`
        return common | ({} if own is None else own.model_dump(exclude_none=True))


def slurm_config(composed: Mapping[str, Any]) -> SlurmConfig:
    """The typed launcher's settings.

    Raises:
        ConfigError: one line that names the first wrong key.
    """
    try:
        return SlurmConfig.model_validate(composed)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(["hydra.launcher", *(str(part) for part in first["loc"])])
        if first["type"] == "extra_forbidden":
            known = [*SlurmConfig.model_fields, *Resources.model_fields]
            raise ConfigError(f"{key}: no such key{nearest(str(first['loc'][-1]), known)}") from None
        raise ConfigError(f"{key}={first['input']}: {first['msg'][0].lower()}{first['msg'][1:]}") from None
