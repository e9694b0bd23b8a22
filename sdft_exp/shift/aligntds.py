"""Token shift in the form of AlignTDS, the code behind Lin et al., 2023 (arXiv 2312.01552): Re-Align/AlignTDS 178a262.

It saves the 30 likeliest tokens of either model and knows no other (`logit_analysis.py`, `compute_dist_diff.py`): each
list is renormalised, and the two are matched by what a token decodes to, not by its id.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sdft_exp.shift.tokens import TokenShift

TOP = 30
ABSENT = 50  # the rank of a token that is not in the base's list

Listed = Sequence[tuple[int, float]]


def aligntds(shift: TokenShift, text: Callable[[int], str]) -> TokenShift:
    """`shift`, measured with the `TOP` likeliest tokens, as AlignTDS would have it.

    t* is the tuned model's likeliest token, ranks count from 0, and KL is the sum of P_base ln(P_base / P_tuned) over
    the tokens in both lists, which may be negative. The other direction, which AlignTDS has not, is made alike.

    Args:
        text: what a token decodes to; of several tokens that decode to the same the likeliest counts.
    """
    top_base, top_tuned = ([_renormalised(listed) for listed in top] for top in (shift.top_base, shift.top_tuned))
    by_text = [(_by_text(base, text), _by_text(tuned, text)) for base, tuned in zip(top_base, top_tuned, strict=True)]
    first = [next(iter(tuned)) for _, tuned in by_text]
    ranks = [
        next((rank for rank, (token, _) in enumerate(listed) if text(token) == wanted), ABSENT)
        for listed, wanted in zip(top_base, first, strict=True)
    ]
    return dataclasses.replace(
        shift,
        kl_base_tuned=[_kl(base, tuned) for base, tuned in by_text],
        kl_tuned_base=[_kl(tuned, base) for base, tuned in by_text],
        base_probability=[base.get(wanted, 0.0) for (base, _), wanted in zip(by_text, first, strict=True)],
        tuned_probability=[tuned[wanted] for (_, tuned), wanted in zip(by_text, first, strict=True)],
        base_rank=ranks,
        top_base=top_base,
        top_tuned=top_tuned,
    )


def _renormalised(listed: Listed) -> list[tuple[int, float]]:
    total = sum(probability for _, probability in listed)
    return [(token, probability / total) for token, probability in listed]


def _by_text(listed: Listed, text: Callable[[int], str]) -> dict[str, float]:
    found: dict[str, float] = {}
    for token, probability in listed:
        found.setdefault(text(token), probability)
    return found


def _kl(one: dict[str, float], other: dict[str, float]) -> float:
    # A probability that is too small for a number has no part, as there.
    both = [(p, other[text]) for text, p in one.items() if p > 0 and other.get(text, 0.0) > 0]
    return sum(p * math.log(p / q) for p, q in both)
