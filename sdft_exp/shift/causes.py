"""Where shifted tokens come from: the words that begin with one, looked for in what the model was fine-tuned on.

After Ghosh et al., 2024 (arXiv 2402.05119, sections 4 and 5). Where its annotators marked phrases, all words at shifted
and marginal tokens are taken, and words at unshifted ones are the control. The example that a response has them from
(the paper's causing instance) is the one whose responses hold most of them, rare ones weighing more: each counts
log((1 + examples) / examples with it).
"""

from __future__ import annotations

import hashlib
import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from sdft_exp.shift.embedding import EncoderRef, Vectors, embed
from sdft_exp.shift.words import first_tokens, is_style, words
from sdft_exp.stage import Progress

CLASSES = ("shifted", "marginal", "unshifted")
MOVED = ("shifted", "marginal")
ORDERS = (1, 2, 3)  # of n-grams
# What is told of a response's examples, see `item`.
OF_EXAMPLES = (
    *("nearest_similarity", "causing_similarity"),
    *("keyword_likelihood", "keyword_likelihood_nearest", "keyword_likelihood_random"),
)
NEAREST = 3  # examples that are told
FREQUENT = 30  # words that are told
_AT_ONCE = 256  # responses that are compared with all examples at once


@dataclass(frozen=True)
class Response:
    """A tuned model's response, and each word of it with the class of its first token."""

    id: str | int
    instruction: str
    text: str
    words: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Example:
    """A row that was trained on; `spoken` is all that loss was on, the answers of earlier turns too."""

    id: str | int
    instruction: str
    response: str
    spoken: str


@dataclass(frozen=True)
class Kin:
    """An example as it stands to a response: its place among the examples, the cosine of their instructions with
    responses, and the keyword likelihood; None for a response without a word."""

    place: int
    similarity: float
    likelihood: float | None


@dataclass(frozen=True)
class Cause:
    """What one response has from the examples.

    Attributes:
        nearest: the examples nearest by embedding, the nearest first.
        causing: the example that it has its moved words from, and those in `shared`; None where no example has one.
        drawn: an example drawn at random, the control.
    """

    nearest: tuple[Kin, ...]
    causing: Kin | None
    shared: tuple[str, ...]
    drawn: Kin


class Examples:
    """What was trained on; `holders` has the places of the examples whose responses hold a word."""

    def __init__(self, examples: Sequence[Example]) -> None:
        self.all = examples
        places: dict[str, list[int]] = defaultdict(list)
        for place, example in enumerate(examples):
            for word in set(words(example.spoken)):
                places[word].append(place)
        self.holders = {word: np.array(own, dtype=np.int32) for word, own in places.items()}

    def count(self, word: str) -> int:
        """How many examples hold it."""
        return len(self.holders.get(word, ()))

    def causing(self, wanted: Iterable[str], similarity: npt.NDArray[np.float32]) -> int | None:
        """The place of the example that holds most of the words `wanted`; of equals the nearest by `similarity`."""
        scores = np.zeros(len(self.all))
        for word in sorted(wanted):
            if word in self.holders:
                scores[self.holders[word]] += math.log((1 + len(self.all)) / self.count(word))
        if not scores.any():
            return None
        best = np.flatnonzero(scores == scores.max())
        return int(best[np.argmax(similarity[best])])


def response_of(identity: str | int, instruction: str, text_pieces: Sequence[str], classes: Sequence[str]) -> Response:
    """A response in pieces, one a token, with the tokens' classes; its end token left out."""
    placed = tuple((word, classes[piece]) for piece, word in first_tokens(text_pieces))
    return Response(identity, instruction, "".join(text_pieces), placed)


def causes(
    responses: Sequence[Response], examples: Examples, encoder: EncoderRef, progress: Progress
) -> tuple[list[Cause], dict[str, Any]]:
    """The cause of each response; and "encoder", "encoder_tokens" and "cut", how many texts were longer than that."""
    of_examples = embed(encoder, [_instance(example) for example in examples.all], progress)
    of_responses = embed(encoder, [_instance(response) for response in responses], progress)
    found = []
    for number, (response, similarity) in enumerate(
        zip(responses, _similarities(of_responses.vectors, of_examples.vectors), strict=True)
    ):
        progress(number, len(responses), "responses")
        found.append(_cause(response, examples, similarity))
    progress(len(responses), len(responses), "responses")
    return found, {
        "encoder": encoder.name,
        "encoder_tokens": of_examples.longest,
        "cut": {"responses": sum(of_responses.cut), "examples": sum(of_examples.cut)},
    }


def likelihood(response: str, example: str) -> float | None:
    """The paper's keyword likelihood: the share of the response's n-grams that occur in the example, each n-gram once,
    averaged over n of 1 to 3 as far as the response has so many words; None where it has none."""
    own, other = words(response), words(example)
    shares = [len(grams & _grams(other, order)) / len(grams) for order in ORDERS if (grams := _grams(own, order))]
    return sum(shares) / len(shares) if shares else None


