"""Token shift: how far the tuned model's next-token distributions lie from its base's, exact over the whole vocabulary.

Lin et al., 2023 (arXiv 2312.01552), as Ghosh et al. use it (arXiv 2402.05119, section 4): the tuned model's greedy
response r to a prompt x is fed to both models as x + r_<t, and their distributions of the next token are compared.
Each model reads each sequence once. Logits are computed at response positions alone, a few at a time, so that memory
does not grow with length times vocabulary.

t* is the token that stands in the response: what the tuned model chose when it wrote it. Read again in other company,
or in another precision, the model may hold another token for likelier by a hair; `agrees` tells where.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import peft
import torch
from peft.tuners.tuners_utils import BaseTunerLayer
from peft.utils.other import AuxiliaryTrainingWrapper
from transformers.utils import ModelOutput

TOP = 10  # of each model's likeliest tokens, for a page
# Numbers of one model's logits that are there at once, 131 positions of 32,000 tokens; and, on a CPU, that are compared
# at once: as many as stay in its cache, which makes it twice as fast.
CHUNK = 1 << 22
CPU_BLOCK = 1 << 18
_STRETCH = 128


@dataclass(frozen=True)
class Spoken:
    """A prompt and the response to it, as token ids; neither is empty."""

    prompt: tuple[int, ...]
    response: tuple[int, ...]


@dataclass(frozen=True)
class TokenShift:
    """Of one response: a value a token, and for both models the likeliest tokens as (id, probability).

    Attributes:
        kl_base_tuned: KL(base || tuned) in nats; `kl_tuned_base` the other way.
        base_probability: of t*; `tuned_probability` likewise.
        base_rank: of t* among the base's tokens, 1 for the likeliest: one more than there are likelier ones, so that of
            equally likely tokens (of half-precision logits there are some) each has the best of their ranks.
        ties: how many other tokens the base holds for exactly as likely as t*; with another rule t*'s rank would be up
            to so many more.
        agrees: whether no token is likelier than t* to the tuned model.
    """

    kl_base_tuned: list[float]
    kl_tuned_base: list[float]
    base_probability: list[float]
    tuned_probability: list[float]
    base_rank: list[int]
    ties: list[int]
    agrees: list[bool]
    top_base: list[list[tuple[int, float]]]
    top_tuned: list[list[tuple[int, float]]]


@dataclass(frozen=True)
class Pair:
    """Base and tuned model, both in memory; one and the same object where the tuned model is the base in an adapter.

    Two checkpoints are held at once: full tuning took several times the memory of both, and keeping one's states while
    the other is loaded would tie a batch to the whole set.

    Attributes:
        adapter_off: makes `base` the base for as long as it is entered.
    """

    base: Any
    tuned: Any
    adapter_off: Callable[[], AbstractContextManager[Any]] = contextlib.nullcontext


def adapter_pair(worn: Any) -> Pair:
    """A PEFT model with its adapter on, and what it is without."""
    return Pair(worn, worn, worn.disable_adapter)


@torch.inference_mode()
def token_shift(pair: Pair, batch: Sequence[Spoken], pad_id: int, top: int = TOP) -> list[TokenShift]:
    """The shift of each response: one forward pass of either model over all of `batch`, padded on the right.

    Args:
        top: how many of the likeliest tokens are told.
    """
    if not all(one.prompt and one.response for one in batch):
        raise ValueError("token_shift: an empty prompt or response")
    base, tuned = _causal(pair.base), _causal(pair.tuned)
    ids, places = _laid_out(batch, pad_id)
    ids, places = ids.to(base.device), places.to(base.device)
    with pair.adapter_off():
        base_states = _states(base, ids, places)
    tuned_states = _states(tuned, ids.to(tuned.device), places.to(tuned.device))
    chosen = torch.tensor([token for one in batch for token in one.response], device=base.device)
    # Going through all of a model's layers takes as long as a chunk: only where the adapter is on the output layer too.
    head_off = pair.adapter_off if _is_adapted(base.get_output_embeddings()) else contextlib.nullcontext
    parts = []
    for chunk in _slices(len(chosen), CHUNK // base.get_output_embeddings().weight.shape[0]):
        with head_off():
            base_logits = _logits(base, base_states, chunk)
        tuned_logits = _logits(tuned, tuned_states, chunk).to(base.device)
        on_cpu = base_logits.device.type == "cpu"
        for block in _slices(len(base_logits), (CPU_BLOCK if on_cpu else CHUNK) // base_logits.shape[1]):
            parts.append(_compare(base_logits[block], tuned_logits[block], chosen[chunk][block], top))
        del base_logits, tuned_logits  # before the next ones are there
    columns = [torch.cat(column).tolist() for column in zip(*parts, strict=True)]
    return _by_response(columns, [len(one.response) for one in batch])


def _laid_out(batch: Sequence[Spoken], pad_id: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Ids [rows, longest] and, of the same shape, whether a place predicts a token of the response.

    The last token predicts nothing that is there, and is left out. There is no attention mask: what pads a row stands
    behind it, where a causal model does not look.
    """
    width = max(len(one.prompt) + len(one.response) for one in batch) - 1
    ids = torch.full((len(batch), width), pad_id)
    places = torch.zeros(len(batch), width, dtype=torch.bool)
    for row, one in enumerate(batch):
        read = one.prompt + one.response[:-1]
        ids[row, : len(read)] = torch.tensor(read)
        places[row, len(one.prompt) - 1 : len(read)] = True
    return ids, places


