"""Engine hf: the library's own `generate`, left-padded, length-sorted, in batches filled to a token budget."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from accelerate.utils.memory import should_reduce_batch_size
from transformers import GenerationConfig, StoppingCriteriaList

from sdft_exp.config import Sampling
from sdft_exp.data.encode import Encoder
from sdft_exp.errors import UserError
from sdft_exp.generation import journal as journals
from sdft_exp.generation.context import check, limits
from sdft_exp.generation.decoding import cut_at, settings
from sdft_exp.generation.requests import Completion, Request
from sdft_exp.generation.sampling import processors
from sdft_exp.generation.stopping import StopStrings
from sdft_exp.models.identity import ModelRef
from sdft_exp.models.load import load


def write(
    ref: ModelRef,
    adapter: Path | None,
    batches: Sequence[Sequence[Request]],
    sampling: Sampling,
    journal: Path,
    done: Callable[[int], None],
    stop: tuple[str, ...],
) -> None:
    """Write the completions of `batches` into `journal`, whole batches at a time: see `generation.batched`.

    A batch that memory does not hold is halved, and so is every later one of its size. `done` is told how many
    completions each batch added.
    """
    model, encoder = load(ref, adapter)
    context: int | None = getattr(model.config, "max_position_embeddings", None)
    check(context, ref, (request for batch in batches for request in batch), sampling.max_new_tokens)
    waiting = deque(batches)
    most = max(map(len, batches))  # rows of a batch that memory holds
    while waiting:
        batch = waiting.popleft()
        if len(batch) > most:
            waiting.extendleft([batch[most:], batch[:most]])
            continue
        try:
            completions = _complete(model, encoder, batch, context, sampling, stop)
        except RuntimeError as error:
            if not should_reduce_batch_size(error):
                raise
            most = len(batch) // 2
            waiting.appendleft(batch)
        else:
            journals.append(journal, completions)
            done(len(batch))
            continue
        if most == 0:
            raise UserError(
                f"out of memory at one prompt of {len(batch[0].prompt)} tokens and {sampling.max_new_tokens} new ones; "
                "lower max_new_tokens, or take a smaller model or model.dtype=bfloat16"
            )
        # Outside the handler: the exception holds on to the tensors of the failed batch.
        torch.cuda.empty_cache()


@torch.inference_mode()
def _complete(
    model: Any,
    encoder: Encoder,
    batch: Sequence[Request],
    context: int | None,
    sampling: Sampling,
    stop: tuple[str, ...],
) -> list[Completion]:
    bounds = [limits(request, context, sampling.max_new_tokens, encoder.bos_id) for request in batch]
    prompts = [prompt for prompt, _ in bounds]
    width = max(map(len, prompts))
    padded = [[encoder.pad_id] * (width - len(prompt)) + list(prompt) for prompt in prompts]
    mask = [[0] * (width - len(prompt)) + [1] * len(prompt) for prompt in prompts]
    criteria = StopStrings(encoder, stop, width)
    written = model.generate(
        input_ids=torch.tensor(padded, device=model.device),
        attention_mask=torch.tensor(mask, device=model.device),
        generation_config=GenerationConfig(**settings(encoder, max(new_tokens for _, new_tokens in bounds))),
        logits_processor=processors(sampling, [request.id for request in batch], width, model.device),
        stopping_criteria=StoppingCriteriaList([criteria] if stop else []),
    )
    completions = []
    for row, (request, (prompt, new_tokens)) in enumerate(zip(batch, bounds, strict=True)):
        new = written[row, width : width + new_tokens].tolist()
        end = next((place for place, token in enumerate(new) if token in encoder.eos_ids), len(new))
        spoken = new[: min(end, criteria.ends.get(row, end))]
        text, found = cut_at(encoder.decode(spoken), stop)
        ids = _within(encoder, spoken, text) if found else spoken + new[end : end + 1]
        completions.append(
            Completion(
                id=request.id,
                text=text,
                finish="stop" if found or end < len(new) else "length",
                tokens=len(spoken),
                cut=len(request.prompt) - len(prompt),
                ids=tuple(ids),
            )
        )
    return completions


def _within(encoder: Encoder, spoken: list[int], text: str) -> list[int]:
    """The tokens of `text`, what a stop string left of all that was `spoken`: none that reaches into the string."""
    kept = len(spoken)
    while len(encoder.decode(spoken[:kept])) > len(text):
        kept -= 1
    return spoken[:kept]
