"""Stop strings: a row of a batch ends as soon as its text holds one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from transformers import StoppingCriteria

from sdft_exp.data.encode import Encoder
from sdft_exp.generation.decoding import cut_at

_SPARE = 4  # tokens looked back beyond the string: an incomplete character, a leading space that decoding drops


class StopStrings(StoppingCriteria):
    """Ends a row at a stop string. `ends` tells for each row how many new tokens it then had.

    The library's own criterion wants its slow-to-import tokenizer and all of the vocabulary; ours decodes the last few
    tokens, as many as the longest string has bytes, since a token is one byte at least.
    """

    def __init__(self, encoder: Encoder, stop: Sequence[str], prompt_width: int):
        self.ends: dict[int, int] = {}
        self._encoder = encoder
        self._stop = stop
        self._prompt_width = prompt_width
        self._tail = max((len(string.encode()) for string in stop), default=0) + _SPARE

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor, **kwargs: Any) -> torch.Tensor:
        """Which rows have ended [rows], for new tokens behind the padded prompts of `input_ids`."""
        new = input_ids.shape[1] - self._prompt_width
        tails = input_ids[:, max(self._prompt_width, input_ids.shape[1] - self._tail) :].tolist()
        for row, tail in enumerate(tails):
            # A row that ended at its end token goes on as padding, which decodes to nothing new.
            if row not in self.ends and cut_at(self._encoder.decode(tail), self._stop)[1]:
                self.ends[row] = new
        return torch.tensor([row in self.ends for row in range(len(tails))], device=input_ids.device)
