"""Engine hf, as its caller sees it: requests in planned batches, whole batches by one process or several.

Imports no torch: the processes that load the model do.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from pathlib import Path

from sdft_exp import shards
from sdft_exp.config import Sampling
from sdft_exp.generation.batches import plan_batches
from sdft_exp.generation.engines import Hf
from sdft_exp.generation.journal import read
from sdft_exp.generation.requests import Request
from sdft_exp.models.identity import ModelRef


def write(
    engine: Hf,
    model: ModelRef,
    adapter: Path | None,
    requests: Sequence[Request],
    sampling: Sampling,
    journal: Path,
    done: Callable[[int], None],
    stop: tuple[str, ...],
) -> None:
    """Write the completions that `journal` lacks: see `generation.generate`."""
    made = read(journal)
    planned = plan_batches(requests, sampling.max_new_tokens, engine.batch_tokens)
    # A batch that was torn is made again as a whole: other company would round otherwise.
    waiting = [batch for batch in planned if any(request.id not in made for request in batch)]
    done(len(requests) - sum(map(len, waiting)))
    work = functools.partial(_write, model, adapter, sampling, stop)
    count = shards.worker_count(engine.workers, model.device)
    shards.spread(count, model.device, work, waiting, journal, "id", done)


def _write(
    model: ModelRef,
    adapter: Path | None,
    sampling: Sampling,
    stop: tuple[str, ...],
    batches: Sequence[Sequence[Request]],
    journal: Path,
    done: Callable[[int], None],
) -> None:
    from sdft_exp.generation import hf

    hf.write(model, adapter, batches, sampling, journal, done, stop)
