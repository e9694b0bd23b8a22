"""What a rubric gets and gives. Imports nothing heavy."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Case:
    """One answer to be judged. `reference` is the task's, "" where it has none.

    Half an emoji, where a model was cut off, becomes a question mark: no server could be sent it.
    """

    id: str
    instruction: str
    reference: str
    response: str

    def __post_init__(self) -> None:
        for name in ("instruction", "reference", "response"):
            object.__setattr__(self, name, getattr(self, name).encode("utf-8", "replace").decode())


@dataclass(frozen=True)
class Verdict:
    """What the judge found: a word or number of the rubric's, or "" where the judge failed; `why` then says how.

    Attributes:
        requests, prompt_tokens, completion_tokens: what it took, by the server's count.
    """

    id: str
    verdict: str
    why: str
    requests: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0


@dataclass(frozen=True)
class Effort:
    """What one case takes, for the estimate: requests, and tokens that each reads beside the case's own texts."""

    requests: int
    tokens: int
