"""Engine vllm: a server of ours with the model and its adapter on it, asked as engine openai asks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from sdft_exp.config import Sampling
from sdft_exp.errors import UserError
from sdft_exp.generation import openai, server
from sdft_exp.generation.engines import Vllm
from sdft_exp.generation.requests import Request
from sdft_exp.models.identity import ModelRef


def write(
    engine: Vllm,
    model: ModelRef,
    adapter: Path | None,
    requests: Sequence[Request],
    sampling: Sampling,
    journal: Path,
    done: Callable[[int], None],
    stop: tuple[str, ...],
) -> None:
    """Write the completions that `journal` lacks: see `generation.generate`."""
    served = server.serve(model, adapter, engine.command)
    where = openai.Address(served.base_url, served.model, ours=True)
    try:
        openai.ask(where, engine.asking, model, requests, sampling, journal, done, stop)
    except UserError as error:
        ending = served.ending()
        server.end()
        raise UserError(f"{error}{ending and f'; {ending}'}") from None
    except BaseException:
        server.end()
        raise
