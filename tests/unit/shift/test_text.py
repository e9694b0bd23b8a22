from __future__ import annotations

import logging
import subprocess
import sys
import warnings
from pathlib import Path

import pytest
import sacrebleu
from hypothesis import given, settings
from hypothesis import strategies as st
from nltk.translate.bleu_score import SmoothingFunction, sentence_bleu
from rouge_chinese import Rouge
from rouge_score.rouge_scorer import RougeScorer

from sdft_exp.shift import text

REFERENCE = "Sorry, I can't help with that: it's 3.5% of c++ at AT&T.\nAsk me something else?\n\nI'd be glad to."
PREDICTION = "I can't do that, but 3.5% of c++ at AT&T is fine.\nAsk me anything else? I'd be glad!"


def test_bleu4_of_hand() -> None:
    # 3/4 letters, 2/3 pairs, 1/2 triples, and for the 0/1 of four letters method 3 gives 1/2.
    assert text.bleu4("abcd", "abce") == pytest.approx((3 / 4 * 2 / 3 * 1 / 2 * 1 / 2) ** 0.25, abs=1e-12)
    # All of one to three letters, 1/2 for the four that a text of three has not, and the penalty for brevity.
    assert text.bleu4("abcd", "abc") == pytest.approx(0.5**0.25 * 2.718281828459045 ** (1 - 4 / 3), abs=1e-12)


def test_sacrebleu_of_hand() -> None:
    # 4/6 words, 1/5 pairs; none of 4 triples and of 3 fours, which exponential smoothing gives 1/2 and 1/4 of one.
    expected = (4 / 6 * 1 / 5 * 1 / 8 * 1 / 12) ** 0.25
    assert text.sacrebleu("the cat sat on the mat", "the cat lay on a mat") == pytest.approx(expected, abs=1e-12)


def test_rouge_of_hand() -> None:
    # "the cat on mat" of six words each; of three and six words two are common: P 2/3, R 1/3.
    assert text.rouge_score_l("the cat sat on the mat", "the cat lay on a mat") == pytest.approx(2 / 3, abs=1e-12)
    assert text.rouge_l("the cat sat on the mat", "the cat lay on a mat") == pytest.approx(2 / 3, abs=1e-7)
    assert text.rouge_l("the cat sat on the mat", "cat by mat") == pytest.approx(4 / 9, abs=1e-7)


def test_the_paper_s_form_splits_what_rouge_score_does_not_see() -> None:
    assert text.rouge_score_l("Yes!", "Yes?") == 1
    assert text.rouge_l("Yes!", "Yes?") == pytest.approx(1 / 2, abs=1e-7)  # of two words each, the mark is one


def test_equal_the_libraries_called_directly() -> None:
    assert text.bleu4(REFERENCE, PREDICTION) == sentence_bleu(
        [list(REFERENCE)], list(PREDICTION), smoothing_function=SmoothingFunction().method3
    )
    assert text.sacrebleu(REFERENCE, PREDICTION) == sacrebleu.sentence_bleu(PREDICTION, [REFERENCE]).score / 100
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # as text._jieba does
        import jieba
    jieba.setLogLevel(logging.WARNING)
    cut = [" ".join(jieba.cut(each)) for each in (PREDICTION, REFERENCE)]
    assert text.rouge_l(REFERENCE, PREDICTION) == Rouge().get_scores(*cut)[0]["rouge-l"]["f"]
    measured = RougeScorer(["rougeL"]).score(REFERENCE, PREDICTION)["rougeL"].fmeasure
    assert text.rouge_score_l(REFERENCE, PREDICTION) == measured


SPACES = ["\n", "\n\n", " \n ", "\t"]
WORDS = ["the", "cat", "c++", "it's", "3.5%", "......", "yes?", "no!", "“quoted”?", "猫坐在垫子上。", "好……", *SPACES]


@given(*[st.lists(st.sampled_from(WORDS), min_size=1, max_size=40)] * 2)
@settings(max_examples=200, deadline=None)
def test_rouge_l_is_rouge_chinese_to_the_last_bit(reference: list[str], prediction: list[str]) -> None:
    words = [" ".join(text._jieba().cut(" ".join(each))) for each in (prediction, reference)]
    if all(each.split() for each in words):
        expected = Rouge().get_scores(*words)[0]["rouge-l"]["f"]
        assert text.rouge_l(" ".join(reference), " ".join(prediction)) == expected


@pytest.mark.parametrize("name", text.MEASURES)
def test_equal_texts_are_at_one(name: str) -> None:
    assert text.MEASURES[name](REFERENCE, REFERENCE) == pytest.approx(1, abs=1e-8)
    assert text.MEASURES[name](REFERENCE, REFERENCE) <= 1


@pytest.mark.parametrize("name", text.MEASURES)
@pytest.mark.parametrize(("reference", "prediction"), [("", "Yes."), ("Yes.", ""), ("", "")])
def test_an_empty_text_is_at_zero(name: str, reference: str, prediction: str) -> None:
    assert text.MEASURES[name](reference, prediction) == 0


def test_what_is_empty() -> None:
    assert text.empty("") and text.empty(" \n") and not text.empty(".")


def test_says_nothing_and_leaves_nothing_in_the_temporary_folder(tmp_path: Path) -> None:
    code = "from sdft_exp.shift.text import rouge_l; print(rouge_l('a b', 'a c'))"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env={"TMPDIR": str(tmp_path)}
    )
    assert done.stdout.strip().startswith("0.49999") and done.stderr == ""
    assert list(tmp_path.iterdir()) == []
