"""What a training is told. Imports no torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal


@dataclass(frozen=True)
class Lora:
    """Low-rank adapters (Hu et al., 2021): W x + alpha / rank * B A x on the layers whose names end in `targets`."""

    rank: int
    alpha: float
    dropout: float
    targets: tuple[str, ...]


@dataclass(frozen=True)
class Zero:
    """Training under DeepSpeed's ZeRO.

    Attributes:
        config: see training.zero.
        source: digest of the code that trains under it, which nothing else has in its key.
    """

    config: dict[str, Any]
    source: str


@dataclass(frozen=True)
class Optimisation:
    """AdamW and its schedule.

    Attributes:
        seed: of the adapter's start, the order of rows, dropout and noise.
        epochs: passes over the rows; the last may be a part of one.
        batch_size: rows of one optimizer step.
        warmup_ratio: share of all steps in which the rate rises linearly from 0.
        max_grad_norm: gradients are scaled down to this norm.
        neftune_alpha: of NEFTune (Jain et al., 2023, arXiv 2310.05914): in training each number of the input embeddings
            gets noise, uniform within alpha / sqrt(L d), L the padded tokens of a row, d the width; None: it gets none.
    """

    seed: int
    epochs: float
    batch_size: int
    learning_rate: float
    scheduler: Literal["cosine", "linear", "constant"]
    warmup_ratio: float
    weight_decay: float
    max_grad_norm: float
    neftune_alpha: float | None = None
