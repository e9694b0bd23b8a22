"""Export: the adapter merged into the seed LM, as a model folder that any tool of transformers' can load."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from sdft_exp.config import RunConfig
from sdft_exp.models.identity import ModelRef, model_ref
from sdft_exp.stage import Progress, Stage


@dataclass(frozen=True)
class Export:
    """model: the seed LM, in the precision in which the merged weights are kept."""

    model: ModelRef


def stage(config: RunConfig, train: Stage) -> Stage:
    """The merged model of `train`, in the precision of training."""
    model = dataclasses.replace(model_ref(config.model, config.launch), dtype=config.model.train_dtype)
    return Stage("export", Export(model), {"train": train}, label=train.label)


def run(params: Export, inputs: Mapping[str, Path], out: Path, progress: Progress) -> None:
    """Write config, generation config and safetensors of the merged model, and the seed LM's tokenizer files."""
    from sdft_exp.models.folder import save_merged

    save_merged(params.model, inputs["train"] / "adapter", out)
    progress(1, 1, "models")
