"""How alike the responses of tuned model and seed LM to the same prompts are, in words and in meaning."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from sdft_exp.errors import UserError
from sdft_exp.shift import text
from sdft_exp.shift.embedding import EncoderRef, cosine, embed
from sdft_exp.stage import Progress

EMBEDDING = "embedding"
MEASURES = (*text.MEASURES, EMBEDDING)
QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)
BINS = 20


@dataclass(frozen=True)
class Pair:
    """Responses of the seed LM and of the tuned model to one question, by its position."""

    question: int
    seed: str
    tuned: str


def pairs_of(seed: Sequence[Mapping[str, Any]], tuned: Sequence[Mapping[str, Any]]) -> list[Pair]:
    """The lines of two answers.jsonl paired by question and repeat, in the order of the tuned model's.

    Raises:
        UserError: one has an answer that the other lacks.
    """
    other = {(answer["doc_id"], answer["repeat"]): answer["text"] for answer in seed}
    own = {(answer["doc_id"], answer["repeat"]): answer["text"] for answer in tuned}
    if other.keys() != own.keys():
        question, repeat = min(other.keys() ^ own.keys())
        raise UserError(
            f"answers.jsonl: seed LM and tuned model did not answer the same questions (question {question}, repeat "
            f"{repeat}); remove both artifacts and run again"
        )
    return [Pair(key[0], other[key], own[key]) for key in own]


def measure(
    pairs: Sequence[Pair], encoder: EncoderRef, progress: Progress
) -> tuple[list[dict[str, float]], dict[str, Any]]:
    """Each pair's measures, and of their texts: "pairs", "equal" (both the same), "empty" (no word in it) and "cut" (to
    the encoder's length), the last two by "seed" and "tuned", "encoder" and "encoder_tokens", that length."""
    embedded = embed(encoder, [pair.seed for pair in pairs] + [pair.tuned for pair in pairs], progress)
    meaning = cosine(embedded.vectors[: len(pairs)], embedded.vectors[len(pairs) :])
    found = []
    for number, (pair, alike) in enumerate(zip(pairs, meaning, strict=True)):
        progress(number, len(pairs), "responses")
        values = {name: measured(pair.seed, pair.tuned) for name, measured in text.MEASURES.items()}
        found.append(values | {EMBEDDING: float(alike)})
    progress(len(pairs), len(pairs), "responses")
    return found, {
        "pairs": len(pairs),
        "equal": sum(pair.seed == pair.tuned for pair in pairs),
        "empty": {
            "seed": sum(text.empty(pair.seed) for pair in pairs),
            "tuned": sum(text.empty(pair.tuned) for pair in pairs),
        },
        "cut": {"seed": sum(embedded.cut[: len(pairs)]), "tuned": sum(embedded.cut[len(pairs) :])},
        "encoder": encoder.name,
        "encoder_tokens": embedded.longest,
    }


def distribution(values: Sequence[float]) -> dict[str, Any]:
    """ "mean", "quantiles" by share, and "histogram": "counts" of 20 equal bins of 0 to 1 and their "edges".

    The last bin holds its right edge; what lies under 0, as a cosine may, is in "below" and in no bin.
    """
    numbers = np.array(values, dtype=np.float64)
    counts, edges = np.histogram(numbers[numbers >= 0], bins=BINS, range=(0.0, 1.0))
    return {
        "mean": float(numbers.mean()),
        "quantiles": {f"{share:g}": float(np.quantile(numbers, share)) for share in QUANTILES},
        "histogram": {
            "edges": [round(float(edge), 10) for edge in edges],
            "counts": [int(count) for count in counts],
            "below": int((numbers < 0).sum()),
        },
    }
