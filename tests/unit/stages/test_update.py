"""The update stage over what a real training left: a LoRA adapter, and a model of its own."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import transformers

from sdft_exp.models.identity import ModelRef
from sdft_exp.report.bootstrap import interval, over_seeds, resampled_means
from sdft_exp.stage import Stage
from sdft_exp.stages import update
from sdft_exp.training.model import save_trained, trainable
from sdft_exp.training.settings import Lora


def silent(done: int, total: int, what: str) -> None:
    pass


def train(ref: ModelRef, folder: Path, lora: Lora | None, size: float) -> Path:
    """What training writes, with every trained weight moved by `size`."""
    model = trainable(ref, lora, 0)
    for weight in model.parameters():
        if weight.requires_grad:
            weight.data += size
    folder.mkdir()
    save_trained(model, folder, ref, lora, "tiny")
    return folder


@pytest.mark.parametrize("lora", [Lora(2, 4, 0.0, ("q_proj", "v_proj")), None])
def test_the_files_of_a_training(tiny_ref: ModelRef, tmp_path: Path, lora: Lora | None) -> None:
    made, out = train(tiny_ref, tmp_path / "train", lora, 0.01), tmp_path / "out"
    out.mkdir()
    update.run(update.Update(tiny_ref), {"train": made}, out, silent)
    assert sorted(path.name for path in out.iterdir()) == ["scores.json", "update.json"]
    found = json.loads((out / "update.json").read_text())
    parameters = sum(w.numel() for w in transformers.AutoModelForCausalLM.from_pretrained(tiny_ref.path).parameters())
    if lora is None:
        assert found["absolute"] == pytest.approx(0.01 * parameters**0.5, rel=1e-4)
        assert {"embed_tokens", "lm_head", "norm", "q_proj"} <= set(found["by_module"])
    else:
        assert set(found["by_module"]) == {"q_proj", "v_proj"}
        assert found["relative"] < found["relative_adapted"]
    assert [layer["layer"] for layer in found["by_layer"]] == [0, 1]
    scores = json.loads((out / "scores.json").read_text())
    assert scores["metrics"]["update_norm"] == found["absolute"]
    assert scores["items"] == [{"id": "update", **scores["metrics"]}]
    assert str(tmp_path) not in (out / "update.json").read_text()


def test_one_number_a_run_has_an_interval_over_seeds_alone() -> None:
    norms = {0: 3.0, 1: 4.0, 2: 8.0}
    series = [resampled_means(np.array([[norm]]), 2000, "update")[:, 0] for norm in norms.values()]
    for norm, draws in zip(norms.values(), series, strict=True):
        assert interval(draws, 0.95) == (norm, norm)
    low, high = interval(over_seeds(np.array(series).T, list(norms)), 0.95)
    # Of 27 draws of three seeds one has three times the first, one three times the last.
    assert (low, high) == (3.0, 8.0)


def test_the_key_is_that_of_the_training_and_the_seed(tiny_ref: ModelRef) -> None:
    from sdft_exp.compose import compose

    class Params:
        model = tiny_ref

    made = Stage("train", {"seed": 0})
    object.__setattr__(made, "params", Params())
    assert update.stage(compose([]), made).params == update.Update(tiny_ref)
    assert replace(tiny_ref, digest="other") != tiny_ref
