"""Causes of a few hand-made responses in a few hand-made examples, with embeddings given by hand."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from sdft_exp.shift import causes as module
from sdft_exp.shift.causes import (
    OF_EXAMPLES,
    Cause,
    Example,
    Examples,
    Kin,
    causes,
    frequent,
    item,
    likelihood,
    readable,
    response_of,
    word_shares,
)
from sdft_exp.shift.embedding import Embedded, EncoderRef

ENCODER = EncoderRef("digest", "by hand", "nowhere", None, "cpu", None)
EXAMPLES = [
    Example("a", "say hi", "Sorry, I cannot help.", "Sorry, I cannot help."),
    Example("b", "count cats", "Here are twelve cats.", "Here are twelve cats."),
    Example("c", "dogs", "Dogs bark.", "Here you are, Lassie.\nDogs bark."),
    Example("d", "birds", "Birds sing.", "Birds sing."),
]
COUNTED = response_of(
    7,
    "count dogs",
    ["Here", " are", " twel", "ve", " dogs", ", here", " zebras", "!"],
    ["shifted", "unshifted", "marginal", "shifted", "unshifted", "unshifted", "shifted", "shifted"],
)
MUTE = response_of(8, "be quiet", ["..."], ["shifted"])
VECTORS = {
    "say hi\nSorry, I cannot help.": [1.0, 0.0],
    "count cats\nHere are twelve cats.": [0.6, 0.8],
    "dogs\nDogs bark.": [0.8, 0.6],
    "birds\nBirds sing.": [0.0, -1.0],
    "count dogs\nHere are twelve dogs, here zebras!": [0.8, 0.6],
    "be quiet\n...": [0.0, 1.0],
}


@pytest.fixture(autouse=True)
def _by_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    def embed(encoder: EncoderRef, texts: Sequence[str], progress: Any) -> Embedded:
        cut = tuple(text.startswith("be quiet") for text in texts)
        return Embedded(np.array([VECTORS[text] for text in texts], dtype=np.float32), cut, 16)

    monkeypatch.setattr(module, "embed", embed)


def silent(done: int, total: int, what: str) -> None:
    pass


def found() -> tuple[list[Cause], dict[str, Any]]:
    return causes([COUNTED, MUTE], Examples(EXAMPLES), ENCODER, silent)


def test_a_response_is_its_text_and_the_classes_of_its_words() -> None:
    assert COUNTED.text == "Here are twelve dogs, here zebras!"
    assert COUNTED.words == (
        *(("here", "shifted"), ("are", "unshifted"), ("twelve", "marginal"), ("dogs", "unshifted")),
        *(("here", "unshifted"), ("zebras", "shifted")),
    )


def test_shares_of_words_of_hand() -> None:
    assert word_shares([COUNTED, MUTE], Examples(EXAMPLES)) == {
        # "here" and "zebras"; the first is a style word and trained on, earlier turns of a row included.
        "shifted": {"words": 2, "in_data": 0.5, "style": 0.5, "style_in_data": 1.0, "content_in_data": 0.0},
        "marginal": {"words": 1, "in_data": 1.0, "style": 0.0, "style_in_data": None, "content_in_data": 1.0},
        # "are", "dogs" and "here".
        "unshifted": {"words": 3, "in_data": 1.0, "style": 2 / 3, "style_in_data": 1.0, "content_in_data": 1.0},
    }


def test_keyword_likelihood_of_hand() -> None:
    # Of the words here, are, twelve, dogs, zebras three; of the five pairs two; of the four triples one.
    expected = (3 / 5 + 2 / 5 + 1 / 4) / 3
    assert likelihood(COUNTED.text, "count cats\nHere are twelve cats.") == pytest.approx(expected, abs=1e-12)
    assert likelihood("Dogs bark", "dogs bark loudly") == 1.0  # two words have no triple
    assert likelihood("Dogs", "cats") == 0.0
    assert likelihood("...", "cats") is None


def test_nearest_and_causing_examples_of_hand() -> None:
    (cause, mute), told = found()
    assert [(kin.place, round(kin.similarity, 6)) for kin in cause.nearest] == [(2, 1.0), (1, 0.96), (0, 0.8)]
    # "here" stands in examples 1 and 2, "twelve" in 1 alone.
    assert cause.causing is not None and cause.causing.place == 1
    assert cause.causing.likelihood == likelihood(COUNTED.text, "count cats\nHere are twelve cats.")
    assert cause.shared == ("here", "twelve")
    assert (mute.causing, mute.shared) == (None, ())
    assert told == {"encoder": "by hand", "encoder_tokens": 16, "cut": {"responses": 1, "examples": 0}}


def test_rare_words_weigh_more_and_of_equals_the_nearest_counts() -> None:
    spoken = ["the cat", "the cat", "the dog", "a zebra"]
    examples = Examples([Example(place, "", said, said) for place, said in enumerate(spoken)])
    similarity = np.array([0.1, 0.3, 0.9, 0.0], dtype=np.float32)
    assert examples.causing({"the", "zebra"}, similarity) == 3  # log(5/1) over log(5/3)
    assert math.log(5) > math.log(5 / 3)
    assert examples.causing({"the", "cat"}, similarity) == 1
    assert examples.causing({"the"}, similarity) == 2
    assert examples.causing({"horse"}, similarity) is None


def test_the_values_of_a_response() -> None:
    (cause, mute), _ = found()
    examples = Examples(EXAMPLES)
    values = item(COUNTED, cause, examples)
    assert values == pytest.approx(
        {
            "shifted_in_data": 0.5,
            "shifted_style": 0.5,
            "marginal_in_data": 1.0,
            "marginal_style": 0.0,
            "unshifted_in_data": 1.0,
            "unshifted_style": 2 / 3,
            "nearest_similarity": 1.0,
            "causing_similarity": 0.96,
            "keyword_likelihood": (3 / 5 + 2 / 5 + 1 / 4) / 3,
            "keyword_likelihood_nearest": 1 / 5 / 3,
            "keyword_likelihood_random": likelihood(COUNTED.text, _text(cause.drawn)),
        },
        abs=1e-6,
    )
    assert list(values)[-5:] == list(OF_EXAMPLES)
    assert item(MUTE, mute, examples) == {"nearest_similarity": pytest.approx(0.8)}


def _text(kin: Kin) -> str:
    return f"{EXAMPLES[kin.place].instruction}\n{EXAMPLES[kin.place].response}"


def test_the_drawn_example_hangs_on_the_question_alone() -> None:
    examples = Examples(EXAMPLES)
    both, turned = (causes(order, examples, ENCODER, silent)[0] for order in ([COUNTED, MUTE], [MUTE, COUNTED]))
    assert [cause.drawn.place for cause in both] == [cause.drawn.place for cause in reversed(turned)]
    many = [response_of(number, "be quiet", ["..."], ["shifted"]) for number in range(200)]
    drawn = [cause.drawn.place for cause in causes(many, examples, ENCODER, silent)[0]]
    assert {drawn.count(place) > 30 for place in range(4)} == {True}


def test_what_a_person_reads() -> None:
    (cause, _), _ = found()
    shown = readable(COUNTED, cause, Examples(EXAMPLES))
    assert shown["words"] == {
        "shifted": [{"word": "here", "examples": 2, "style": True}, {"word": "zebras", "examples": 0, "style": False}],
        "marginal": [{"word": "twelve", "examples": 1, "style": False}],
    }
    assert (shown["causing"]["id"], shown["causing"]["shared"]) == ("b", ["here", "twelve"])
    assert [near["response"] for near in shown["nearest"]] == [
        "Dogs bark.",
        "Here are twelve cats.",
        "Sorry, I cannot help.",
    ]
    assert frequent([COUNTED, COUNTED], Examples(EXAMPLES))["shifted"] == [
        {"word": "here", "count": 2, "style": True, "examples": 2},
        {"word": "zebras", "count": 2, "style": False, "examples": 0},
    ]
