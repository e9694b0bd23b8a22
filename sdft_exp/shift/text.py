"""How alike two texts are by their words: the seed LM's response is the reference, the tuned model's the prediction.

Each measure twice, as shares of 1: in the form of the paper, and in that of the library whose figures can be compared
across papers. The paper's form is what its code calls (sail-sg/sdft eval/eval_bleu4.py and eval_rougel.py, which follow
LLaMA-Factory's evaluation): both are made for Chinese and serve English too.
"""

from __future__ import annotations

import functools
import logging
import tempfile
import warnings
from collections.abc import Callable, Sequence
from typing import Any

Measure = Callable[[str, str], float]


def bleu4(reference: str, prediction: str) -> float:
    """Sentence BLEU over characters, n-grams of 1 to 4 with NLTK's smoothing method 3. As in the paper.

    Equal texts of fewer than four characters are under 1: smoothing gives an n-gram that neither has some credit, but
    not all of it. 0 where a text is empty.
    """
    from nltk.translate.bleu_score import SmoothingFunction, sentence_bleu

    smoothing = SmoothingFunction().method3
    return float(sentence_bleu([list(reference)], list(prediction), smoothing_function=smoothing))


def sacrebleu(reference: str, prediction: str) -> float:
    """sacrebleu's sentence BLEU over words of its tokenizer 13a, orders that a short text lacks left out."""
    return min(1.0, _sacrebleu().sentence_score(prediction, [reference]).score / 100)  # 100.00000000000004 for equals


def rouge_l(reference: str, prediction: str) -> float:
    """F of ROUGE-L by rouge-chinese over jieba's words. As in the paper.

    0 where a text is empty, as LLaMA-Factory has it; the authors' own script ends there. Equal texts are at
    2 / (2 + 1e-8), by the library's guard against dividing by zero. A blank line counts as a word, as in the library,
    whose numbers these are to the last bit, only sooner: some sixty times for texts of 300 words.
    """
    expected, predicted = _chinese_words(reference), _chinese_words(prediction)
    if not any(expected) or not any(predicted):
        return 0.0
    common = _longest_common(expected, predicted)
    recall, precision = common / len(expected), common / len(predicted)
    return 2.0 * ((precision * recall) / (precision + recall + 1e-8))


def rouge_score_l(reference: str, prediction: str) -> float:
    """F of ROUGE-L by rouge-score, without stemming: over words of lower-cased Latin letters and digits alone."""
    return float(_rouge_score().score(reference, prediction)["rougeL"].fmeasure)


MEASURES: dict[str, Measure] = {
    "bleu4": bleu4,
    "sacrebleu": sacrebleu,
    "rouge_l": rouge_l,
    "rouge_score_l": rouge_score_l,
}


def empty(text: str) -> bool:
    """Whether it holds no word: the measures of words are 0 then, whatever the other text is."""
    return not text.split()


@functools.cache
def _sacrebleu() -> Any:
    from sacrebleu.metrics import BLEU

    return BLEU(effective_order=True)  # as sacrebleu's own sentence_bleu


@functools.cache
def _rouge_score() -> Any:
    from rouge_score.rouge_scorer import RougeScorer

    return RougeScorer(["rougeL"])


@functools.cache
def _rouge_chinese() -> Any:
    from rouge_chinese import Rouge

    return Rouge()


def _chinese_words(text: str) -> list[str]:
    """jieba's words, split further where rouge-chinese splits sentences."""
    sentences = _rouge_chinese().cut_sent(" ".join(_jieba().cut(text)))
    return [word for sentence in sentences if sentence for word in " ".join(sentence.split()).split(" ")]


def _longest_common(left: Sequence[str], right: Sequence[str]) -> int:
    """Length of the longest common subsequence; a row of its table is one integer, with a bit a word (Hyyrö, 2004)."""
    places: dict[str, int] = {}
    for place, word in enumerate(left):
        places[word] = places.get(word, 0) | 1 << place
    row = whole = (1 << len(left)) - 1
    for word in right:
        met = row & places.get(word, 0)
        row = ((row + met) | (row - met)) & whole
    return len(left) - row.bit_count()


@functools.cache
def _jieba() -> Any:
    """jieba's default segmentation, with its dictionary read once a process, in a second."""
    with warnings.catch_warnings():
        # It asks pkg_resources for its dictionary where setuptools still has that, and does without elsewhere.
        warnings.filterwarnings("ignore", message="pkg_resources is deprecated", category=UserWarning)
        import jieba
    jieba.setLogLevel(logging.WARNING)
    tokenizer = jieba.Tokenizer()
    # It would keep the parsed dictionary in the common temporary folder, and believe what anybody left there.
    with tempfile.TemporaryDirectory() as scratch:
        tokenizer.tmp_dir = scratch
        tokenizer.initialize()
    return tokenizer
