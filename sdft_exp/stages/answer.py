"""Answer: a model's texts (or likelihoods) for the questions of one evaluation task. The costly half of evaluation."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sdft_exp.config import RunConfig, Sampling
from sdft_exp.estimate import answering
from sdft_exp.generation.engines import Engine, answering_engine, obstacle
from sdft_exp.models.identity import ModelRef, check_room, model_ref
from sdft_exp.models.tuned import tuned
from sdft_exp.stage import Progress, Stage, unkeyed
from sdft_exp.tasks import question_files, registry
from sdft_exp.tasks.question_files import QuestionFile


@dataclass(frozen=True)
class Answer:
    """What the answers depend on.

    Attributes:
        prompts: digest of what makes the task's questions, its scorer left out.
        decoding: the config's eval.sampling, greedy where the task asks for it (see Sampling.keyed), and the task's own
            `max_length`, where it has one, with as many new tokens at most.
        limit: the first so many questions, of each subtask; None for all.
        engine: who answers; hf wherever log-likelihoods are compared.
        questions: the local file or folder that is asked from; None: the YAML tells all.
        protocol: where the task's YAML lies; what is in it is in `prompts`.
    """

    task: str
    prompts: str
    model: ModelRef
    decoding: Mapping[str, float | int]
    split: str
    limit: int | None
    questions: QuestionFile | None
    engine: Engine
    protocol: str = unkeyed()


def stage(config: RunConfig, task: str, train: Stage | None) -> Stage:
    """The answers of the tuned model, or of the seed LM where `train` is None.

    Raises:
        ConfigError: unknown protocol or task, a model that is not there or whose context the new tokens fill, an engine
            that cannot answer, or an eval.data without the task's questions.
        DataError: a file of questions that cannot be used.
    """
    known = registry.task(config.eval.protocol, task)
    questions = question_files.find(known, config.eval.data)
    model = model_ref(config.model, config.launch)
    if known.template is not None and known.max_length is None:  # else the context bounds it, or it writes nothing
        check_room(model, "eval.sampling.max_new_tokens", config.eval.sampling.max_new_tokens)
    sampling = _sampling(config, known)
    engine = answering_engine(config, sampling, task, writes=known.template is not None, tuned=train is not None)
    params = Answer(
        task=task,
        prompts=known.prompts,
        model=model,
        decoding=sampling.keyed() | ({} if known.max_length is None else {"max_length": known.max_length}),
        split=config.eval.split,
        limit=config.eval.limit,
        questions=questions,
        engine=engine,
        protocol=known.protocol,
    )
    who = "seed LM" if train is None else train.label
    inputs = {} if train is None else {"train": train}
    size = known.size if questions is None or questions.rows is None else questions.rows
    limit = config.eval.limit and config.eval.limit * (known.lm_eval.subtasks if known.lm_eval else 1)
    samples = min((n for n in (limit, size) if n is not None), default=None)
    cost = answering(
        config, known.template, samples, known.question_tokens, tuned=train is not None, max_length=known.max_length
    )
    return Stage("answer", params, inputs, label=f"{task} ({who})", cost=cost, obstacle=obstacle(engine))


def _sampling(config: RunConfig, task: registry.Task) -> Sampling:
    changed: dict[str, float | int] = {"temperature": 0.0} if task.greedy else {}
    if task.max_length is not None:
        changed["max_new_tokens"] = task.max_length
    return config.eval.sampling.model_copy(update=changed)


def run(params: Answer, inputs: Mapping[str, Path], out: Path, progress: Progress) -> None:
    """Write `answers.jsonl`: {"task", "doc_id", "repeat", "text", "finish", "tokens"}, in the order of the questions.

    A text of engine hf has its "ids" beside it, the end token among them where one ended it; a question that did not
    fit the model's context has "cut", the tokens left out of it. A task that compares likelihoods writes "choice",
    "loglikelihood" (nats) and "greedy" in place of the text; one that consists of several of lm-eval's tasks writes
    "subtask".
    """
    from sdft_exp.evaluation.answering import write_answers

    decoding: dict[str, Any] = {name: value for name, value in params.decoding.items() if name != "max_length"}
    model, adapter = tuned(params.model, inputs.get("train"))
    write_answers(
        registry.task(params.protocol, params.task),
        model,
        adapter,
        Sampling(**decoding),
        params.engine,
        params.split,
        params.limit,
        out,
        progress,
        question_files.unchanged(params.questions),
    )
