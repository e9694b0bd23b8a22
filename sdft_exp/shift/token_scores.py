"""What token shift comes to: of a response for tables, of all tokens for figures. Imports no torch.

The paper's figures (arXiv 2402.05119) are means over all tokens; a table wants one value a question, so that intervals
can be drawn over questions. Both are told.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal

VALUES = ("kl_base_tuned", "kl_tuned_base", "base_probability", "tuned_probability", "base_rank")
CLASSES = ("unshifted", "marginal", "shifted")
BINS = 20  # of the relative position in a response
FIRST = 20  # the first of so many parts of a response: its first 5 %, as in the paper's Figure 4
FREQUENT = 50  # tokens of a class that are told with their counts

Class = Literal["unshifted", "marginal", "shifted"]
Shift = Mapping[str, Sequence[Any]]  # the fields of shift.tokens.TokenShift


def rank_class(rank: int) -> Class:
    """The class of a token whose base rank, from 1, is this."""
    return "unshifted" if rank == 1 else "marginal" if rank <= 3 else "shifted"


def first_tokens(length: int) -> int:
    """How many tokens are the first 5 % of a response; at least one."""
    return max(1, length // FIRST)


def of_response(shift: Shift, classes: Sequence[Class]) -> dict[str, float]:
    """The means over a response's tokens, the shares of the classes, KL(base || tuned) of its first 5 % and, where more
    tokens follow, of the rest, and the number of tokens."""
    whole, length = Part(), len(classes)
    whole.add(shift, classes, range(length))
    told = whole.told()
    first, kl = first_tokens(length), shift["kl_base_tuned"]
    scores = {name: told[name] for name in (*VALUES, *CLASSES)}
    scores["kl_first"] = sum(kl[:first]) / first
    if length > first:
        scores["kl_rest"] = sum(kl[first:]) / (length - first)
    return scores | {"tokens": float(length)}


class Part:
    """Sums over some tokens."""

    def __init__(self) -> None:
        self._tokens = 0
        self._sums = dict.fromkeys(VALUES, 0.0)
        self._classes = dict.fromkeys(CLASSES, 0)

    def add(self, shift: Shift, classes: Sequence[Class], places: Iterable[int]) -> None:
        """Count the tokens at `places` of a response."""
        for place in places:
            self._tokens += 1
            self._classes[classes[place]] += 1
            for name in VALUES:
                self._sums[name] += shift[name][place]

    def told(self) -> dict[str, Any]:
        """ "tokens", the means of VALUES and the shares of CLASSES; null where there is no token."""
        sums = self._sums | self._classes
        return {"tokens": self._tokens} | {
            n: total / self._tokens if self._tokens else None for n, total in sums.items()
        }


class Totals:
    """Of all tokens of all responses, each token counting the same."""

    def __init__(self) -> None:
        self._whole, self._first, self._rest = Part(), Part(), Part()
        self._positions = [Part() for _ in range(BINS)]
        self._seen: dict[Class, Counter[tuple[int, str]]] = {"shifted": Counter(), "marginal": Counter()}
        self._counts = Counter[str]()

    def add(self, shift: Shift, classes: Sequence[Class], ids: Sequence[int], pieces: Sequence[str]) -> None:
        """Count a response."""
        length, first = len(classes), first_tokens(len(classes))
        self._whole.add(shift, classes, range(length))
        self._first.add(shift, classes, range(first))
        self._rest.add(shift, classes, range(first, length))
        for place in range(length):
            self._positions[place * BINS // length].add(shift, classes, (place,))
        for token, piece, found in zip(ids, pieces, classes, strict=True):
            if found in self._seen:
                self._seen[found][token, piece] += 1
        self._counts["responses"] += 1
        self._counts["tied"] += sum(ties > 0 for ties in shift["ties"])
        self._counts["not_argmax"] += sum(not agrees for agrees in shift["agrees"])

    def told(self) -> dict[str, Any]:
        """The content of stats.json: see `stages.token_shift.run`."""
        return {
            **{name: self._counts[name] for name in ("responses", "tied", "not_argmax")},
            **self._whole.told(),
            "first": self._first.told(),
            "rest": self._rest.told(),
            "positions": [
                {"from": number / BINS, "to": (number + 1) / BINS, **part.told()}
                for number, part in enumerate(self._positions)
            ],
            "frequent": {
                name: [
                    {"id": token, "piece": piece, "count": count}
                    # By count, then by token: the same file whatever came first.
                    for (token, piece), count in sorted(seen.items(), key=lambda each: (-each[1], each[0]))[:FREQUENT]
                ]
                for name, seen in self._seen.items()
            },
        }