def _causal(model: Any) -> Any:
    """The model with its output layer, of which PEFT has made one with adapters inside."""
    return model.get_base_model() if isinstance(model, peft.PeftModel) else model


@dataclass(frozen=True)
class _States:
    """Hidden states [positions, width], and as what a model's decoder gives them: Mixtral's is of a kind of its own."""

    numbers: torch.Tensor
    kind: type[ModelOutput]


def _states(causal: Any, ids: torch.Tensor, places: torch.Tensor) -> _States:
    """The last hidden states at `places`."""
    found = causal.get_decoder()(input_ids=ids, use_cache=False)
    return _States(found.last_hidden_state[places], type(found))


def _logits(causal: Any, states: _States, chunk: slice) -> torch.Tensor:
    """Logits [positions, vocabulary] behind the hidden states of `chunk`.

    By the model's own forward, with whatever it does to logits (Gemma caps them, Cohere scales them), its decoder
    standing aside.
    """
    numbers = states.numbers[None, chunk]
    with _giving(causal.get_decoder(), states.kind(last_hidden_state=numbers)):
        logits: torch.Tensor = causal(input_ids=numbers.new_zeros((1, 1), dtype=torch.long), use_cache=False).logits[0]
    return logits


@contextlib.contextmanager
def _giving(decoder: Any, output: ModelOutput) -> Iterator[None]:
    """`decoder` gives `output`, whatever it is asked."""
    own = vars(decoder).get("forward")
    decoder.forward = lambda *args, **kwargs: output
    try:
        yield
    finally:
        if own is None:
            del decoder.forward
        else:
            decoder.forward = own


def _is_adapted(head: Any) -> bool:
    return any(isinstance(part, BaseTunerLayer | AuxiliaryTrainingWrapper) for part in head.modules())


def _slices(length: int, size: int) -> list[slice]:
    size = max(1, size)
    return [slice(start, start + size) for start in range(0, length, size)]


