"""Similarity: how alike the answers of tuned model and seed LM to one evaluation task are (the paper's Figure 9)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from sdft_exp.config import RunConfig
from sdft_exp.data.jsonl import read_jsonl, write_json
from sdft_exp.shift.embedding import EncoderRef, encoder_ref, obstacle
from sdft_exp.shift.items import means, named, scores
from sdft_exp.stage import Cost, Progress, Stage, unkeyed
from sdft_exp.tasks import question_files, registry
from sdft_exp.tasks.question_files import QuestionFile

VERSION = "1"  # of the measures, shown with every figure; raised when one gives another number to some pair of texts


@dataclass(frozen=True)
class Similarity:
    """What the measures depend on, beside the answers.

    Attributes:
        prompts: digest of what makes the task's questions, from which their ids come.
        protocol: where the task's YAML lies; what is in it is in `prompts`.
    """

    task: str
    prompts: str
    encoder: EncoderRef
    split: str
    limit: int | None
    questions: QuestionFile | None
    protocol: str = unkeyed()


def stage(config: RunConfig, task: str, tuned: Stage, seed: Stage) -> Stage:
    """The measures of two answer stages of one task.

    Raises:
        ConfigError: no such encoder.
    """
    known = registry.task(config.eval.protocol, task)
    params = Similarity(
        task=task,
        prompts=known.prompts,
        encoder=encoder_ref(config.shift.encoder, config.shift.encoder_revision, config.launch),
        split=tuned.params.split,
        limit=tuned.params.limit,
        questions=tuned.params.questions,
        protocol=known.protocol,
    )
    inputs, cost = {"tuned": tuned, "seed": seed}, Cost(tuned.cost.samples)
    return Stage("similarity", params, inputs, label=tuned.label, cost=cost, obstacle=obstacle(params.encoder))


def run(params: Similarity, inputs: Mapping[str, Path], out: Path, progress: Progress) -> None:
    """Write `scores.json`, as the score stage does, with "bleu4", "sacrebleu", "rouge_l", "rouge_score_l" and
    "embedding" of each question (shares of 1, the cosine between -1 and 1), and `stats.json`.

    `stats.json`: what `shift.responses.measure` tells of the texts, and by measure its `distribution` in "measures". An
    item is a question; of one that is asked several times it holds the means.
    """
    from sdft_exp.evaluation.harness import documents
    from sdft_exp.shift import responses

    seed, tuned = (read_jsonl(inputs[role] / "answers.jsonl") for role in ("seed", "tuned"))
    pairs = responses.pairs_of(seed, tuned)
    values, told = responses.measure(pairs, params.encoder, progress)
    data = question_files.unchanged(params.questions)
    asked = documents(params.protocol, params.task, params.split, params.limit, data)
    by_question: dict[int, list[dict[str, float]]] = {}
    for pair, measured in zip(pairs, values, strict=True):
        by_question.setdefault(pair.question, []).append(measured)
    items = [named(question, asked[question]) | means(measured) for question, measured in by_question.items()]
    measures = {name: responses.distribution([item[name] for item in items]) for name in responses.MEASURES}
    write_json(out / "scores.json", scores(params.task, VERSION, items))
    write_json(out / "stats.json", {**told, "measures": measures})
