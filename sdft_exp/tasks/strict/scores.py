"""How answers are judged under `strict`: filters of lm-eval that make a `Judgement` of each answer.

The rules are `tasks.rules.numbers` and `tasks.rules.calls`. lm-eval's samples hold the judgement as `filtered_resps`,
score and reason as texts; docs/scoring.md lists the reasons.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from sdft_exp.errors import DataError
from sdft_exp.tasks.rules import calls as call_rule
from sdft_exp.tasks.rules import numbers as number_rule
from sdft_exp.tasks.rules.judgement import Judgement, NoReference


def numbers(answers: Sequence[Sequence[str]], docs: Sequence[Mapping[str, str]]) -> list[list[Judgement]]:
    """gsm8k and multiarith: the stated values of answer and reference are equal."""
    return [
        [number_rule.number(text, doc["reference"]) for text in texts] for texts, doc in zip(answers, docs, strict=True)
    ]


def calls(answers: Sequence[Sequence[str]], docs: Sequence[Mapping[str, str]]) -> list[list[Judgement]]:
    """openfunctions: the answer makes the reference's call, positional arguments matched with the instruction's list.

    Raises:
        DataError: a reference does not begin with a call.
    """
    return [[_call(text, doc) for text in texts] for texts, doc in zip(answers, docs, strict=True)]


def _call(text: str, doc: Mapping[str, str]) -> Judgement:
    try:
        return call_rule.call(text, doc["reference"], doc["instruction"])
    except NoReference as error:
        raise DataError(f"openfunctions: the reference of question {doc['id']} {error}; mend its file") from None


def accuracy(doc: Mapping[str, str], results: list[list[Judgement]]) -> dict[str, float]:
    """The score of a question's one answer."""
    ((judgement,),) = results
    return {"accuracy": judgement.score}
