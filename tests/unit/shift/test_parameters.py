"""Norms of updates against the dense difference: what PEFT merges, less what was there before."""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path
from typing import Any

import peft
import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file

from sdft_exp.errors import UserError
from sdft_exp.shift.parameters import Change, adapter_update, model_update, summary
from tests.unit.conftest import write_llama

Tensors = dict[str, torch.Tensor]


def silent(done: int, total: int, what: str) -> None:
    pass


def merged(seed: Path, folder: Path, **settings: Any) -> tuple[Tensors, Tensors]:
    """Weights of the seed LM, and with the random adapter merged that is written to `folder`, in float64."""
    load = transformers.AutoModelForCausalLM.from_pretrained
    torch.manual_seed(1)
    wrapped = peft.get_peft_model(load(seed), peft.LoraConfig(**{"r": 4, "lora_alpha": 16, **settings}))
    for name, weight in wrapped.named_parameters():
        if "lora_" in name or "modules_to_save" in name:
            weight.data = torch.randn_like(weight)
    wrapped.save_pretrained(folder)
    model = load(seed, dtype=torch.float64)
    before = {name: weight.clone() for name, weight in model.state_dict().items()}
    read = peft.PeftModel.from_pretrained(model, folder, autocast_adapter_dtype=False).double()
    return before, read.merge_and_unload().state_dict()


def dense(before: Tensors, after: Tensors, part: str = "") -> float:
    """Norm of the difference of all weights whose name, after a dot, has `part`."""
    changes = [(after[name] - before[name]).square().sum() for name in before if part in f".{name}"]
    return math.sqrt(sum(map(float, changes)))


@pytest.mark.parametrize(
    "settings",
    [
        {"target_modules": ["q_proj", "v_proj"]},
        {"target_modules": "all-linear", "task_type": "CAUSAL_LM"},
        {"target_modules": ["q_proj", "up_proj"], "use_rslora": True},
        {
            "target_modules": ["q_proj", "v_proj", "down_proj"],
            "rank_pattern": {"v_proj": 2, "layers.1.self_attn.q_proj": 7},
            "alpha_pattern": {"self_attn.v_proj": 3, r"layers\.0\..*": 5},
        },
        {"target_modules": ["q_proj"], "modules_to_save": ["lm_head", "norm"]},
        {"target_modules": ["embed_tokens", "o_proj"]},
    ],
)
def test_an_adapters_norms_are_those_of_the_dense_difference(
    tiny_llama: Path, tmp_path: Path, settings: dict[str, Any]
) -> None:
    before, after = merged(tiny_llama, tmp_path, **settings)
    found = summary(adapter_update(tmp_path, tiny_llama, silent))
    assert found["absolute"] == pytest.approx(dense(before, after), rel=1e-6)
    nothing = {name: torch.zeros_like(weight) for name, weight in before.items()}
    assert found["relative"] == pytest.approx(dense(before, after) / dense(nothing, before), rel=1e-6)
    adapted = {name: before[name] for name in before if not torch.equal(before[name], after[name])}
    assert found["relative_adapted"] == pytest.approx(
        dense(before, after) / dense(nothing, nothing | adapted), rel=1e-6
    )
    for layer in found["by_layer"]:
        assert layer["absolute"] == pytest.approx(dense(before, after, f".layers.{layer['layer']}."), rel=1e-6)
    for module, part in found["by_module"].items():
        assert part["absolute"] == pytest.approx(dense(before, after, f".{module}.weight"), rel=1e-6)
    assert sum(part["tensors"] for part in found["by_module"].values()) == len(adapted)


def test_an_adapters_norm_of_hand(tmp_path: Path) -> None:
    # W is [[3, 0], [0, 4]]; B A is [[2], [1]] [[3, 4]], of norm sqrt(5) 5; alpha / r is 2.
    seed, adapter = tmp_path / "seed", tmp_path / "adapter"
    seed.mkdir()
    adapter.mkdir()
    weights = {"model.layers.0.q.weight": torch.tensor([[3.0, 0], [0, 4]]), "model.norm.weight": torch.tensor([12.0])}
    save_file(weights, seed / "model.safetensors")
    name = "base_model.model.model.layers.0.q"
    factors = {f"{name}.lora_A.weight": torch.tensor([[3.0, 4]]), f"{name}.lora_B.weight": torch.tensor([[2.0], [1]])}
    save_file(factors, adapter / "adapter_model.safetensors")
    (adapter / "adapter_config.json").write_text(json.dumps({"peft_type": "LORA", "r": 1, "lora_alpha": 2}))
    norm = 2 * 5 * math.sqrt(5)
    part = {"absolute": pytest.approx(norm), "relative": pytest.approx(norm / 5), "tensors": 1}
    assert summary(adapter_update(adapter, seed, silent)) == {
        "absolute": pytest.approx(norm),
        "relative": pytest.approx(norm / 13),
        "relative_adapted": pytest.approx(norm / 5),
        "precision": "float32",
        "by_layer": [{"layer": 0, **part}],
        "by_module": {"q": part},
        "left_out": [],
    }


