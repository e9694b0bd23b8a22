"""Update: how far training moved the weights, from the files of adapter or model and of the seed LM alone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from sdft_exp.config import RunConfig
from sdft_exp.data.jsonl import write_json
from sdft_exp.models.identity import ModelRef
from sdft_exp.models.tuned import ADAPTER, MODEL
from sdft_exp.shift.items import scores
from sdft_exp.stage import Progress, Stage

VERSION = "1"  # of the norms, shown with every figure


@dataclass(frozen=True)
class Update:
    """model: the seed LM, as it was trained from."""

    model: ModelRef


def stage(config: RunConfig, train: Stage) -> Stage:
    """The norms of what `train` changed."""
    return Stage("update", Update(train.params.model), {"train": train}, label=train.label)


def run(params: Update, inputs: Mapping[str, Path], out: Path, progress: Progress) -> None:
    """Write `update.json`, see `shift.parameters.summary`, and `scores.json` with one item: "update_norm" (absolute),
    "update_relative" (to all of the seed LM's weights) and "update_relative_adapted" (to those that were trained)."""
    from sdft_exp.models.folder import hub_folder
    from sdft_exp.shift.parameters import adapter_update, model_update, summary

    seed = Path(params.model.path) if params.model.revision is None else hub_folder(params.model)
    model = inputs["train"] / MODEL
    if model.is_dir():
        update = summary(model_update(model, seed, progress))
    else:
        update = summary(adapter_update(inputs["train"] / ADAPTER, seed, progress))
    metrics = {
        "update_norm": update["absolute"],
        "update_relative": update["relative"],
        "update_relative_adapted": update["relative_adapted"],
    }
    write_json(out / "update.json", update)
    write_json(out / "scores.json", scores("update", VERSION, [{"id": "update", **metrics}]))
