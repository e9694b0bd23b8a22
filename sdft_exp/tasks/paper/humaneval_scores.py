"""How answers to HumanEval are judged: what completes the function is run with the problem's own tests, in a sandbox.

Source: bigcode-evaluation-harness, bigcode_eval/tasks/humanevalpack.py: `remove_last_block`, `IMPORT_HELPER`,
`get_reference`. Unlike theirs, the sandbox has no numpy, so a program that uses it fails.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from sdft_exp.tasks import sandbox
from sdft_exp.tasks.rules.pass_at_k import pass_at_k

STOP = ("\nclass", "\ndef", "\n#", "\n@", "\nprint", "\nif", "\nassert", "<|endoftext|>")
# Put before every program.
IMPORTS = """\
import math, re, sys, copy, datetime, itertools, collections, heapq, statistics, functools, hashlib, string
from typing import *
from collections import *
"""


def body(text: str) -> str:
    """What counts of an answer: all before a stop string, and before the first line that is not indented."""
    text = text.rstrip()
    for stop in STOP:
        text = text.split(stop, 1)[0]
    lines = text.split("\n")
    for position, line in enumerate(lines):
        if line.strip() and line[0] not in " \t":
            return "\n".join(lines[:position])
    return text


def program(doc: Mapping[str, str], text: str) -> str:
    """The program that decides: imports, the prompt, the answer to it, and the problem's tests."""
    return f"{IMPORTS}{doc['prompt'].rstrip()}{body(text)}\n\n{doc['test']}\n\ncheck({doc['entry_point']})\n"


def outcomes(
    answers: Sequence[Sequence[str]],
    docs: Sequence[Mapping[str, str]],
    program: Callable[[Mapping[str, str], str], str] = program,
) -> list[list[sandbox.Reason]]:
    """How each answer to each problem went, several run at once: an lm-eval filter.

    Args:
        program: makes of a problem and an answer the program that decides.

    Raises:
        UserError: there is no sandbox here; nothing has been run.
    """
    programs = [program(doc, text) for texts, doc in zip(answers, docs, strict=True) for text in texts]
    reasons = iter([outcome.reason for outcome in sandbox.run_many(programs)])
    return [[next(reasons) for _ in texts] for texts in answers]


def accuracy(doc: Mapping[str, str], results: list[list[sandbox.Reason]]) -> dict[str, float]:
    """pass@1 of a problem, from the outcomes of all its answers."""
    (reasons,) = results
    return {"accuracy": pass_at_k(len(reasons), reasons.count("passed"), 1)}