def test_a_models_norms_are_those_of_the_dense_difference(tiny_llama: Path, tmp_path: Path) -> None:
    model = transformers.AutoModelForCausalLM.from_pretrained(tiny_llama)
    before = {name: weight.double() for name, weight in model.state_dict().items()}
    torch.manual_seed(1)
    for weight in model.parameters():
        weight.data += 0.01 * torch.randn_like(weight)
    model.save_pretrained(tmp_path, max_shard_size="20KB")
    assert len(list(tmp_path.glob("*.safetensors"))) > 2
    after = {name: weight.double() for name, weight in model.state_dict().items()}
    told: list[tuple[int, int, str]] = []
    found = summary(model_update(tmp_path, tiny_llama, lambda *progress: told.append(progress)))
    assert found["absolute"] == pytest.approx(dense(before, after), rel=1e-12)
    assert found["relative"] == found["relative_adapted"]
    assert found["by_module"]["embed_tokens"]["absolute"] == pytest.approx(dense(before, after, "embed"), rel=1e-12)
    assert [layer["layer"] for layer in found["by_layer"]] == [0, 1]
    assert found["by_layer"][1]["absolute"] == pytest.approx(dense(before, after, "layers.1."), rel=1e-12)
    assert told[-1] == (len(before), len(before), "tensors")


def test_tied_weights_count_once(tmp_path: Path) -> None:
    seed, both = tmp_path / "seed", tmp_path / "both"
    seed.mkdir()
    write_llama(seed, tie_word_embeddings=True)
    shutil.copytree(seed, both)
    weights = load_file(seed / "model.safetensors")
    assert "lm_head.weight" not in weights
    # As some checkpoints have it: both names in the file.
    save_file(weights | {"lm_head.weight": weights["model.embed_tokens.weight"].clone()}, both / "model.safetensors")
    for name in weights:
        weights[name] = weights[name] * 1.5
    save_file(weights, tmp_path / "model.safetensors")
    shutil.copy(seed / "config.json", tmp_path)
    found = [summary(model_update(tmp_path, folder, silent)) for folder in (seed, both)]
    assert found[0] == found[1]
    assert found[0]["relative"] == pytest.approx(0.5, rel=1e-6)


def test_an_adapter_on_a_tied_output_layer_moves_the_tied_weight(tmp_path: Path) -> None:
    seed, adapter = tmp_path / "seed", tmp_path / "adapter"
    seed.mkdir()
    write_llama(seed, tie_word_embeddings=True)
    model = transformers.AutoModelForCausalLM.from_pretrained(seed)
    config = peft.LoraConfig(r=2, lora_alpha=6, target_modules=["lm_head", "q_proj"], init_lora_weights=False)
    peft.get_peft_model(model, config).save_pretrained(adapter, save_embedding_layers=False)
    factors = load_file(adapter / "adapter_model.safetensors")
    products = {
        name: float((3 * factors[name.replace("lora_A", "lora_B")].double() @ factors[name].double()).norm())
        for name in factors
        if "lora_A" in name
    }
    weights = load_file(seed / "model.safetensors")
    everything = math.sqrt(sum(float(weight.double().square().sum()) for weight in weights.values()))
    found = summary(adapter_update(adapter, seed, silent))
    assert found["absolute"] == pytest.approx(math.hypot(*products.values()), rel=1e-6)
    assert found["relative"] == pytest.approx(found["absolute"] / everything, rel=1e-6)
    (of_output,) = (norm for name, norm in products.items() if "lm_head" in name)
    assert found["by_module"]["embed_tokens"]["absolute"] == pytest.approx(of_output, rel=1e-6)


