"""DeepSpeed's ZeRO as plain configs: generated for our choices, or the user's own JSON, judged early. Imports no torch.

ZeRO (Rajbhandari et al., 2020, arXiv 1910.02054) cuts what every process would hold whole: stage 2 gradients and
AdamW's moments, stage 3 the weights as well; offload puts moments and weights into the host's memory.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sdft_exp.errors import ConfigError

CHOICES = ("zero2", "zero3", "zero3_offload")
BUCKET = 50_000_000  # numbers that are reduced, or gathered, in one go; DeepSpeed's own 500 million take 1 to 2 GB
KEPT_WHOLE = 100_000  # parameters of fewer numbers are not cut in stage 3


def zero_config(choice: str, dtype: str, max_grad_norm: float) -> dict[str, Any]:
    """DeepSpeed's config for one of CHOICES or for the JSON file of that path, with what training decides filled in.

    Every process takes part in every forward pass; their number stands nowhere in it.

    Raises:
        ConfigError: no such file, no JSON object, no ZeRO stage in it, or a key that says otherwise than training does.
    """
    config = _generated(choice) if choice in CHOICES else _read(choice)
    ours = _ours(dtype, max_grad_norm)
    if choice not in CHOICES:
        _check(choice, config, ours)
    zero = config["zero_optimization"]
    if zero["stage"] == 3:
        zero["stage3_gather_16bit_weights_on_model_save"] = True  # or nothing could be saved in one piece
    return config | ours


def _generated(choice: str) -> dict[str, Any]:
    if choice == "zero2":
        return {"zero_optimization": {"stage": 2, "reduce_bucket_size": BUCKET, "allgather_bucket_size": BUCKET}}
    zero: dict[str, Any] = {
        "stage": 3,
        "reduce_bucket_size": BUCKET,
        "stage3_prefetch_bucket_size": BUCKET,
        "stage3_param_persistence_threshold": KEPT_WHOLE,
    }
    if choice == "zero3_offload":
        zero |= {"offload_optimizer": {"device": "cpu"}, "offload_param": {"device": "cpu"}}
    return {"zero_optimization": zero}


def _ours(dtype: str, max_grad_norm: float) -> dict[str, Any]:
    """What the other settings decide, and no file may."""
    precise: dict[str, Any] = {"bf16": {"enabled": dtype == "bfloat16"}, "fp16": {"enabled": False}}
    if dtype == "bfloat16":
        precise["data_types"] = {"grad_accum_dtype": "fp32"}  # a step has several passes: their sum loses bits else
    return precise | {
        "train_micro_batch_size_per_gpu": 1,  # a planned step, whatever rows it has
        "gradient_accumulation_steps": 1,  # its passes are counted by us
        "gradient_clipping": max_grad_norm,
        "zero_force_ds_cpu_optimizer": False,  # torch's AdamW with offload too: DeepSpeed's own must be compiled
        "zero_allow_untested_optimizer": True,
        "steps_per_print": 1 << 40,
    }


def _read(path: str) -> dict[str, Any]:
    known = f"take {', '.join(CHOICES)}, or the path of a JSON file"
    try:
        config = json.loads(Path(path).expanduser().read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"tuning.deepspeed={path}: cannot be read ({error.strerror}); {known}") from None
    except ValueError as error:
        raise ConfigError(f"tuning.deepspeed={path}: is no JSON ({' '.join(str(error).split())})") from None
    if not isinstance(config, dict):
        raise ConfigError(f"tuning.deepspeed={path}: holds no JSON object; DeepSpeed's config is one")
    zero = config.get("zero_optimization")
    if not isinstance(zero, dict) or zero.get("stage") not in (1, 2, 3):
        raise ConfigError(f"tuning.deepspeed={path}: zero_optimization.stage must be 1, 2 or 3")
    return config


# Keys of the file, each with the setting that decides it.
_DECIDED = {
    "train_batch_size": "tuning.batch_size",
    "optimizer": "tuning.learning_rate and tuning.weight_decay (AdamW)",
    "scheduler": "tuning.scheduler",
    "amp": "model.train_dtype",
}
_BY = {
    "gradient_clipping": "tuning.max_grad_norm",
    "bf16": "model.train_dtype",
    "fp16": "model.train_dtype",
    "train_micro_batch_size_per_gpu": "tuning.batch_size and tuning.micro_batch_tokens",
    "gradient_accumulation_steps": "tuning.batch_size and tuning.micro_batch_tokens",
    "data_types": "model.train_dtype (gradients are summed in float32)",
    "zero_force_ds_cpu_optimizer": "the optimizer, torch's AdamW",
    "zero_allow_untested_optimizer": "the optimizer, torch's AdamW",
}


def _check(path: str, config: dict[str, Any], ours: Mapping[str, Any]) -> None:
    """Refuse what says otherwise than `ours`; "auto", as in transformers' examples, leaves it to us."""
    for key, setting in _DECIDED.items():
        if key in config and not _is_auto(config[key]):
            raise ConfigError(f"tuning.deepspeed={path}: {key} is decided by {setting}; take it out of the file")
        config.pop(key, None)
    for key, value in ours.items():
        given = config.get(key, "auto")
        same = given == value or _is_auto(given)
        if isinstance(value, dict) and isinstance(given, dict) and "enabled" in value:
            same = given.get("enabled", False) in (value["enabled"], "auto")
        if not same and key in _BY:
            raise ConfigError(
                f"tuning.deepspeed={path}: {key} says otherwise than {_BY[key]}; take it out of the file, or set "
                'it to "auto"'
            )


def _is_auto(value: Any) -> bool:
    """Whether a value leaves all that it holds to us; the name of an optimizer that is ours is no other word."""
    if isinstance(value, dict):
        return all(_is_auto(part) or (key == "type" and part == "AdamW") for key, part in value.items())
    return bool(value == "auto")
