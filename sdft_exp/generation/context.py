"""What fits a model's context: what of a prompt is read, and how many tokens may follow it. Imports no torch."""

from __future__ import annotations

from collections.abc import Iterable

from sdft_exp.errors import ConfigError
from sdft_exp.generation.requests import Request
from sdft_exp.models.identity import ModelRef


def check(context: int | None, ref: ModelRef, requests: Iterable[Request], new_tokens: int) -> None:
    """Raise ConfigError where the new tokens fill the context, and a request has no bound of its own.

    Args:
        context: the tokens that the model reads in all; None: it names no limit.
    """
    if context is not None and new_tokens >= context and any(request.max_length is None for request in requests):
        raise ConfigError(
            f"sampling.max_new_tokens={new_tokens}: model.path={ref.path} reads {context} tokens in all; lower it"
        )


def limits(request: Request, context: int | None, new_tokens: int, bos: int | None) -> tuple[tuple[int, ...], int]:
    """What of a prompt is read, and how many tokens may follow it."""
    bounds = [bound for bound in (request.max_length, context) if bound is not None]
    if not bounds:
        return request.prompt, new_tokens
    kept = new_tokens if request.max_length is None else 1  # at least so many for the answer
    prompt = _fit(request.prompt, min(bounds) - kept, bos)
    return prompt, min(new_tokens, min(bounds) - len(prompt))


def _fit(prompt: tuple[int, ...], room: int, bos: int | None) -> tuple[int, ...]:
    """The prompt's end, as lm-eval cuts it, but with its BOS: without one Llama writes nonsense."""
    if len(prompt) <= room:
        return prompt
    if room > 1 and prompt[0] == bos:
        return (prompt[0], *prompt[len(prompt) - room + 1 :])
    return prompt[len(prompt) - room :]
