"""A model's answers to one task: lm-eval asks, `generation` writes, and each batch is on disk before the next."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from lm_eval.api.instance import Instance

from sdft_exp.config import Sampling
from sdft_exp.data.encode import load_encoder
from sdft_exp.evaluation.harness import TaskLM, request_keys, run_task
from sdft_exp.evaluation.likelihood import likelihoods
from sdft_exp.generation import generate
from sdft_exp.generation.engines import Engine, Hf
from sdft_exp.generation.requests import Request
from sdft_exp.models.identity import ModelRef
from sdft_exp.stage import Progress
from sdft_exp.tasks.registry import Task

TEXT_JOURNAL = "journal.jsonl"
LIKELIHOOD_JOURNAL = "likelihoods.jsonl"


class AnsweringLM(TaskLM):
    """lm-eval's view of the model. `answers` holds the lines of answers.jsonl, in the order of the requests."""

    def __init__(
        self,
        task: Task,
        model: ModelRef,
        adapter: Path | None,
        sampling: Sampling,
        engine: Engine,
        folder: Path,
        progress: Progress,
    ) -> None:
        super().__init__()
        self.answers: list[dict[str, Any]] = []
        self._task = task
        self._model = model
        self._adapter = adapter
        self._sampling = sampling
        self._engine = engine
        self._folder = folder
        self._progress = progress

    def generate_until(self, requests: list[Instance]) -> list[str]:
        """One text a request. Length and sampling are the config's; the strings that end a text are the task's."""
        keys = request_keys(requests)
        asked = _asked(self._task, self._model, requests)
        completions = generate(
            self._model,
            self._adapter,
            asked,
            self._sampling,
            self._engine,
            self._folder / TEXT_JOURNAL,
            self._progress,
            stop=tuple(requests[0].args[1]["until"]),
        )
        for (name, doc_id, _, repeat), done in zip(keys, completions, strict=True):
            said: dict[str, Any] = {"text": done.text, "finish": done.finish, "tokens": done.tokens}
            if done.ids is not None:
                said["ids"] = list(done.ids)
            if done.cut:  # the question did not fit the model's context
                said["cut"] = done.cut
            self._record(name, doc_id, repeat, said)
        return [done.text for done in completions]

    def loglikelihood(self, requests: list[Instance]) -> list[tuple[float, bool]]:
        """(log-likelihood in nats, whether greedy decoding would say it) of each (context, continuation)."""
        keys = request_keys(requests)
        assert isinstance(self._engine, Hf)  # `answering_engine` gives no other one to a task that compares them
        journal = self._folder / LIKELIHOOD_JOURNAL
        found = likelihoods(self._model, self._adapter, requests, journal, self._progress, self._engine.workers)
        for (name, doc_id, choice, repeat), (value, greedy, cut) in zip(keys, found, strict=True):
            said = {"choice": choice, "loglikelihood": value, "greedy": greedy} | ({"cut": cut} if cut else {})
            self._record(name, doc_id, repeat, said)
        return [(value, greedy) for value, greedy, _ in found]

    def _record(self, name: str, doc_id: int, repeat: int, said: dict[str, Any]) -> None:
        where = {"task": self._task.name} | ({"subtask": name} if name != self._task.name else {})
        self.answers.append({**where, "doc_id": doc_id, "repeat": repeat, **said})


class AskedLM(TaskLM):
    """Hears what is asked and says nothing. `requests` are those that the answers are to."""

    def __init__(self, task: Task, model: ModelRef) -> None:
        super().__init__()
        self.requests: list[Request] = []
        self._task = task
        self._model = model

    def generate_until(self, requests: list[Instance]) -> list[str]:
        self.requests += _asked(self._task, self._model, requests)
        return [""] * len(requests)

    def loglikelihood(self, requests: list[Instance]) -> list[tuple[float, bool]]:
        raise ValueError(f"{self._task.name}: compares likelihoods and has no text written")


def _asked(task: Task, model: ModelRef, requests: list[Instance]) -> list[Request]:
    assert task.template is not None  # the registry refuses a task that writes text without one
    encoder = load_encoder(model.path, model.revision)
    return [
        Request(
            id=f"{name}/{doc_id}/{repeat}",
            prompt=tuple(encoder.prompt(task.template, model.prompt_format, request.args[0])),
            max_length=task.max_length,
        )
        for (name, doc_id, _, repeat), request in zip(request_keys(requests), requests, strict=True)
    ]


def requests_of(
    task: Task, model: ModelRef, split: str, limit: int | None, data: Path | None = None
) -> dict[str, Request]:
    """By `task/document/repeat`, the very requests that `write_answers` makes of a task that has texts written."""
    lm = AskedLM(task, model)
    run_task(lm, task.protocol, task.name, split, limit, scored=False, data=data)
    return {request.id: request for request in lm.requests}


def write_answers(
    task: Task,
    model: ModelRef,
    adapter: Path | None,
    sampling: Sampling,
    engine: Engine,
    split: str,
    limit: int | None,
    out: Path,
    progress: Progress,
    data: Path | None = None,
) -> None:
    """Write `answers.jsonl` into `out`, going on from the journals that an interrupted attempt left there.

    `data` is a file or folder of the questions, for a task that takes one.
    """
    lm = AnsweringLM(task, model, adapter, sampling, engine, out, progress)
    run_task(lm, task.protocol, task.name, split, limit, scored=False, data=data)
    lines = [json.dumps(answer, ensure_ascii=False) + "\n" for answer in lm.answers]
    (out / "answers.jsonl").write_text("".join(lines), encoding="utf-8")
    for journal in (TEXT_JOURNAL, LIKELIHOOD_JOURNAL):
        (out / journal).unlink(missing_ok=True)
