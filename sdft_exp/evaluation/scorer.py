"""lm-eval's HFLM for choices that may not fit the model's context."""

from __future__ import annotations

from typing import Any

from lm_eval.models.huggingface import HFLM


class CuttingHFLM(HFLM):
    """HFLM that goes on where a choice alone is longer than the context, and says what it cut.

    lm-eval cuts a question from its left, in its log alone, and stops at such a choice; here the choice keeps its end.

    Attributes:
        cut: of each request of the last call, how many tokens of question and choice did not count.
    """

    cut: list[int]

    def _loglikelihood_tokens(self, requests: list[Any], *args: Any, **kwargs: Any) -> list[tuple[float, bool]]:
        room = self.max_length + 1  # the last token is only predicted
        self.cut = [max(0, len(question) + len(choice) - room) for _, question, choice in requests]
        fitting = [(texts, question, choice[-self.max_length :]) for texts, question, choice in requests]
        found: list[tuple[float, bool]] = super()._loglikelihood_tokens(fitting, *args, **kwargs)
        return found
