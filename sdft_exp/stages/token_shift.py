"""Token shift: where, in the tuned model's greedy answers to one evaluation task, the seed LM would say something else.

Lin et al., 2023 (arXiv 2312.01552); Ghosh et al., 2024 (arXiv 2402.05119, section 4).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from sdft_exp.config import OpenaiGeneration, RunConfig
from sdft_exp.data.jsonl import read_jsonl, write_json, write_jsonl
from sdft_exp.errors import UserError
from sdft_exp.estimate import shifting
from sdft_exp.models.identity import ModelRef
from sdft_exp.shift.items import named, scores
from sdft_exp.stage import Progress, Stage, unkeyed
from sdft_exp.tasks import question_files, registry
from sdft_exp.tasks.question_files import QuestionFile

if TYPE_CHECKING:
    from sdft_exp.data.encode import Encoder
    from sdft_exp.shift.token_work import Said

VERSION = "1"  # of the measures, shown with every figure
JOURNAL = "journal.jsonl"
_NO_CUTOFF = 1 << 31


@dataclass(frozen=True)
class TokenShift:
    """What the shift depends on, beside training and answers.

    Attributes:
        model: the seed LM; the precision is that of both models.
        prompts: digest of what makes the task's questions.
        decoding: of the answers; its lengths say what of a long prompt was read.
        form: over the whole vocabulary, or in that of AlignTDS (`shift.aligntds`).
        batch_tokens: padded tokens of one forward pass.
        protocol: where the task's YAML lies; what is in it is in `prompts`.
    """

    task: str
    prompts: str
    model: ModelRef
    decoding: Mapping[str, float | int]
    split: str
    limit: int | None
    questions: QuestionFile | None
    form: Literal["exact", "aligntds"]
    batch_tokens: int = unkeyed()
    workers: int | None = unkeyed()
    protocol: str = unkeyed()


def stage(config: RunConfig, task: str, answer: Stage, train: Stage) -> Stage:
    """The token shift of the model that `train` made from the seed LM, in its answers `answer`, which are greedy."""
    known = registry.task(config.eval.protocol, task)
    asked = answer.params
    assert not isinstance(config.generation, OpenaiGeneration)  # which answers for no tuned model
    if asked.decoding["temperature"] != 0:
        raise ValueError(f"token shift of {task}: is of greedy answers, and these are sampled")
    params = TokenShift(
        task=task,
        prompts=known.prompts,
        model=asked.model,
        decoding=asked.decoding,
        split=asked.split,
        limit=asked.limit,
        questions=asked.questions,
        form=config.shift.form,
        batch_tokens=config.shift.batch_tokens,
        workers=config.generation.workers,
        protocol=known.protocol,
    )
    inputs = {"answer": answer, "train": train}
    return Stage("token_shift", params, inputs, label=answer.label, cost=shifting(config, answer.cost))


def run(params: TokenShift, inputs: Mapping[str, Path], out: Path, progress: Progress) -> None:
    """Write `tokens.jsonl`, `vocabulary.json`, `scores.json` and `stats.json`.

    `tokens.jsonl`: a line a response: "task", "doc_id", "id" (the question's), "prompt" (its text), "ids", "pieces"
    (what each adds to the text), "classes", and the fields of `shift.tokens.TokenShift`, all lists by position; in form
    aligntds as `shift.aligntds` has them. `vocabulary.json`: the text of every token id in the lists of the likeliest.

    `scores.json`: as the score stage writes it, with what `shift.token_scores.of_response` tells of each answer. A
    question whose answer is empty is an item without values.

    `stats.json`: over all tokens, each counting the same: "form", "questions", "empty" (answers left out), "responses",
    "ended" (those whose last token is the end token), "retokenised" (those whose tokens a server did not tell, read
    from the text again), "tied" and "not_argmax" (tokens with others exactly as likely to the base; tokens that are no
    longer the tuned model's likeliest), "tokens", means, shares of the classes; all that for the "first" 5 % of each
    response and the "rest", and by relative position ("positions", 20 of them); and the most "frequent" tokens of a
    class. With several answers to a question the first counts.
    """
    from sdft_exp.data.encode import load_encoder
    from sdft_exp.evaluation.harness import documents
    from sdft_exp.shift import token_scores
    from sdft_exp.shift.token_work import measured

    encoder = load_encoder(params.model.path, params.model.revision)
    data = question_files.unchanged(params.questions)
    asked = documents(params.protocol, params.task, params.split, params.limit, data)
    answers = [line for line in read_jsonl(inputs["answer"] / "answers.jsonl") if line["repeat"] == 0]
    said, retokenised = _said(params, answers, encoder, data)
    journal = out / JOURNAL
    how = (params.form, params.batch_tokens, params.workers)
    rows = measured(params.model, inputs["train"], said, *how, journal, progress)
    items: dict[int, dict[str, Any]] = {
        line["doc_id"]: named(line["doc_id"], asked[line["doc_id"]]) for line in answers
    }
    totals = token_scores.Totals()
    texts: dict[int, str] = {}  # of the tokens in the lists of the likeliest

    def lines() -> Iterator[dict[str, Any]]:
        for one, shift in zip(said, rows, strict=True):
            line = _line(params, encoder, one, shift, items[int(one.id)]["id"])
            items[int(one.id)] |= token_scores.of_response(shift, line["classes"])
            totals.add(shift, line["classes"], one.response, line["pieces"])
            tops = [token for name in ("top_base", "top_tuned") for listed in shift[name] for token, _ in listed]
            texts.update((token, encoder.text([token])) for token in tops if token not in texts)
            yield line

    write_jsonl(out / "tokens.jsonl", lines())
    write_json(out / "vocabulary.json", {str(token): texts[token] for token in sorted(texts)})
    version = VERSION if params.form == "exact" else f"{VERSION} (AlignTDS's form)"
    write_json(out / "scores.json", scores(params.task, version, list(items.values())))
    ended = sum(one.response[-1] in encoder.eos_ids for one in said)
    told = {"form": params.form, "questions": len(answers), "empty": len(answers) - len(said)}
    write_json(out / "stats.json", {**told, "ended": ended, "retokenised": retokenised, **totals.told()})
    journal.unlink(missing_ok=True)


def _line(
    params: TokenShift, encoder: Encoder, one: Said, shift: Mapping[str, Any], question: str | int
) -> dict[str, Any]:
    """A line of tokens.jsonl."""
    from sdft_exp.shift.pieces import pieces
    from sdft_exp.shift.token_scores import rank_class

    first_rank = 0 if params.form == "aligntds" else 1
    return {
        "task": params.task,
        "doc_id": int(one.id),
        "id": question,
        "prompt": encoder.text(one.prompt),
        "ids": one.response,
        "pieces": pieces(encoder, one.response),
        "classes": [rank_class(rank + 1 - first_rank) for rank in shift["base_rank"]],
        **shift,
    }


def _said(
    params: TokenShift, answers: Sequence[Mapping[str, Any]], encoder: Encoder, data: Path | None
) -> tuple[list[Said], int]:
    """What the model read and wrote at each question whose answer is not empty, and how many were read again from
    their text: as an answer is trained on, without the end token, of which a server does not tell.

    Raises:
        UserError: the prompts are not those that the answers are to.
    """
    import transformers

    from sdft_exp.evaluation.answering import requests_of
    from sdft_exp.generation.context import limits
    from sdft_exp.shift.token_work import Said

    known, model = registry.task(params.protocol, params.task), params.model
    assert known.template is not None  # the config refuses a task that has no text written
    requests = requests_of(known, model, params.split, params.limit, data)
    config = transformers.AutoConfig.from_pretrained(
        model.path, revision=model.revision, trust_remote_code=model.trust_remote_code
    )
    context: int | None = getattr(config, "max_position_embeddings", None)
    said, retokenised = [], 0
    for line in answers:
        request = requests[f"{params.task}/{line['doc_id']}/{line['repeat']}"]
        prompt, room = limits(request, context, int(params.decoding["max_new_tokens"]), encoder.bos_id)
        if len(request.prompt) - len(prompt) != line.get("cut", 0):
            raise UserError(
                f"token shift: the answer to question {line['doc_id']} of {params.task} was to a prompt of another "
                "length; remove its artifact and run again"
            )
        ids = line.get("ids")
        if ids is None:
            retokenised += bool(line["text"])
            ids = _read_again(params, known.template, encoder, line["text"])[:room]
        if any(token not in encoder.eos_ids for token in ids):
            said.append(Said(str(line["doc_id"]), prompt, tuple(ids)))
    return said, retokenised


def _read_again(params: TokenShift, template: str, encoder: Encoder, text: str) -> list[int]:
    row = {"instruction": "", "response": text}
    example = encoder.example(template, params.model.prompt_format, row, _NO_CUTOFF)
    answer = [token for token, label in zip(example.input_ids, example.labels, strict=True) if token == label]
    return answer[:-1]
