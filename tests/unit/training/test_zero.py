from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from sdft_exp.errors import ConfigError
from sdft_exp.training.zero import CHOICES, zero_config


def own(folder: Path, content: Any) -> str:
    path = folder / "own.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return str(path)


def test_what_is_cut_by_which_choice():
    configs = {choice: zero_config(choice, "float32", 1.0)["zero_optimization"] for choice in CHOICES}
    assert {choice: config["stage"] for choice, config in configs.items()} == {
        "zero2": 2,
        "zero3": 3,
        "zero3_offload": 3,
    }
    offloaded = {choice for choice, config in configs.items() if "offload_optimizer" in config}
    assert offloaded == {"zero3_offload"}


def test_the_other_settings_are_in_it():
    config = zero_config("zero2", "bfloat16", 0.5)
    assert (config["bf16"], config["fp16"], config["gradient_clipping"]) == ({"enabled": True}, {"enabled": False}, 0.5)
    assert (config["train_micro_batch_size_per_gpu"], config["gradient_accumulation_steps"]) == (1, 1)
    assert "optimizer" not in config and "train_batch_size" not in config  # torch's AdamW; any number of processes
    assert zero_config("zero2", "float32", 0.5)["bf16"] == {"enabled": False}


@pytest.mark.skipif("CI" not in os.environ, reason="without the extra; CI has it")
def test_deepspeed_is_installed_where_ci_runs():
    import importlib.util

    assert importlib.util.find_spec("deepspeed")


def test_a_file_of_the_users_with_auto_as_in_transformers_examples(tmp_path):
    path = own(
        tmp_path,
        {
            "zero_optimization": {"stage": 3, "stage3_max_live_parameters": 1000},
            "bf16": {"enabled": "auto"},
            "gradient_clipping": "auto",
            "train_batch_size": "auto",
            "train_micro_batch_size_per_gpu": "auto",
            "optimizer": {"type": "AdamW", "params": {"lr": "auto", "betas": "auto"}},
            "wall_clock_breakdown": True,
        },
    )
    config = zero_config(path, "bfloat16", 1.0)
    assert config["zero_optimization"] == {
        "stage": 3,
        "stage3_max_live_parameters": 1000,
        "stage3_gather_16bit_weights_on_model_save": True,
    }
    assert (config["wall_clock_breakdown"], config["bf16"]["enabled"], config["gradient_clipping"]) == (True, True, 1.0)
    assert "optimizer" not in config and "train_batch_size" not in config


@pytest.mark.parametrize(
    "content, said",
    [
        ("{", "is no JSON"),
        ([1], "holds no JSON object"),
        ({}, "zero_optimization.stage must be 1, 2 or 3"),
        ({"zero_optimization": {"stage": 0}}, "zero_optimization.stage must be 1, 2 or 3"),
        ({"gradient_clipping": 0.3}, "gradient_clipping says otherwise than tuning.max_grad_norm"),
        ({"bf16": {"enabled": True}}, "bf16 says otherwise than model.train_dtype"),
        ({"fp16": {"enabled": True}}, "fp16 says otherwise than model.train_dtype"),
        ({"zero_force_ds_cpu_optimizer": True}, "zero_force_ds_cpu_optimizer says otherwise than the optimizer"),
        ({"train_micro_batch_size_per_gpu": 4}, "train_micro_batch_size_per_gpu says otherwise"),
        ({"train_batch_size": 64}, "train_batch_size is decided by tuning.batch_size"),
        ({"optimizer": {"type": "AdamW", "params": {"lr": 1e-3}}}, "optimizer is decided by tuning.learning_rate"),
        ({"optimizer": {"type": "Lion", "params": {}}}, "optimizer is decided by"),
        (
            {"scheduler": {"type": "WarmupLR", "params": {"warmup_min_lr": 0}}},
            "scheduler is decided by tuning.scheduler",
        ),
    ],
)
def test_a_file_that_says_otherwise_is_one_line(tmp_path, content, said):
    if isinstance(content, dict) and content and "zero_optimization" not in content:
        content = {"zero_optimization": {"stage": 2}} | content
    path = own(tmp_path, content)
    with pytest.raises(ConfigError) as error:
        zero_config(path, "float32", 1.0)
    assert said in str(error.value) and str(error.value).startswith(f"tuning.deepspeed={path}: ")
    assert "\n" not in str(error.value)


def test_a_name_that_is_neither_is_one_line():
    with pytest.raises(ConfigError, match=r"tuning.deepspeed=zero4: cannot be read .*take zero2, zero3, zero3_offload"):
        zero_config("zero4", "float32", 1.0)