def _compare(base: torch.Tensor, tuned: torch.Tensor, chosen: torch.Tensor, top: int) -> tuple[torch.Tensor, ...]:
    """The fields of TokenShift for some positions: of logits [positions, vocabulary], which are used up, and t*.

    With a and b the logits less their maxima, and Z the sums of their exponentials:
    KL(base || tuned) = sum exp(a) (a - b) / Z_a - ln(Z_a / Z_b).
    It is not finite where a model leaves no chance (a logit of -inf) to what the other gives one, and NaN where the
    logits of a position are no numbers.
    """
    base, tuned = (logits if logits.dtype == torch.float64 else logits.float() for logits in (base, tuned))
    base_best, base_ids = _best(base, top)
    tuned_best, tuned_ids = _best(tuned, top)
    base_own, tuned_own = base.gather(1, chosen[:, None]), tuned.gather(1, chosen[:, None])
    rank, ties = _rank(base, base_own)
    base_max, tuned_max = base_best[:, :1].clone(), tuned_best[:, :1].clone()
    difference = base.sub_(base_max) - tuned.sub_(tuned_max)
    base_sum, base_mean = _expectation(base, difference)
    tuned_sum, tuned_mean = _expectation(tuned, difference)
    log_ratio = (base_sum / tuned_sum).log()

    def probability(logits: torch.Tensor, highest: torch.Tensor, total: torch.Tensor) -> torch.Tensor:
        return (logits - highest).double().exp() / total[:, None]

    return (
        (base_mean - log_ratio).clamp_min(0.0),  # rounding may leave -1e-9 of nothing
        (log_ratio - tuned_mean).clamp_min(0.0),
        probability(base_own, base_max, base_sum)[:, 0],
        probability(tuned_own, tuned_max, tuned_sum)[:, 0],
        rank,
        ties,
        (tuned_own >= tuned_max)[:, 0],
        base_ids,
        probability(base_best, base_max, base_sum),
        tuned_ids,
        probability(tuned_best, tuned_max, tuned_sum),
    )


def _best(logits: torch.Tensor, top: int) -> tuple[torch.Tensor, torch.Tensor]:
    """The highest logits of each row and their places, as topk gives them.

    They lie in those stretches whose own highest are highest; of whole rows topk takes a CPU three times as long.
    """
    rows, width = logits.shape
    whole = width // _STRETCH * _STRETCH
    stretches = logits[:, :whole].unflatten(1, (-1, _STRETCH))
    if stretches.shape[1] <= top:
        best = logits.topk(min(top, width))
        return best.values, best.indices
    chosen = stretches.amax(2).topk(top).indices[:, :, None]
    within = stretches.gather(1, chosen.expand(-1, -1, _STRETCH)).flatten(1)
    places = (chosen * _STRETCH + torch.arange(_STRETCH, device=logits.device)).flatten(1)
    rest = torch.arange(whole, width, device=logits.device).expand(rows, -1)
    best = torch.cat([within, logits[:, whole:]], 1).topk(top)
    return best.values, torch.cat([places, rest], 1).gather(1, best.indices)


def _rank(logits: torch.Tensor, own: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Rank and ties of the logit `own` [positions, 1]."""
    # Counted in a float: summing bools takes the CPU three times as long.
    flags = torch.empty_like(logits)
    likelier = torch.gt(logits, own, out=flags).sum(1).long()
    return 1 + likelier, torch.eq(logits, own, out=flags).sum(1).long() - 1


def _expectation(logits: torch.Tensor, values: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Sum of the exponentials of each row, and the mean of `values` with those for weights. `logits` are used up."""
    weights = logits.exp_()
    total = _sum(weights)
    products = weights.mul_(values)
    found = _sum(products)
    if not math.isfinite(found.sum().item()):  # for logits of -inf: what has no weight has no part
        found = _sum(products.nan_to_num_(nan=0.0, posinf=math.inf, neginf=-math.inf))
    return total, found / total


def _sum(rows: torch.Tensor) -> torch.Tensor:
    """Sums of the rows as float64, of stretches short enough that float32 loses nothing that counts.

    Float64 from the start takes a CPU three times as long; float32 to the end is off by ten times as much.
    """
    whole = rows.shape[1] // _STRETCH * _STRETCH
    parts = rows[:, :whole].unflatten(1, (-1, _STRETCH)).sum(2).sum(1, dtype=torch.float64)
    return parts + rows[:, whole:].sum(1, dtype=torch.float64)


def _by_response(columns: list[list[Any]], lengths: Sequence[int]) -> list[TokenShift]:
    *single, base_ids, base_best, tuned_ids, tuned_best = columns
    tops = [
        [list(zip(*position, strict=True)) for position in zip(ids, best, strict=True)]
        for ids, best in ((base_ids, base_best), (tuned_ids, tuned_best))
    ]
    found, start = [], 0
    for length in lengths:
        own = slice(start, start + length)
        found.append(TokenShift(*(column[own] for column in single), *(column[own] for column in tops)))
        start += length
    return found
