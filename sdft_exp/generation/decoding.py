"""How texts are decoded, in transformers' words, and where a stop string ends them. Imports no torch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sdft_exp.data.encode import Encoder


def settings(encoder: Encoder, new_tokens: int) -> dict[str, Any]:
    """Fields of a GenerationConfig that decodes greedily.

    Whatever is left out is filled from the model's own generation_config.json (Llama 2 asks for temperature 0.6, others
    for a repetition penalty), so everything that would change a text is said here.
    """
    return {
        "max_new_tokens": new_tokens,
        "min_new_tokens": 0,
        "do_sample": False,
        "num_beams": 1,
        "temperature": 1.0,
        "top_k": 0,
        "top_p": 1.0,
        "repetition_penalty": 1.0,
        "no_repeat_ngram_size": 0,
        "renormalize_logits": False,
        "eos_token_id": encoder.eos_ids,
        "pad_token_id": encoder.pad_id,
        "use_cache": True,
    }


def cut_at(text: str, stop: Sequence[str]) -> tuple[str, bool]:
    """`text` up to the first stop string in it, and whether there was one."""
    places = [place for place in (text.find(string) for string in stop) if place >= 0]
    return (text[: min(places)], True) if places else (text, False)