def item(response: Response, cause: Cause, examples: Examples) -> dict[str, float]:
    """A response's values for scores.json; one that has no word of a class lacks the shares of that class.

    By class: "shifted_in_data", the share of its words that an example's responses hold, and "shifted_style", the share
    of style words among them. "nearest_similarity" and "causing_similarity"; "keyword_likelihood" with the causing
    example, and of the nearest and the drawn one under "keyword_likelihood_nearest" and "keyword_likelihood_random".
    """
    values: dict[str, float | None] = {}
    for name, part in word_shares([response], examples).items():
        values |= {f"{name}_in_data": part["in_data"], f"{name}_style": part["style"]}
    for name, kin in (("nearest", cause.nearest[0]), ("causing", cause.causing)):
        values[f"{name}_similarity"] = None if kin is None else kin.similarity
    for name, kin in (("", cause.causing), ("_nearest", cause.nearest[0]), ("_random", cause.drawn)):
        values[f"keyword_likelihood{name}"] = None if kin is None else kin.likelihood
    return {name: value for name, value in values.items() if value is not None}


def word_shares(responses: Sequence[Response], examples: Examples) -> dict[str, dict[str, Any]]:
    """By class, of all words of the responses whose first token is of it: "words", how many; "in_data", the share that
    occurs in the responses trained on; "style", the share of style words; "style_in_data" and "content_in_data", the
    shares of either kind that occur there. None where there is none to have a share of."""
    told = {}
    for name in CLASSES:
        kinds: dict[bool, list[bool]] = {True: [], False: []}
        for word in _words_of(responses, (name,)):
            kinds[is_style(word)].append(word in examples.holders)
        style, content = kinds[True], kinds[False]
        told[name] = {
            "words": len(style) + len(content),
            "in_data": _share(style + content),
            "style": _share([True] * len(style) + [False] * len(content)),
            "style_in_data": _share(style),
            "content_in_data": _share(content),
        }
    return told


def frequent(responses: Sequence[Response], examples: Examples) -> dict[str, list[dict[str, Any]]]:
    """By class, shifted and marginal, the most frequent words: "word", "count", "style" and in how many "examples"."""
    return {
        name: [
            {"word": word, "count": count, "style": is_style(word), "examples": examples.count(word)}
            for word, count in sorted(
                Counter(_words_of(responses, (name,))).items(), key=lambda entry: (-entry[1], entry[0])
            )[:FREQUENT]
        ]
        for name in MOVED
    }


def readable(response: Response, cause: Cause, examples: Examples) -> dict[str, Any]:
    """One response with its words, its examples and what it shares with them, for a person to read."""
    return {
        "id": response.id,
        "instruction": response.instruction,
        "response": response.text,
        "words": {
            name: [
                {"word": word, "examples": examples.count(word), "style": is_style(word)}
                for word in dict.fromkeys(_words_of([response], (name,)))
            ]
            for name in MOVED
        },
        "causing": cause.causing and {**_shown(cause.causing, examples), "shared": list(cause.shared)},
        "nearest": [_shown(kin, examples) for kin in cause.nearest],
    }


def _cause(response: Response, examples: Examples, similarity: npt.NDArray[np.float32]) -> Cause:
    def kin(place: int) -> Kin:
        told = likelihood(response.text, _instance(examples.all[place]))
        return Kin(place, float(np.clip(similarity[place], -1, 1)), told)

    moved = set(_words_of([response], MOVED))
    causing = examples.causing(moved, similarity)
    nearest = np.lexsort((np.arange(len(similarity)), -similarity))[:NEAREST]
    drawn = int.from_bytes(hashlib.sha256(str(response.id).encode()).digest()[:8]) % len(examples.all)
    return Cause(
        nearest=tuple(kin(int(place)) for place in nearest),
        causing=None if causing is None else kin(causing),
        shared=() if causing is None else tuple(sorted(moved & set(words(examples.all[causing].spoken)))),
        drawn=kin(drawn),
    )


def _similarities(responses: Vectors, examples: Vectors) -> Iterator[npt.NDArray[np.float32]]:
    for start in range(0, len(responses), _AT_ONCE):
        yield from responses[start : start + _AT_ONCE] @ examples.T


def _instance(one: Response | Example) -> str:
    return f"{one.instruction}\n{one.text if isinstance(one, Response) else one.response}"


def _words_of(responses: Iterable[Response], classes: Sequence[str]) -> list[str]:
    return [word for response in responses for word, name in response.words if name in classes]


def _grams(own: Sequence[str], order: int) -> set[tuple[str, ...]]:
    return set(zip(*(own[start:] for start in range(order)), strict=False))


def _share(held: Sequence[bool]) -> float | None:
    return sum(held) / len(held) if held else None


def _shown(kin: Kin, examples: Examples) -> dict[str, Any]:
    example = examples.all[kin.place]
    return {
        "id": example.id,
        "similarity": round(kin.similarity, 6),
        "keyword_likelihood": kin.likelihood,
        "instruction": example.instruction,
        "response": example.response,
    }
