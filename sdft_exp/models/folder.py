"""A model's folder as any tool of transformers' loads it: weights, configs, tokenizer, nothing of this machine."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sdft_exp.data.tokenizer_files import TOKENIZER_FILES, tokenizer_folder
from sdft_exp.errors import ConfigError
from sdft_exp.models.identity import ModelRef
from sdft_exp.progress import tell

_MODEL_FILES = ("config.json", "generation_config.json")  # the model writes its own


def save_model(model: Any, folder: Path, seed: ModelRef, weights: Mapping[str, Any] | None = None) -> None:
    """Write config, generation config and safetensors of `model`, and the tokenizer files of the seed LM `seed`.

    Args:
        weights: by name, where they do not lie in the model itself.
    """
    model.save_pretrained(str(folder), state_dict=weights)
    # Where the seed LM lay on this machine is nobody's business.
    path = folder / "config.json"
    config = json.loads(path.read_text(encoding="utf-8"))
    config.pop("_name_or_path", None)
    path.write_text(json.dumps(config, indent=2, sort_keys=True) + "\n", encoding="utf-8")
    source = tokenizer_folder(seed.path, seed.revision)
    for name in set(TOKENIZER_FILES) - set(_MODEL_FILES):
        if (source / name).is_file():
            shutil.copyfile(source / name, folder / name)


def save_merged(seed: ModelRef, adapter: Path, folder: Path) -> None:
    """Write the seed LM with the adapter merged into it, in the precision of `seed`: see `save_model`."""
    from sdft_exp.models.adapter import attach_adapter
    from sdft_exp.models.load import read_model, release

    release()
    model = read_model(seed)
    tell(0, 0, "merging the adapter and writing the model")
    save_model(attach_adapter(model, adapter).merge_and_unload(), folder, seed)


def hub_folder(ref: ModelRef) -> Path:
    """The folder of a hub model at its commit, whole; downloaded where it is not here yet.

    Raises:
        ConfigError: the hub cannot be reached, or does not give it.
    """
    import huggingface_hub

    code = ["*.py"] if ref.trust_remote_code else []
    wanted = [*TOKENIZER_FILES, "*.safetensors", "*.safetensors.index.json", *code]
    try:
        return Path(huggingface_hub.snapshot_download(ref.path, revision=ref.revision, allow_patterns=wanted))
    except Exception as error:  # offline, gated, unknown: each its own class, none with a way out
        first = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise ConfigError(f"model.path={ref.path}: cannot be had from the hub ({first}); name a folder") from None
