"""Causes: where shifted tokens come from. The words at them, looked for in what the model was fine-tuned on."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sdft_exp.config import RunConfig
from sdft_exp.data.jsonl import read_jsonl, write_json, write_jsonl
from sdft_exp.models.identity import ModelRef
from sdft_exp.shift.embedding import EncoderRef, encoder_ref, obstacle
from sdft_exp.shift.items import named, scores
from sdft_exp.stage import Cost, Progress, Stage, unkeyed
from sdft_exp.tasks import question_files, registry
from sdft_exp.tasks.question_files import QuestionFile

if TYPE_CHECKING:
    from sdft_exp.shift.causes import Example, Response

VERSION = "1"  # of the measures, shown with every figure
_ASKED = ("instruction", "question", "prompt")  # what tasks call it that they ask


@dataclass(frozen=True)
class Causes:
    """What the causes depend on, beside the token shift and the training set.

    Attributes:
        model: whose end tokens are no part of a response.
        prompts: digest of what makes the task's questions, from which ids and instructions come.
        protocol: where the task's YAML lies; what is in it is in `prompts`.
    """

    task: str
    prompts: str
    model: ModelRef
    encoder: EncoderRef
    split: str
    limit: int | None
    questions: QuestionFile | None
    protocol: str = unkeyed()


def stage(config: RunConfig, task: str, tokens: Stage, mix: Stage) -> Stage:
    """The causes of the token shift `tokens` in the training set `mix`.

    Raises:
        ConfigError: no such encoder.
    """
    known = registry.task(config.eval.protocol, task)
    params = Causes(
        task=task,
        prompts=known.prompts,
        model=tokens.params.model,
        encoder=encoder_ref(config.shift.encoder, config.shift.encoder_revision, config.launch),
        split=tokens.params.split,
        limit=tokens.params.limit,
        questions=tokens.params.questions,
        protocol=known.protocol,
    )
    inputs = {"tokens": tokens, "mix": mix}
    cost = Cost(tokens.cost.samples)
    return Stage("causes", params, inputs, label=tokens.label, cost=cost, obstacle=obstacle(params.encoder))


def run(params: Causes, inputs: Mapping[str, Path], out: Path, progress: Progress) -> None:
    """Write `causes.json`, `examples.jsonl` and `scores.json`.

    `causes.json`: "responses", "examples" (trained on), "words" by class over all responses together, as the paper
    has them (`shift.causes.word_shares`), the means of what else `shift.causes.item` tells, each over the responses
    that have it (null where none has), the most "frequent" words, and what was embedded by what. `examples.jsonl`: a
    response a line (`shift.causes.readable`). `scores.json`: as the score stage writes it, with what
    `shift.causes.item` tells of the answer to each question, for intervals; a question whose answer is empty is an
    item without values.
    """
    from sdft_exp.evaluation.harness import documents
    from sdft_exp.shift import causes

    data = question_files.unchanged(params.questions)
    asked = documents(params.protocol, params.task, params.split, params.limit, data)
    responses = _responses(params, asked, inputs["tokens"])
    examples = causes.Examples([_example(row) for row in read_jsonl(inputs["mix"] / "train.jsonl")])
    found, told = causes.causes(responses, examples, params.encoder, progress)
    pairs = list(zip(responses, found, strict=True))
    values = [causes.item(response, cause, examples) for response, cause in pairs]
    told_of = {response.id: own for response, own in zip(responses, values, strict=True)}
    items = [named(question, doc) for question, doc in asked.items()]
    scored = scores(params.task, VERSION, [item | told_of.get(item["id"], {}) for item in items])
    shares = causes.word_shares(responses, examples)
    write_json(
        out / "causes.json",
        {
            "responses": len(responses),
            "examples": len(examples.all),
            "words": shares,
            **{name: scored["metrics"].get(name) for name in causes.OF_EXAMPLES},
            "frequent": causes.frequent(responses, examples),
            **told,
        },
    )
    write_jsonl(out / "examples.jsonl", (causes.readable(*pair, examples) for pair in pairs))
    write_json(out / "scores.json", scored)


def _responses(params: Causes, asked: Mapping[int, Mapping[str, Any]], tokens: Path) -> list[Response]:
    from sdft_exp.data.encode import load_encoder
    from sdft_exp.shift.causes import response_of

    ends = load_encoder(params.model.path, params.model.revision).eos_ids
    found = []
    with (tokens / "tokens.jsonl").open(encoding="utf-8", newline="\n") as file:
        for line in map(json.loads, file):  # one at a time: of long answers there are gigabytes
            doc = asked[line["doc_id"]]
            instruction = next(str(doc[name]) for name in _ASKED if name in doc)
            spoken = [place for place, token in enumerate(line["ids"]) if token not in ends]
            text, classes = ([line[name][place] for place in spoken] for name in ("pieces", "classes"))
            found.append(response_of(line["id"], instruction, text, classes))
    return found


def _example(row: Mapping[str, Any]) -> Example:
    from sdft_exp.shift.causes import Example

    turns = [answer for _, answer in row["history"]]
    return Example(row["id"], row["instruction"], row["response"], "\n".join([*turns, row["response"]]))
