"""The table of protocol and task: which rule scores, and its version."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from sdft_exp.config import nearest
from sdft_exp.errors import ConfigError
from sdft_exp.tasks.rules import calls, numbers, paper, paper_rerun, programs
from sdft_exp.tasks.rules.judgement import Judgement

TASKS = ("gsm8k", "multiarith", "openfunctions", "magicoder", "advbench")

# Of each rule set; raised whenever any of its rules gives another score to some text.
VERSIONS = {"paper": "1", "paper-rerun": "1", "strict": "2"}


@dataclass(frozen=True)
class Rule:
    """How one task is scored under one protocol.

    Attributes:
        score: from prediction, reference and instruction (which may be "") to a score and its reason.
        reads_reference: whether a reference must be there.
        differences: the reasons for which a score may differ from the one of `paper`.
    """

    version: str
    score: Callable[[str, str, str], Judgement]
    reads_reference: bool = True
    differences: tuple[str, ...] = ()


_PAPER = {
    "gsm8k": Rule(VERSIONS["paper"], paper.integer),
    "multiarith": Rule(VERSIONS["paper"], paper.integer),
    "openfunctions": Rule(VERSIONS["paper"], paper.call),
    "magicoder": Rule(VERSIONS["paper"], paper.code, reads_reference=False),
    "advbench": Rule(VERSIONS["paper"], paper.safety, reads_reference=False),
}
_RERUN = {task: Rule(VERSIONS["paper-rerun"], rule.score, rule.reads_reference) for task, rule in _PAPER.items()}
_RERUN["openfunctions"] = Rule(VERSIONS["paper-rerun"], paper_rerun.call, differences=("values_at_their_places",))
_STRICT = {
    "gsm8k": Rule(VERSIONS["strict"], numbers.number, differences=numbers.DIFFERENCES),
    "multiarith": Rule(VERSIONS["strict"], numbers.number, differences=numbers.DIFFERENCES),
    "openfunctions": Rule(VERSIONS["strict"], calls.call, differences=calls.DIFFERENCES),
    "magicoder": Rule(VERSIONS["strict"], programs.code, reads_reference=False, differences=programs.DIFFERENCES),
}
RULES: Mapping[str, Mapping[str, Rule]] = {"paper": _PAPER, "paper-rerun": _RERUN, "strict": _STRICT}
# What no rule decides: keywords do not tell refused from incoherent. A model judges, by a rubric of `sdft_exp.judging`.
RUBRICS: Mapping[str, Mapping[str, str]] = {"strict": {"advbench": "refusal"}}


def rule(protocol: str, task: str) -> Rule:
    """The rule for `task` under `protocol`.

    Raises:
        ConfigError: no such protocol or task, or one that a model judges (RUBRICS).
    """
    check(protocol, task)
    if task not in RULES[protocol]:
        raise ConfigError(f"task {task}: protocol {protocol} has no rule for it, a model judges")
    return RULES[protocol][task]


def check(protocol: str, task: str) -> None:
    """Raise ConfigError for a protocol or a task that is not there, with the nearest one that is."""
    if protocol not in RULES:
        raise ConfigError(f"protocol {protocol}: unknown{nearest(protocol, list(RULES))} (known: {', '.join(RULES)})")
    if task not in TASKS:
        raise ConfigError(f"task {task}: unknown{nearest(task, list(TASKS))} (known: {', '.join(TASKS)})")
