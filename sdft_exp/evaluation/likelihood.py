"""Log-likelihoods by lm-eval's own HFLM, journaled chunk by chunk so that an interrupted evaluation goes on."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from lm_eval.api.instance import Instance

from sdft_exp import journal as journals
from sdft_exp import shards
from sdft_exp.models.identity import ModelRef
from sdft_exp.models.load import load
from sdft_exp.stage import Progress

# Fixed, so that a resumed run, and any number of processes, form the very same batches: the same numbers to the bit.
BATCH = 8
CHUNK = 64

Likelihood = tuple[float, bool, int]


@dataclass(frozen=True)
class _Chunk:
    """Requests that lie side by side, as (context, continuation); `start` is the first one's place."""

    start: int
    pairs: tuple[tuple[str, str], ...]


def likelihoods(
    model: ModelRef,
    adapter: Path | None,
    requests: Sequence[Instance],
    journal: Path,
    progress: Progress,
    workers: int | None = 1,
) -> list[Likelihood]:
    """(log-likelihood in nats, whether greedy decoding would say it, tokens cut to fit) of each request, in order.

    Questions are asked as they stand, after the tokenizer's own BOS and with no chat template: the harness's default.

    Args:
        journal: JSONL of chunks in the order they were measured; the caller deletes it with its artifact.
        workers: processes, as of `generation.generate`; the chunks are the same for any number, and so are the values.
    """
    shards.gather(journal, "start")
    found = _read(journal)
    chunks = [
        _Chunk(start, tuple(request.args for request in requests[start : start + CHUNK]))
        for start in range(0, len(requests), CHUNK)
    ]
    waiting = [chunk for chunk in chunks if chunk.start not in found]
    finished = len(requests) - sum(len(chunk.pairs) for chunk in waiting)

    def done(more: int) -> None:
        nonlocal finished
        finished += more
        progress(finished, len(requests), "choices")

    if waiting:
        done(0)
        work = functools.partial(_measure, model, adapter)
        shards.spread(shards.worker_count(workers, model.device), model.device, work, waiting, journal, "start", done)
        found = _read(journal)
    return [value for chunk in chunks for value in found[chunk.start]]


def _measure(
    model: ModelRef, adapter: Path | None, chunks: Sequence[_Chunk], journal: Path, done: Callable[[int], None]
) -> None:
    """Write the values of each chunk into `journal`."""
    from transformers import AutoTokenizer

    from sdft_exp.evaluation.scorer import CuttingHFLM

    loaded, _ = load(model, adapter)
    tokenizer = AutoTokenizer.from_pretrained(
        model.path, revision=model.revision, trust_remote_code=model.trust_remote_code
    )
    scorer = CuttingHFLM(pretrained=loaded, tokenizer=tokenizer, batch_size=BATCH)
    for chunk in chunks:
        asked = [Instance("loglikelihood", {}, pair, place) for place, pair in enumerate(chunk.pairs)]
        said = scorer.loglikelihood(asked, disable_tqdm=True)
        values = [(float(value), bool(greedy), cut) for (value, greedy), cut in zip(said, scorer.cut, strict=True)]
        journals.append(journal, [{"start": chunk.start, "values": values}])
        done(len(values))


def _read(journal: Path) -> dict[int, list[Likelihood]]:
    """The values of each whole chunk, by the place of its first request."""
    return {
        record["start"]: [(value, greedy, cut) for value, greedy, cut in record["values"]]
        for record in journals.read(journal)
    }
