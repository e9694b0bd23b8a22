"""Parameters from shapes: those that the models are published with, and those in the files of the miniature."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from sdft_exp.compose import compose
from sdft_exp.models import identity
from sdft_exp.models.shape import Shape, parameters_of, shape_of

MICRO = Path(identity.__file__).parents[1] / "microworld" / "model"
# Of their safetensors, as the hub shows them. Those of the base Llama-2 models hold 64 inverse frequencies a layer too.
PUBLISHED = {
    "llama2_7b_chat": 6_738_415_616,
    "llama2_7b": 6_738_417_664 - 32 * 64,
    "llama2_13b_chat": 13_015_864_320,
    "llama2_13b": 13_015_866_880 - 40 * 64,
    "llama2_70b": 68_976_653_312 - 80 * 64,
    "mistral_7b": 7_241_732_096,
    "llama3_8b_instruct": 8_030_261_248,
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_recorded_shape_has_the_published_parameters(name: str) -> None:
    shape = shape_of(compose([f"model={name}", "dataset=gsm8k"]).model)
    assert shape is not None and shape.parameters == PUBLISHED[name]


def test_the_miniature_has_the_parameters_of_its_files() -> None:
    shape = shape_of(compose([]).model)
    assert shape == Shape(4, 128, 4, 4, 32, 384, 1410, True)
    assert shape.parameters == parameters_of([MICRO / "model.safetensors"])
    assert shape.multiplied == shape.parameters  # its one embedding is also its output layer


def test_weights_that_a_token_meets_leave_out_the_input_embedding() -> None:
    shape = shape_of(compose(["model=llama2_7b_chat", "dataset=gsm8k"]).model)
    assert shape is not None and shape.multiplied == 6_738_415_616 - 32_000 * 4096


def test_lora_parameters() -> None:
    shape = Shape(layers=2, hidden=8, heads=2, kv_heads=1, head_dim=4, intermediate=16, vocabulary=10, tied=False)
    assert shape.adapter(3, ["q_proj", "v_proj"]) == 2 * 3 * ((8 + 8) + (8 + 4))
    assert shape.adapter(1, ["down_proj"]) == 2 * (16 + 8)
    assert shape.adapter(1, ["q_proj", "lm_head"]) is None


@pytest.mark.parametrize(
    "said", [{"hidden_size": 64}, {"num_hidden_layers": None}, {"vocab_size": 14_100}, None], ids=str
)
def test_what_does_not_describe_the_weights_tells_nothing(said: dict[str, object] | None, tmp_path: Path) -> None:
    folder = tmp_path / "mine"
    shutil.copytree(MICRO, folder)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text("[]" if said is None else json.dumps(config | said))
    assert shape_of(compose(["model=hf", f"model.path={folder}", "dataset=gsm8k"]).model) is None


def test_a_hub_model_that_is_not_here_is_not_guessed() -> None:
    assert shape_of(compose(["model=hf", "model.path=no/such-model", "dataset=gsm8k"]).model) is None
