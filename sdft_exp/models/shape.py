"""How large a model is: the shape of a Llama-like decoder, from a config.json that is here or from conf/model.

Imports no torch and reads no weights: a safetensors header tells how many there are.
"""

from __future__ import annotations

import functools
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from sdft_exp.config import ModelConfig, ShapeConfig
from sdft_exp.data.tokenizer_files import tokenizer_folder
from sdft_exp.errors import ConfigError
from sdft_exp.models.identity import safetensors_header

_OFF = 0.01  # share of its parameters by which a shape may miss those of the files (biases, norms of heads)


@dataclass(frozen=True)
class Shape:
    """A decoder as Llama builds it: rotary attention with `kv_heads` groups, gated MLP, RMSNorm, no biases.

    Attributes:
        tied: whether the output layer is the input embedding.
    """

    layers: int
    hidden: int
    heads: int
    kv_heads: int
    head_dim: int
    intermediate: int
    vocabulary: int
    tied: bool

    @property
    def attention(self) -> int:
        """Width of all query heads together."""
        return self.heads * self.head_dim

    @property
    def key_value(self) -> int:
        """Width of all key heads together, and of all value heads."""
        return self.kv_heads * self.head_dim

    @property
    def linear(self) -> dict[str, tuple[int, int]]:
        """Inputs and outputs of a layer's projections."""
        return {
            "q_proj": (self.hidden, self.attention),
            "k_proj": (self.hidden, self.key_value),
            "v_proj": (self.hidden, self.key_value),
            "o_proj": (self.attention, self.hidden),
            "gate_proj": (self.hidden, self.intermediate),
            "up_proj": (self.hidden, self.intermediate),
            "down_proj": (self.intermediate, self.hidden),
        }

    @property
    def parameters(self) -> int:
        """All weights, each once."""
        layer = sum(inputs * outputs for inputs, outputs in self.linear.values()) + 2 * self.hidden
        embeddings = self.vocabulary * self.hidden * (1 if self.tied else 2)
        return embeddings + self.layers * layer + self.hidden

    @property
    def multiplied(self) -> int:
        """The weights that a token is multiplied with: all but the input embedding, which is looked up."""
        return self.parameters - (0 if self.tied else self.vocabulary * self.hidden)

    def adapter(self, rank: int, targets: Sequence[str]) -> int | None:
        """Parameters of LoRA's A and B on `targets` in every layer; None where one is none of a layer's projections."""
        if not set(targets) <= set(self.linear):
            return None
        return self.layers * rank * sum(sum(self.linear[target]) for target in targets)


def shape_of(config: ModelConfig) -> Shape | None:
    """The shape of the model that `config` names; None where nothing here tells it.

    A config.json that is here counts before model.shape, and only where it describes as many parameters as its
    weights have.
    """
    try:
        folder = tokenizer_folder(config.path, config.revision, download=False)
    except ConfigError:  # a hub model that is not here
        return None if config.shape is None else Shape(**config.shape.model_dump())
    return _from_folder(folder)


@functools.cache
def _from_folder(folder: Path) -> Shape | None:
    try:
        said = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        judged = ShapeConfig(
            layers=said["num_hidden_layers"],
            hidden=said["hidden_size"],
            heads=said["num_attention_heads"],
            kv_heads=said.get("num_key_value_heads") or said["num_attention_heads"],
            head_dim=said.get("head_dim") or said["hidden_size"] // said["num_attention_heads"],
            intermediate=said["intermediate_size"],
            vocabulary=said["vocab_size"],
            tied=said.get("tie_word_embeddings", False),
        )
        shape = Shape(**judged.model_dump())
    except (OSError, ValueError, KeyError, TypeError, AttributeError):  # another architecture
        return None
    weights = sorted(folder.glob("*.safetensors"))
    if not weights:  # a hub model of which only the tokenizer is here
        return shape
    return shape if abs(parameters_of(weights) - shape.parameters) <= _OFF * shape.parameters else None


def parameters_of(weights: Sequence[Path]) -> int:
    """How many numbers the safetensors files hold, by their headers."""
    headers = [safetensors_header(file).items() for file in weights]
    return sum(math.prod(tensor["shape"]) for header in headers for name, tensor in header if name != "__metadata__")
