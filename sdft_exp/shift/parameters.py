"""How far the weights moved: Frobenius norms of the update, out of safetensors files alone, with no model loaded.

Of a LoRA adapter the update s B A of a weight is never formed: its squared norm is s^2 tr((B^T B)(A A^T)), and these
two matrices are as wide as the adapter's rank. Of a whole model it is taken tensor by tensor, a part of one at a
time. All sums are float64.
"""

from __future__ import annotations

import json
import math
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sdft_exp.errors import UserError
from sdft_exp.stage import Progress

_ELEMENTS = 1 << 16  # of a tensor in float64 at once: as many as stay in a CPU's cache, which makes it ten times faster
_OUTPUT = "lm_head.weight"
_INPUT = re.compile(r"(.+\.)?(embed_tokens|wte|embed_in|word_embeddings|tok_embeddings)\.weight")
# What older files hold beside the parameters: angles of positions, and causal masks.
_BUFFER = re.compile(r"(.+\.)?(rotary_emb\.inv_freq|(attn|attention)\.(masked_)?bias|position_ids)")
_INPUT = re.compile(r"(.+\.)?(embed_tokens|wte|embed_in|word_embeddings|tok_embeddings)\.weight")
# What older files hold beside the parameters: angles of positions, and causal masks.
_BUFFER = re.compile(r"(.+\.)?(rotary_emb\.inv_freq|(attn|attention)\.(masked_)?bias|position_ids)")
_FACTOR = re.compile(r"(?P<module>.+)\.lora_(?:embedding_)?(?P<factor>[AB])(?:\.weight)?")


@dataclass(frozen=True)
class Change:
    """Squared norms of one tensor's update and of the seed LM's own `tensor`."""

    tensor: str
    update: float
    seed: float

    @property
    def layer(self) -> int | None:
        """The first number in the name: `model.layers.12.mlp.up_proj.weight` is of layer 12."""
        number = next((part for part in self.tensor.split(".") if part.isdigit()), None)
        return None if number is None else int(number)

    @property
    def module(self) -> str:
        """The type of the module: `up_proj`."""
        return self.tensor.split(".")[-2] if "." in self.tensor else self.tensor


@dataclass(frozen=True)
class Update:
    """All changes of a training; `weights` is the squared norm of all of the seed LM's, tied ones once, no buffers.

    `left_out` names tensors of the seed LM's files that are compared with nothing: buffers, and what a tuned model of
    its own does not have.
    """

    changes: tuple[Change, ...]
    weights: float
    precision: str
    left_out: tuple[str, ...] = field(default=())


def summary(update: Update) -> dict[str, Any]:
    """Norms: "absolute", "relative" to all weights of the seed LM and "relative_adapted" to those that were trained.

    "by_layer" and "by_module" have "absolute", "relative" to the trained weights of that layer or type of module, and
    how many "tensors" these are. What is of no layer (embeddings, the last norm, the output layer) is in "by_module"
    alone. "precision" is that of the tuned weights (of the factors, for an adapter).
    """
    layers = sorted({change.layer for change in update.changes if change.layer is not None})
    modules = sorted({change.module for change in update.changes})
    absolute = _norm(change.update for change in update.changes)
    return {
        "absolute": absolute,
        "relative": _ratio(absolute, math.sqrt(update.weights)),
        "relative_adapted": _ratio(absolute, _norm(change.seed for change in update.changes)),
        "precision": update.precision,
        "by_layer": [
            {"layer": layer, **_part(change for change in update.changes if change.layer == layer)} for layer in layers
        ],
        "by_module": {
            module: _part(change for change in update.changes if change.module == module) for module in modules
        },
        "left_out": list(update.left_out),
    }


def adapter_update(adapter: Path, seed: Path, progress: Progress) -> Update:
    """The update of the LoRA adapter in the folder `adapter` on the seed LM in the folder `seed`.

    Modules and biases that the adapter holds whole (`modules_to_save`) are compared with the seed LM's.

    Raises:
        UserError: an adapter of another kind, or one of another model.
    """
    config = json.loads((adapter / "adapter_config.json").read_text(encoding="utf-8"))
    _check_kind(config)
    with _Weights(seed) as base, _Weights(adapter) as own:
        factors: dict[str, dict[str, Any]] = {}
        changed: dict[str, float] = defaultdict(float)
        for name in own.names:
            tensor = own.tensor(name)
            stripped = name.removeprefix("base_model.model.").replace(".base_layer.", ".")
            if found := _FACTOR.fullmatch(stripped):
                factors.setdefault(found["module"], {})[found["factor"]] = tensor
            else:
                known = base.name_of(stripped)
                changed[known] += _squared_difference(tensor, base.tensor(known))
        for module, parts in factors.items():
            product = _scaling(config, module, parts["A"].shape[0]) ** 2 * _squared_product(parts["A"], parts["B"])
            changed[base.name_of(f"{module}.weight")] += product  # of a tied weight, both as input and as output
        precision = next(str(parts["A"].dtype).removeprefix("torch.") for parts in factors.values())
        squared: dict[str, float] = {}
        for number, name in enumerate(base.parameters):
            progress(number, len(base.parameters), "tensors")
            squared[name] = _squared(base.tensor(name))
        progress(len(base.parameters), len(base.parameters), "tensors")
    changes = tuple(Change(name, changed[name], squared[name]) for name in squared if name in changed)
    left_out = tuple(name for name in base.names if name not in squared)
    return Update(changes, math.fsum(squared.values()), precision, left_out)


