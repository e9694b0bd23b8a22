"""Score: one task's answers judged by the rules of a protocol, through lm-eval, with no model loaded and no torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from sdft_exp.config import RunConfig
from sdft_exp.stage import Cost, Progress, Stage
from sdft_exp.tasks import question_files, registry, sandbox
from sdft_exp.tasks.question_files import QuestionFile


@dataclass(frozen=True)
class Score:
    """What the scores depend on, beside the answers.

    Attributes:
        version: of the protocol's rules for this task, shown with every figure.
        rules: digest of the task's whole YAML and of the modules that it names, its scorer among them.
        questions: the local file that was asked from, whose references are compared with.
    """

    task: str
    protocol: str
    version: str
    rules: str
    decoding: Mapping[str, float | int]
    split: str
    limit: int | None
    questions: QuestionFile | None = None


def stage(config: RunConfig, task: str, answer: Stage, judge: Stage | None = None) -> Stage:
    """The scores of one answer stage under the config's protocol, and of a judge's verdicts where rules cannot tell."""
    known = registry.task(config.eval.protocol, task)
    asked = answer.params
    params = Score(
        task=task,
        protocol=known.protocol,
        version=known.version,
        rules=known.rules,
        decoding=asked.decoding,
        split=asked.split,
        limit=asked.limit,
        questions=asked.questions,
    )
    inputs = {"answer": answer} if judge is None else {"answer": answer, "judge": judge}
    lacking = sandbox.missing() if known.sandbox else None
    obstacle = f"eval.tasks: {task}: {lacking}" if lacking else ""
    return Stage("score", params, inputs, label=answer.label, cost=Cost(answer.cost.samples), obstacle=obstacle)


def run(params: Score, inputs: Mapping[str, Path], out: Path, progress: Progress) -> None:
    """Write `scores.json`, and lm-eval's `results.json` and `samples_<task>.jsonl`."""
    from sdft_exp.evaluation.scoring import write_scores

    write_scores(
        registry.task(params.protocol, params.task),
        inputs["answer"] / "answers.jsonl",
        "/".join(inputs["answer"].parts[-2:]),  # its address in the store
        dict(params.decoding),
        params.split,
        params.limit,
        out,
        question_files.unchanged(params.questions),
        inputs.get("judge"),
    )
    progress(1, 1, "tasks")
