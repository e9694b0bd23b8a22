"""One task through lm-eval's `evaluate`, for any language model that speaks its interface.

`simple_evaluate` is not called: on every call it looks up the git commit, the host's libraries and all task files, for
seconds. The index of ours is kept for the process; a call costs a few hundredths of a second beyond the model's work.
"""

from __future__ import annotations

import functools
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lm_eval.api.task
from lm_eval.api.filter import FilterEnsemble
from lm_eval.api.instance import Instance
from lm_eval.api.model import LM
from lm_eval.evaluator import evaluate
from lm_eval.filters import build_filter_ensemble
from lm_eval.tasks import TaskManager
from tqdm import tqdm

from sdft_exp.errors import UserError
from sdft_exp.evaluation import lm_eval_tasks
from sdft_exp.tasks import registry
from sdft_exp.verbose import verbose

# Of metrics that have no closed form; those of ours are means.
BOOTSTRAPS = 1000
FEWSHOT_SEED = 1234  # lm-eval's own default

Key = tuple[str, int, int, int]


class TaskLM(LM):
    """What the model that answers and the one that only recites have in common: neither measures perplexity."""

    def loglikelihood_rolling(self, requests: list[Instance]) -> list[float]:
        raise UserError(
            f"eval.tasks: {requests[0].task_name} measures perplexity, which no protocol here does; leave it out"
        )


@functools.cache
def _manager(protocol: str, data: Path | None) -> TaskManager:
    # The one way in which lm-eval hands something to a task's dataset from outside its YAML.
    metadata = None if data is None else {"data": str(data)}
    return TaskManager(include_path=str(registry.ROOT / protocol), include_defaults=False, metadata=metadata)


def run_task(
    lm: LM,
    protocol: str,
    task: str,
    split: str,
    limit: int | None,
    *,
    scored: bool,
    data: Path | None = None,
    verdicts: Mapping[int, str] | None = None,
) -> dict[str, Any]:
    """lm-eval's results of one task, samples included; a task may consist of several of lm-eval's own.

    Args:
        split: the split of the task's data to ask, "eval" or "dev"; a task that has no such split, and one of
            lm-eval's own, keeps what it has.
        limit: the first so many questions, of each of several; None for all.
        scored: False leaves the task's own filters and scorer out (they may be costly, or run code) and only asks.
        data: a file or folder of the questions, for a task that takes one; the results do not name it.
        verdicts: what a judge found of the answer to each question; the task's scorer gets it in place of the answer.
    """
    loaded = _load(protocol, task, split, data)
    for prepared in loaded["tasks"].values():
        prepared.set_fewshot_seed(FEWSHOT_SEED)
        if not scored:
            prepared.override_metric("bypass")
            prepared._filters = [build_filter_ensemble("none", [("take_first", None)])]
        elif verdicts is not None:
            prepared._filters = [_Verdicts("none", [], verdicts)]
    results: dict[str, Any] = evaluate(
        lm=lm, task_dict=loaded, limit=limit, bootstrap_iters=BOOTSTRAPS, log_samples=True
    )
    known = registry.task(protocol, task)
    if known.lm_eval:
        lm_eval_tasks.without_places(known, results["configs"])
    else:
        results["configs"][task]["metadata"].pop("data", None)
    return results


def documents(protocol: str, task: str, split: str, limit: int | None, data: Path | None) -> dict[int, dict[str, Any]]:
    """The questions that `run_task` asks, by their position."""
    prepared = _load(protocol, task, split, data)["tasks"][task]
    return {position: dict(doc) for position, doc in prepared.doc_iterator(limit=limit)}


def _load(protocol: str, task: str, split: str, data: Path | None) -> dict[str, Any]:
    _quiet()
    known = registry.task(protocol, task)
    if known.lm_eval:
        return lm_eval_tasks.load(known, data)
    loaded: dict[str, Any] = _manager(protocol, data).load([task])
    prepared = loaded["tasks"][task]
    if split in prepared.dataset:
        prepared.set_config("test_split", split)
    return loaded


@dataclass
class _Verdicts(FilterEnsemble):
    """A judge's verdicts as lm-eval's filter: the samples it writes keep the answers as they were."""

    found: Mapping[int, str]

    def apply(self, instances: list[Instance]) -> None:
        for instance in instances:
            assert instance.doc_id is not None  # of every request that lm-eval builds
            instance.filtered_resps[self.name] = self.found[instance.doc_id]


def _quiet() -> None:
    if not verbose():
        logging.getLogger("lm_eval").setLevel(logging.ERROR)
    # It draws a bar for each task it builds and takes no word against it.
    lm_eval.api.task.tqdm = functools.partial(tqdm, disable=True)


def request_keys(requests: list[Instance]) -> list[Key]:
    """(task of lm-eval's, document, choice, repeat) of each request.

    lm-eval asks a repeated one by listing the same object again.
    """
    seen: dict[tuple[str, int, int], int] = {}
    keys = []
    for request in requests:
        document = (str(request.task_name), int(request.doc_id or 0), request.idx)
        repeat = seen.get(document, 0)
        seen[document] = repeat + 1
        keys.append((*document, repeat))
    return keys