def model_update(model: Path, seed: Path, progress: Progress) -> Update:
    """The update from the seed LM in the folder `seed` to the model of its own in the folder `model`.

    The seed LM's weights are rounded to the precision that the tuned ones are kept in: rounding alone is no update.

    Raises:
        UserError: the model has a weight that the seed LM does not have, or has in another shape.
    """
    changes, precision = [], ""
    with _Weights(seed) as base, _Weights(model) as own:
        compared = {base.name_of(name): name for name in own.parameters}
        for number, (known, name) in enumerate(compared.items()):
            progress(number, len(compared), "tensors")
            tuned, before = own.tensor(name), base.tensor(known)
            precision = str(tuned.dtype).removeprefix("torch.")
            changes.append(Change(known, _squared_difference(tuned, before), _squared(before)))
        progress(len(compared), len(compared), "tensors")
        left_out = tuple(name for name in base.names if name not in compared)
        others = [_squared(base.tensor(name)) for name in base.parameters if name not in compared]
    return Update(tuple(changes), math.fsum([*others, *(change.seed for change in changes)]), precision, left_out)


def saved_precision(model: Path) -> str:
    """What the model of its own in the folder `model` was saved in: "bfloat16", say; training saves all alike."""
    with _Weights(model) as own:
        return str(own.tensor(own.names[0]).dtype).removeprefix("torch.")


class _Weights:
    """The tensors of a folder's safetensors files by name, read when asked for; tied ones go by the input layer's.

    `parameters` are the names without those of buffers.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._stack = ExitStack()

    def __enter__(self) -> _Weights:
        from safetensors import safe_open

        self._homes: dict[str, Any] = {}
        for file in _files(self._folder):
            opened = self._stack.enter_context(safe_open(file, framework="pt"))
            self._homes |= dict.fromkeys(opened.keys(), opened)
        tied = _tied(self._folder) and len(self._homes) > 1
        if tied:
            self._homes.pop(_OUTPUT, None)
        self._output = next((name for name in self._homes if tied and _INPUT.fullmatch(name)), None)
        self.names = sorted(self._homes)
        self.parameters = [name for name in self.names if not _BUFFER.fullmatch(name)]
        # A base model's file may lack the prefix that the whole model's names have, or have it where they lack it.
        self._short = {name.partition(".")[2]: name for name in self.names}
        return self

    def __exit__(self, *error: object) -> None:
        self._stack.close()

    def name_of(self, name: str) -> str:
        """What these files call the tensor `name` of the same model."""
        for known in (name, self._short.get(name), name.partition(".")[2]):
            if known in self._homes:
                return known
        if self._output and name.endswith(_OUTPUT):
            return self._output
        if self._output and name.endswith(_OUTPUT):
            return self._output
        raise UserError(
            f"{name}: the tuned model has this weight and the seed LM does not; it was trained from another model"
        )

    def tensor(self, name: str) -> Any:
        return self._homes[name].get_tensor(name)


def _files(folder: Path) -> list[Path]:
    """The files with the weights: those of the index, where there is one, for some folders hold the same ones twice."""
    index = folder / "model.safetensors.index.json"
    if index.is_file():
        return [folder / name for name in sorted(set(json.loads(index.read_text("utf-8"))["weight_map"].values()))]
    single = folder / "model.safetensors"
    return [single] if single.is_file() else sorted(folder.glob("*.safetensors"))


def _tied(folder: Path) -> bool:
    config = folder / "config.json"
    return config.is_file() and bool(json.loads(config.read_text(encoding="utf-8")).get("tie_word_embeddings", False))


def _check_kind(config: Mapping[str, Any]) -> None:
    unlike = [name for name in ("use_dora", "lora_bias", "target_parameters", "layer_replication") if config.get(name)]
    if config.get("peft_type") != "LORA" or unlike:
        what = unlike[0] if unlike else config.get("peft_type")
        raise UserError(f"adapter_config.json: {what}: the norm is known of plain LoRA alone; merge the adapter first")


def _scaling(config: Mapping[str, Any], module: str, rank: int) -> float:
    """alpha / r, alpha / sqrt(r) under rsLoRA; alpha by the first pattern that the end of the module's name meets."""
    patterns = config.get("alpha_pattern") or {}
    met = (alpha for key, alpha in patterns.items() if re.match(rf"(.*\.)?({key})$", module))
    alpha = next(met, config["lora_alpha"])
    return float(alpha / math.sqrt(rank) if config.get("use_rslora") else alpha / rank)


def _squared_product(right: Any, left: Any) -> float:
    """Squared norm of B A, of a convolution's factors as matrices."""
    right, left = right.double().flatten(1), left.double().flatten(1)
    return float(((left.T @ left) * (right @ right.T)).sum())


def _squared(tensor: Any) -> float:
    return math.fsum(_dot(part.double()) for part in tensor.flatten().split(_ELEMENTS))


def _squared_difference(tuned: Any, before: Any) -> float:
    if tuned.shape != before.shape:
        raise UserError(f"a weight of {tuned.numel()} numbers was {before.numel()} in the seed LM: nothing to subtract")
    pairs = zip(tuned.flatten().split(_ELEMENTS), before.flatten().split(_ELEMENTS), strict=True)
    return math.fsum(_dot(own.double() - other.to(own.dtype)) for own, other in pairs)


def _dot(numbers: Any) -> float:
    return float(numbers.dot(numbers))


def _norm(squares: Iterable[float]) -> float:
    return math.sqrt(math.fsum(squares))


def _ratio(part: float, whole: float) -> float | None:
    return part / whole if whole else None


def _part(changes: Iterable[Change]) -> dict[str, Any]:
    own = list(changes)
    absolute = _norm(change.update for change in own)
    relative = _ratio(absolute, _norm(change.seed for change in own))
    return {"absolute": absolute, "relative": relative, "tensors": len(own)}
