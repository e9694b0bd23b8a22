"""How answers to HumanEval are judged under `strict`: what completes the function is run with the problem's own tests.

Source: lm-eval, tasks/humaneval/utils.py, `build_predictions_instruct`, and the `code_eval` metric that it loads, which
puts the tests after the prediction and a line break. Unlike in `paper`, nothing is imported for the model.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from sdft_exp.tasks import sandbox
from sdft_exp.tasks.paper import humaneval_scores


def completed(doc: Mapping[str, str], text: str) -> str:
    """The prompt and what the answer adds to it: all before the end of the code block that the prompt opened."""
    return doc["prompt"] + text.split("```", 1)[0]


def program(doc: Mapping[str, str], text: str) -> str:
    """The program that decides: the completed function and the problem's tests."""
    return f"{completed(doc, text)}\n{doc['test']}\ncheck({doc['entry_point']})"


def outcomes(answers: Sequence[Sequence[str]], docs: Sequence[Mapping[str, str]]) -> list[list[sandbox.Reason]]:
    """How each answer to each problem went, several run at once: an lm-eval filter.

    Raises:
        UserError: there is no sandbox here; nothing has been run.
    """
    return humaneval_scores.outcomes(answers, docs, program)
