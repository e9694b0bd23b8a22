"""The token shift of many responses: planned batches, whole batches by one process or several, journaled.

Imports no torch: the processes that load the models do.
"""

from __future__ import annotations

import dataclasses
import functools
import json
import math
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from sdft_exp import journal as journals
from sdft_exp import shards
from sdft_exp.errors import UserError
from sdft_exp.models.identity import ModelRef
from sdft_exp.models.tuned import tuned
from sdft_exp.stage import Progress
from sdft_exp.training.schedule import plan_micro_batches

if TYPE_CHECKING:
    from sdft_exp.shift.tokens import Pair, TokenShift

Form = Literal["exact", "aligntds"]
DIGITS = 7  # of every number that is kept: as many as float32 has


@dataclass(frozen=True)
class Said:
    """A response to a prompt, in token ids; `id` is unique among them."""

    id: str
    prompt: tuple[int, ...]
    response: tuple[int, ...]


def measured(
    seed: ModelRef,
    train: Path,
    said: Sequence[Said],
    form: Form,
    batch_tokens: int,
    workers: int | None,
    journal: Path,
    progress: Progress,
) -> Iterator[dict[str, Any]]:
    """The fields of TokenShift of each response, in order, going on from what `journal` holds.

    Args:
        train: the folder of what was trained on `seed`.
        batch_tokens: padded tokens of one forward pass. A response that is longer stands alone.
        workers: processes; None: one a GPU, on a CPU one. The batches are the same for any number.

    Raises:
        UserError: not enough memory for the models or for one answer, logits that are no numbers, or a process of ours
            died.
    """
    shards.gather(journal, "id")
    made = {line["id"] for line in journals.read(journal)}
    planned = plan_micro_batches([len(one.prompt) + len(one.response) for one in said], batch_tokens)
    batches = [[said[place] for place in places] for places in planned]
    # A batch that was torn is made again as a whole: other company would round otherwise.
    waiting = [batch for batch in batches if any(one.id not in made for one in batch)]
    finished = len(said) - sum(map(len, waiting))

    def done(more: int) -> None:
        nonlocal finished
        finished += more
        progress(finished, len(said), "responses")

    done(0)
    if waiting:
        work = functools.partial(_measure, seed, train, form)
        count = shards.worker_count(workers, seed.device)
        shards.spread(count, seed.device, work, waiting, journal, "id", done)
    # As text until it is needed: a tenth of what the numbers take.
    lines = {line["id"]: line["shift"] for line in journals.read(journal)}
    for one in said:
        yield json.loads(lines[one.id])


def pair_of(seed: ModelRef, train: Path) -> Pair:
    """Seed LM and tuned model in memory: one model, whose adapter can be switched off, or two checkpoints."""
    from sdft_exp.models.load import load
    from sdft_exp.shift.tokens import Pair, adapter_pair

    ref, adapter = tuned(seed, train)
    worn, _ = load(ref, adapter)  # mostly kept since it answered
    return Pair(_rounded_seed(seed, Path(ref.path)), worn) if adapter is None else adapter_pair(worn)


def _rounded_seed(seed: ModelRef, saved: Path) -> Any:
    """The seed LM, its weights rounded to the precision that the model in the folder `saved` was kept in.

    So rounding alone is no shift, as it is none of an adapter, whose base stays what it was.
    """
    import torch

    from sdft_exp.models.load import read_model
    from sdft_exp.shift.parameters import saved_precision

    kept = saved_precision(saved)
    if kept in (seed.dtype, "float32"):
        return read_model(seed)
    model = read_model(dataclasses.replace(seed, dtype=kept))
    for weight in model.state_dict(keep_vars=True).values():
        if weight.dtype == getattr(torch, kept):
            weight.data = weight.data.to(getattr(torch, seed.dtype))
    return model


def _measure(
    seed: ModelRef,
    train: Path,
    form: Form,
    batches: Sequence[Sequence[Said]],
    journal: Path,
    done: Callable[[int], None],
) -> None:
    """Write the shift of each response of `batches` into `journal`, whole batches at a time.

    A batch that memory does not hold is halved, and so is every later one of its size.
    """
    import torch
    from accelerate.utils.memory import should_reduce_batch_size

    from sdft_exp.data.encode import load_encoder
    from sdft_exp.shift import aligntds
    from sdft_exp.shift.tokens import TOP, Spoken, token_shift

    encoder = load_encoder(seed.path, seed.revision)
    compatible = form == "aligntds"
    text = functools.cache(lambda token: encoder.text([token]))
    lower = "take model.dtype=bfloat16"
    try:
        pair = pair_of(seed, train)
    except RuntimeError as error:
        if not should_reduce_batch_size(error):
            raise
        raise UserError(
            f"token shift: out of memory while loading; the two models of a full tuning are held at once: {lower}"
        ) from None
    waiting = deque(batches)
    most: float = math.inf  # tokens of a batch that memory holds
    while waiting:
        batch = waiting.popleft()
        tokens = len(batch) * max(len(one.prompt) + len(one.response) for one in batch)
        if tokens > most and len(batch) > 1:
            half = len(batch) // 2
            waiting.extendleft([batch[half:], batch[:half]])
            continue
        spoken = [Spoken(one.prompt, one.response) for one in batch]
        try:
            found = token_shift(pair, spoken, encoder.pad_id, aligntds.TOP if compatible else TOP)
        except RuntimeError as error:
            if not should_reduce_batch_size(error):
                raise
            most = tokens // 2
            waiting.appendleft(batch)
        else:
            for one, each in zip(batch, found, strict=True):
                _check_finite(one, each, seed)
            if compatible:
                found = [aligntds.aligntds(each, text) for each in found]
            lines = ({"id": one.id, "shift": _as_text(each, TOP)} for one, each in zip(batch, found, strict=True))
            journals.append(journal, lines)
            done(len(batch))
            continue
        if len(batch) == 1:
            raise UserError(
                f"token shift: out of memory at one answer of {tokens} tokens, its prompt included; {lower}; what was "
                "measured is kept"
            )
        # Outside the handler: the exception holds on to the tensors of the failed batch.
        torch.cuda.empty_cache()


def _check_finite(one: Said, shift: TokenShift, seed: ModelRef) -> None:
    if not all(map(math.isfinite, shift.kl_base_tuned + shift.kl_tuned_base)):
        raise UserError(
            f"token shift: at the answer to question {one.id} the seed LM or the tuned model gives logits that are no "
            f"numbers, or leaves no chance to a token that the other gives one, in {seed.dtype}; take another "
            "model.dtype, and if that does not help, look at the training: it may have diverged"
        )


def _as_text(shift: TokenShift, top: int) -> str:
    fields = dataclasses.asdict(shift)
    for name in ("top_base", "top_tuned"):
        fields[name] = [listed[:top] for listed in fields[name]]
    return json.dumps(_rounded(fields))


def _rounded(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _rounded(part) for name, part in value.items()}
    if isinstance(value, list | tuple):
        return [_rounded(part) for part in value]
    return float(f"{value:.{DIGITS}g}") if isinstance(value, float) else value