def test_adapter_and_model_are_relative_to_the_same_weights(tmp_path: Path) -> None:
    seed, tuned, adapter = (tmp_path / name for name in ("seed", "tuned", "adapter"))
    for folder in (seed, tuned, adapter):
        folder.mkdir()
    weights = {"model.layers.0.q.weight": torch.tensor([[3.0, 0], [0, 4]]), "model.norm.weight": torch.tensor([12.0])}
    buffers = {
        "model.layers.0.self_attn.rotary_emb.inv_freq": torch.tensor([100.0]),
        "model.layers.0.attn.bias": torch.ones(1, 1, 9, 9),
    }
    save_file(weights | buffers | {"model.extra.weight": torch.tensor([84.0])}, seed / "model.safetensors")
    save_file({name: 2 * weight for name, weight in weights.items()} | buffers, tuned / "model.safetensors")
    name = "base_model.model.model.layers.0.q"
    factors = {f"{name}.lora_A.weight": torch.tensor([[3.0, 4]]), f"{name}.lora_B.weight": torch.tensor([[2.0], [1]])}
    save_file(factors, adapter / "adapter_model.safetensors")
    (adapter / "adapter_config.json").write_text(json.dumps({"peft_type": "LORA", "r": 1, "lora_alpha": 2}))
    of_model, of_adapter = model_update(tuned, seed, silent), adapter_update(adapter, seed, silent)
    assert of_model.weights == of_adapter.weights == 85**2  # 3, 4, 12 and 84
    assert set(of_adapter.left_out) == set(buffers)
    assert set(of_model.left_out) == {*buffers, "model.extra.weight"}
    assert [change.tensor for change in of_model.changes] == list(weights)


def test_rounding_the_seed_is_no_update(tiny_llama: Path, tmp_path: Path) -> None:
    model = transformers.AutoModelForCausalLM.from_pretrained(tiny_llama, dtype=torch.bfloat16)
    model.save_pretrained(tmp_path)
    found = summary(model_update(tmp_path, tiny_llama, silent))
    assert (found["absolute"], found["relative"], found["precision"]) == (0, 0, "bfloat16")


def test_large_tensors_are_summed_in_parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from sdft_exp.shift import parameters

    seed, tuned = tmp_path / "seed", tmp_path / "tuned"
    for folder, scale in ((seed, 1.0), (tuned, 3.0)):
        folder.mkdir()
        save_file({"a.weight": scale * torch.ones(10, 10)}, folder / "model.safetensors")
    monkeypatch.setattr(parameters, "_ELEMENTS", 7)
    assert model_update(tuned, seed, silent).changes == (Change("a.weight", 400.0, 100.0),)


def test_names_with_and_without_the_prefix_are_one(tmp_path: Path) -> None:
    seed, tuned = tmp_path / "seed", tmp_path / "tuned"
    seed.mkdir()
    tuned.mkdir()
    save_file({"wte.weight": torch.ones(4), "h.0.attn.bias": torch.ones(2)}, seed / "model.safetensors")
    save_file({"transformer.wte.weight": 2 * torch.ones(4)}, tuned / "model.safetensors")
    found = model_update(tuned, seed, silent)
    assert found.changes == (Change("wte.weight", 4.0, 4.0),)
    assert found.left_out == ("h.0.attn.bias",)


def test_another_model_is_an_error(tmp_path: Path) -> None:
    seed, tuned = tmp_path / "seed", tmp_path / "tuned"
    seed.mkdir()
    tuned.mkdir()
    save_file({"a.weight": torch.ones(4)}, seed / "model.safetensors")
    save_file({"b.weight": torch.ones(4)}, tuned / "model.safetensors")
    with pytest.raises(UserError, match=r"b\.weight: the tuned model has this weight and the seed LM does not"):
        model_update(tuned, seed, silent)
    save_file({"a.weight": torch.ones(5)}, tuned / "model.safetensors")
    with pytest.raises(UserError, match="a weight of 5 numbers was 4"):
        model_update(tuned, seed, silent)


def test_other_adapters_are_an_error(tiny_llama: Path, tmp_path: Path) -> None:
    merged(tiny_llama, tmp_path, target_modules=["q_proj"], use_dora=True)
    with pytest.raises(UserError, match="use_dora: the norm is known of plain LoRA alone"):
        adapter_update(tmp_path, tiny_llama, silent)
