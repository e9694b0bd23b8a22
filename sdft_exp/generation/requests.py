"""What is asked of a generation engine and what it gives back. Imports no torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Request:
    """One prompt (token ids) to be continued. `id` is unique in its list, and the draws of sampling depend on it.

    `max_length` bounds prompt and new tokens together, beside the limit of new ones; the model's context bounds both.
    """

    id: str
    prompt: tuple[int, ...]
    max_length: int | None = None


@dataclass(frozen=True)
class Completion:
    """What a model wrote for the request `id`.

    Attributes:
        text: without special tokens, and without the stop string that ended it.
        finish: "stop" at an end token or a stop string, "length" at the limit of new tokens.
        tokens: new tokens, the end token not counted.
        cut: tokens of the prompt left out because it did not fit the model's context.
        ids: the tokens of the text, and the end token where one ended it; None where a server told the text alone.
            Read from the text again they may be others.
    """

    id: str
    text: str
    finish: Literal["stop", "length"]
    tokens: int
    cut: int = 0
    ids: tuple[int, ...] | None = None
