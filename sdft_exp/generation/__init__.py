"""Texts from models: requests in, completions out in their order, journaled as they are made. Imports no torch."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sdft_exp import shards
from sdft_exp.config import Sampling
from sdft_exp.generation.engines import MODULES, Engine
from sdft_exp.generation.requests import Completion, Request
from sdft_exp.models.identity import ModelRef
from sdft_exp.stage import Progress

__all__ = ["Completion", "Request", "generate"]


def generate(
    model: ModelRef,
    adapter: Path | None,
    requests: Sequence[Request],
    sampling: Sampling,
    engine: Engine,
    journal: Path,
    progress: Progress,
    stop: tuple[str, ...] = (),
) -> list[Completion]:
    """Continue every request, going on from what `journal` holds; returns completions in the order of the requests.

    Args:
        adapter: folder of a PEFT adapter to put on the model; None: the seed LM itself.
        engine: who writes the texts; how many processes or requests at a time is its matter, and changes no text
            of engine hf.
        journal: JSONL of completions in the order they were made; the caller deletes it with its artifact.
        stop: strings that end a text; the first to occur is cut off with all that follows.

    Raises:
        ConfigError: the model cannot be loaded, or its context has no room for prompt and new tokens.
        UserError: not even a batch of one fits into memory, a process of ours died, or a server could not answer.
    """
    if len({request.id for request in requests}) < len(requests):
        raise ValueError("generate: a request id stands there twice")
    from sdft_exp.generation.journal import read

    shards.gather(journal, "id")
    made = read(journal)
    finished = 0

    def done(more: int) -> None:
        nonlocal finished
        finished += more
        progress(finished, len(requests), "prompts")

    if any(request.id not in made for request in requests):
        # By name: what an engine imports is in its own `source`, and in the key of no other engine's texts.
        module: Any = importlib.import_module(MODULES[engine.name])
        module.write(engine, model, adapter, requests, sampling, journal, done, stop)
        made = read(journal)
    progress(len(requests), len(requests), "prompts")
    return [made[request.id] for request in requests]
