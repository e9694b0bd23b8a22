from __future__ import annotations

from pathlib import Path

import pytest

from sdft_exp.errors import UserError
from sdft_exp.shift.embedding import EncoderRef
from sdft_exp.shift.responses import Pair, distribution, measure, pairs_of


def answer(question: int, said: str, repeat: int = 0) -> dict[str, object]:
    return {"task": "any", "doc_id": question, "repeat": repeat, "text": said, "finish": "stop", "tokens": 1}


def test_answers_are_paired_by_question_and_repeat() -> None:
    seed = [answer(0, "a"), answer(0, "b", 1), answer(1, "c"), answer(1, "d", 1)]
    tuned = [answer(1, "C"), answer(0, "A"), answer(0, "B", 1), answer(1, "D", 1)]
    assert pairs_of(seed, tuned) == [Pair(1, "c", "C"), Pair(0, "a", "A"), Pair(0, "b", "B"), Pair(1, "d", "D")]


def test_an_answer_without_its_other_is_an_error() -> None:
    with pytest.raises(UserError, match=r"did not answer the same questions \(question 1, repeat 0\)"):
        pairs_of([answer(0, "a"), answer(1, "b")], [answer(0, "a")])


def test_measures_and_what_is_told_of_the_texts(tiny_encoder: Path) -> None:
    ref = EncoderRef("digest", "tiny", str(tiny_encoder), None, "cpu", None)
    same = "the cat sat on the mat ."
    pairs = [Pair(0, same, same), Pair(1, same, ""), Pair(2, "the cat ate fish " * 5, "sorry i can not help")]
    told: list[tuple[int, int, str]] = []
    found, texts = measure(pairs, ref, lambda *progress: told.append(progress))
    assert [list(each) for each in found] == [["bleu4", "sacrebleu", "rouge_l", "rouge_score_l", "embedding"]] * 3
    assert found[0] == pytest.approx(dict.fromkeys(found[0], 1.0), abs=1e-6)
    assert [found[1][name] for name in ("bleu4", "sacrebleu", "rouge_l", "rouge_score_l")] == [0, 0, 0, 0]
    assert -1 <= found[2]["embedding"] < 0.999 and found[2]["rouge_l"] == 0
    assert texts == {
        "pairs": 3,
        "equal": 1,
        "empty": {"seed": 0, "tuned": 1},
        "cut": {"seed": 1, "tuned": 0},
        "encoder": "tiny",
        "encoder_tokens": 16,
    }
    assert told[-4:] == [(0, 3, "responses"), (1, 3, "responses"), (2, 3, "responses"), (3, 3, "responses")]


def test_distribution_of_hand() -> None:
    found = distribution([-0.5, 0.0, 0.04, 0.05, 1.0])
    assert found["mean"] == pytest.approx(0.59 / 5)
    assert found["quantiles"] == pytest.approx({"0.05": -0.4, "0.25": 0.0, "0.5": 0.04, "0.75": 0.05, "0.95": 0.81})
    histogram = found["histogram"]
    assert histogram["counts"] == [2, 1] + [0] * 17 + [1]
    assert histogram["edges"][:3] == [0, 0.05, 0.1] and histogram["edges"][-1] == 1 and len(histogram["edges"]) == 21
    assert histogram["below"] == 1
