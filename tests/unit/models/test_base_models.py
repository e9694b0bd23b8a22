"""The base models of the Limits paper: its settings, and adapters that find their layers in each architecture."""

from __future__ import annotations

import re
from typing import Any

import pytest

from sdft_exp.compose import compose
from sdft_exp.config import RunConfig
from sdft_exp.models.adapter import with_adapter
from sdft_exp.training.settings import Lora

SMALL = {"vocab_size": 50, "hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
# The class of each one's config.json.
CLASSES = {
    "llama2_7b": "Llama",
    "llama2_13b": "Llama",
    "llama2_70b": "Llama",
    "mistral_7b": "Mistral",
    "phi1_5": "Phi",
}
# shared/reference/hyperparameters.json: limits_it.
LEARNING_RATE, BATCH_SIZE = 5e-5, 32


def composed(name: str, *overrides: str) -> RunConfig:
    return compose([f"model={name}", "dataset=lima", *overrides])


def tiny(kind: str) -> Any:
    import transformers

    config = getattr(transformers, f"{kind}Config")(**SMALL, pad_token_id=0)
    return getattr(transformers, f"{kind}ForCausalLM")(config)


@pytest.mark.parametrize("name", CLASSES)
def test_the_settings_are_the_papers(name: str) -> None:
    config = composed(name)
    assert (config.tuning.learning_rate, config.tuning.batch_size) == (LEARNING_RATE, BATCH_SIZE)
    assert config.tuning.name == "lora" and config.tuning.rank == 8
    full = composed(name, "tuning=full").tuning
    assert (full.learning_rate, full.batch_size) == (LEARNING_RATE, BATCH_SIZE)


@pytest.mark.parametrize("name", CLASSES)
def test_a_base_model_is_pinned_and_asked_in_a_format_of_ours(name: str) -> None:
    model = composed(name).model
    assert re.fullmatch("[0-9a-f]{40}", model.revision or "")
    assert model.prompt_format == "alpaca"  # "auto" would ask for a chat template, which none of them has
    assert (model.shape is None) == (name == "phi1_5")


@pytest.mark.parametrize("name", CLASSES)
def test_lora_finds_every_target_in_every_layer(name: str) -> None:
    targets = composed(name).model.lora.targets
    tuned = with_adapter(tiny(CLASSES[name]), Lora(2, 4.0, 0.0, targets), seed=0)
    found = {name.split(".lora_A.")[0].rpartition(".")[2] for name, _ in tuned.named_modules() if ".lora_A." in name}
    assert found == set(targets)
    assert sum(name.endswith("lora_A.default") for name, _ in tuned.named_modules()) == 2 * len(targets)
