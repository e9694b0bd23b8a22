"""lm-eval's own tasks over small stand-ins for their data: hand-worked values, lm-eval's own run as oracle, resume."""

from __future__ import annotations

import dataclasses
import json
import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import datasets
import pytest
import yaml
from lm_eval.api.instance import Instance

from sdft_exp.config import Sampling
from sdft_exp.errors import DataError, UserError
from sdft_exp.evaluation import answering, likelihood
from sdft_exp.evaluation.harness import TaskLM, run_task
from sdft_exp.evaluation.lm_eval_tasks import load
from sdft_exp.evaluation.scoring import summarise, write_scores
from sdft_exp.generation.engines import Hf
from sdft_exp.models.identity import ModelRef
from sdft_exp.tasks import lm_eval_files, registry
from sdft_exp.tasks.registry import Task
from tests.unit.families import write_llama2, write_llama3, write_model

pytestmark = pytest.mark.integration

GREEDY = Sampling(temperature=0.0, top_p=1.0, top_k=0, max_new_tokens=4, seed=0)


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "datasets")


def known(name: str) -> Task:
    return registry.task("knowledge", name)


def copy_of(name: str, root: Path) -> Path:
    own = known(name).lm_eval
    assert own is not None
    return root / own.hub.rpartition("/")[2]


class Fixed(TaskLM):
    """Says the log-likelihood that a function of question and choice gives."""

    def __init__(self, says: Callable[[str, str], float]) -> None:
        super().__init__()
        self._says = says

    def generate_until(self, requests: list[Instance]) -> list[str]:
        raise AssertionError("none of the tasks has a text written")

    def loglikelihood(self, requests: list[Instance]) -> list[tuple[float, bool]]:
        return [(self._says(*request.args), False) for request in requests]


def judged(name: str, root: Path, says: Callable[[str, str], float], limit: int | None = None) -> dict[str, Any]:
    results = run_task(Fixed(says), "knowledge", name, "eval", limit, scored=True, data=copy_of(name, root))
    return summarise(known(name), results) | {"results": results}


def test_our_files_name_the_data_that_lm_evals_ask_from() -> None:
    for name in registry.task_names("knowledge"):
        own = known(name).lm_eval
        assert own is not None and re.fullmatch("[0-9a-f]{40}", own.revision)
        folder = (lm_eval_files.root() / own.files[0]).parent
        texts = [path.read_text() for path in folder.iterdir() if path.is_file() and path.suffix != ".md"]
        assert {line for text in texts for line in re.findall(r"^dataset_path: (.+)$", text, re.M)} == {own.hub}


def test_mmlu_is_the_mean_over_all_questions_and_not_over_subjects(knowledge_sets: Path) -> None:
    scores = judged("mmlu", knowledge_sets, lambda question, choice: float(choice == " A"))
    # A is right for 2 of anatomy's 5, 1 of astronomy's 3, and the one question of each of the other 55 subjects.
    assert scores["metrics"] == {"acc": pytest.approx((2 + 1 + 55) / 63)}
    assert scores["n"] == len(scores["items"]) == 63
    anatomy = [item for item in scores["items"] if item["group"] == "mmlu_anatomy"]
    assert [(item["id"], item["acc"]) for item in anatomy] == [
        (f"mmlu_anatomy/{n}", float(n in (0, 4))) for n in range(5)
    ]
    assert scores["results"]["results"]["mmlu_astronomy"]["acc,none"] == pytest.approx(1 / 3)
    assert set(scores["results"]["n-shot"].values()) == {0}


def test_accuracy_and_its_form_by_length_are_hand_worked(knowledge_sets: Path) -> None:
    # Their characters: 14, 21 (a space stays where the bracket was), 11, 6; a nat a character for each: 1, 0.6, 1.5, 2.
    says = {"eats the fish.": -14.0, "sleeps on the table.": -12.6, "is a stone.": -16.5, "flies.": -12.0}
    scores = judged("hellaswag", knowledge_sets, lambda question, choice: says[choice.strip()])
    # The labels are 0, 1, 2, 3, 0, 1: the fourth ending is likeliest, the second by length.
    assert scores["metrics"] == {"acc": pytest.approx(1 / 6), "acc_norm": pytest.approx(2 / 6)}
    assert [item["acc_norm"] for item in scores["items"]] == [0, 1, 0, 0, 0, 1]


def test_arc_is_the_mean_over_easy_and_challenge_questions(knowledge_sets: Path) -> None:
    scores = judged("ai2_arc", knowledge_sets, lambda question, choice: float(choice == " a fish"))
    assert scores["metrics"]["acc"] == pytest.approx((1 + 1) / (5 + 3))
    assert scores["version"] == f"1 (lm-eval {lm_eval_files.version()}: arc_easy 1.0, arc_challenge 1.0)"
    first = judged("ai2_arc", knowledge_sets, lambda question, choice: float(choice == " a fish"), limit=2)
    assert first["n"] == 4  # two of each
    assert first["metrics"]["acc"] == 0.5


def test_truthfulqa_counts_mc1_twice_as_the_harness_of_the_papers_time_did(knowledge_sets: Path) -> None:
    shares = {"Nothing happens.": 0.5, "The sky falls down.": 0.25, "It rains.": 0.1, "The sky falls.": 0.4}

    def says(question: str, choice: str) -> float:
        if "day 0?" in question and choice == " The sky falls down.":
            return 0.0
        return math.log(shares[choice.strip()])

    scores = judged("truthfulqa", knowledge_sets, says)
    assert scores["metrics"] == {
        "acc": pytest.approx((2 * 0.8 + 0.9) / 3),
        "truthfulqa_mc1": pytest.approx(0.8),
        "truthfulqa_mc2": pytest.approx(0.9),
    }
    assert scores["n"] == 5
    assert scores["items"][0] == {
        "id": 0,
        "acc": pytest.approx(0.3),
        "truthfulqa_mc1": 0.0,
        "truthfulqa_mc2": pytest.approx(0.9),
    }


def test_winogrande_fills_the_blank(knowledge_sets: Path) -> None:
    scores = judged("winogrande", knowledge_sets, lambda question, choice: float(question.endswith("because Bob")))
    assert scores["metrics"] == {"acc": 0.5}


def asked(name: str, root: Path, model: ModelRef, out: Path, progress: Callable[[int, int, str], None]) -> list[Any]:
    out.mkdir(exist_ok=True)
    answering.write_answers(known(name), model, None, GREEDY, Hf(512), "eval", None, out, progress, copy_of(name, root))
    return [json.loads(line) for line in (out / "answers.jsonl").read_text().splitlines()]


def quiet(done: int, total: int, what: str) -> None:
    """A progress display that shows nothing."""


@pytest.mark.parametrize(("name", "task"), [("hellaswag", "hellaswag"), ("ai2_arc", "arc_challenge")])
def test_lm_evals_own_run_one_at_a_time_gives_the_same(
    name: str, task: str, knowledge_sets: Path, tiny_ref: ModelRef, tmp_path: Path
) -> None:
    import torch
    from lm_eval import simple_evaluate
    from lm_eval.models.huggingface import HFLM
    from lm_eval.tasks import TaskManager
    from transformers import AutoModelForCausalLM, AutoTokenizer

    data = copy_of(name, knowledge_sets)
    (tmp_path / "oracle").mkdir()
    own = known(name).lm_eval
    assert own is not None
    named = {"include": str(lm_eval_files.root() / own.files[-1]), "task": "oracle", "dataset_path": str(data)}
    (tmp_path / "oracle" / "oracle.yaml").write_text(yaml.safe_dump(named))
    model = AutoModelForCausalLM.from_pretrained(tiny_ref.path, dtype=torch.float32)
    tokenizer = AutoTokenizer.from_pretrained(tiny_ref.path)
    expected = simple_evaluate(
        model=HFLM(pretrained=model, tokenizer=tokenizer, batch_size=1),
        tasks=["oracle"],
        task_manager=TaskManager(include_path=str(tmp_path / "oracle"), include_defaults=False),
        bootstrap_iters=0,
    )
    answers = asked(name, knowledge_sets, tiny_ref, tmp_path / "asked", quiet)
    ours = [answer["loglikelihood"] for answer in answers if answer.get("subtask", name) == task]
    theirs = [float(reply[0][0]) for sample in expected["samples"]["oracle"] for reply in sample["resps"]]
    # A batch and a row alone may take other kernels: a few units in the last place of a float32 (1.2e-7) at each token.
    assert ours == pytest.approx(theirs, rel=1e-6)
    write_scores(known(name), tmp_path / "asked" / "answers.jsonl", "answer/abc", {}, "eval", None, tmp_path, data)
    results = json.loads((tmp_path / "results.json").read_text())["results"][task]
    for metric in ("acc,none", "acc_norm,none"):
        assert results[metric] == expected["results"]["oracle"][metric]


def test_it_is_asked_after_one_bos_with_no_template_and_resumes_where_it_was_interrupted(
    knowledge_sets: Path, tiny_ref: ModelRef, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(likelihood, "CHUNK", 8)
    answers = asked("ai2_arc", knowledge_sets, tiny_ref, tmp_path / "undisturbed", quiet)
    assert [(answer["subtask"], answer["doc_id"], answer["choice"]) for answer in answers] == [
        (task, doc_id, choice)
        for task, rows in (("arc_easy", 5), ("arc_challenge", 3))
        for doc_id in range(rows)
        for choice in range(4)
    ]
    assert answers[1]["loglikelihood"] == pytest.approx(
        by_hand(tiny_ref.path, "Question: What swims in river 0?\nAnswer:", " a fish"), abs=1e-5
    )
    for at in (8, 16, 24):
        told: list[int] = []
        with pytest.raises(KeyboardInterrupt):
            asked("ai2_arc", knowledge_sets, tiny_ref, tmp_path / str(at), Watch(told, stop=at))
        assert told[-1] == at
        told.clear()
        assert asked("ai2_arc", knowledge_sets, tiny_ref, tmp_path / str(at), Watch(told)) == answers
        assert min(told) == at  # what was done was not done again


@pytest.mark.parametrize("write", [write_llama2, write_llama3])
def test_both_families_tokenizers_put_one_bos_in_front(
    write: Callable[[Path], Path], knowledge_sets: Path, tiny_ref: ModelRef, tmp_path: Path
) -> None:
    (tmp_path / "model").mkdir()
    write(tmp_path / "model")
    write_model(tmp_path / "model")
    model = dataclasses.replace(tiny_ref, path=str(tmp_path / "model"))
    answers = asked("ai2_arc", knowledge_sets, model, tmp_path / "asked", quiet)
    for choice, text in enumerate((" a stone", " a fish", " the sun in the sky", " salt")):
        expected = by_hand(model.path, "Question: What swims in river 0?\nAnswer:", text)
        assert answers[choice]["loglikelihood"] == pytest.approx(expected, abs=1e-5)


class Watch:
    """A progress display that remembers what it was told, and interrupts the work at `stop`."""

    def __init__(self, told: list[int], stop: int | None = None) -> None:
        self._told, self._stop = told, stop

    def __call__(self, done: int, total: int, what: str) -> None:
        self._told.append(done)
        if done == self._stop:
            raise KeyboardInterrupt


def by_hand(folder: str, question: str, choice: str) -> float:
    """Sum of log-probabilities of the choice's tokens after BOS and question, without a batch."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    prompt, whole = tokenizer(question)["input_ids"], tokenizer(question + choice)["input_ids"]
    bos = tokenizer.bos_token_id
    assert whole[: len(prompt)] == prompt and whole[0] == bos and whole.count(bos) == 1
    with torch.no_grad():
        steps = model(torch.tensor([whole])).logits[0].log_softmax(-1)
    return sum(float(steps[at - 1, whole[at]]) for at in range(len(prompt), len(whole)))


def test_what_does_not_fit_the_context_is_cut_and_said(
    knowledge_sets: Path, tiny_ref: ModelRef, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from sdft_exp.evaluation.scorer import CuttingHFLM

    whole = asked("truthfulqa", knowledge_sets, tiny_ref, tmp_path / "whole", quiet)
    assert all(answer["cut"] > 0 for answer in whole)  # the six questions before each one fill the 256 tokens
    monkeypatch.setattr(CuttingHFLM, "max_length", 4)  # shorter than some choices
    cut = asked("hellaswag", knowledge_sets, tiny_ref, tmp_path / "cut", quiet)
    assert all(answer["cut"] > 0 and math.isfinite(answer["loglikelihood"]) for answer in cut)


def test_equal_answers_give_files_with_nothing_of_the_machine(
    knowledge_sets: Path, tiny_ref: ModelRef, tmp_path: Path
) -> None:
    from lm_eval.utils import make_table

    for name in ("ai2_arc", "truthfulqa"):
        asked(name, knowledge_sets, tiny_ref, tmp_path / name, quiet)
        out = tmp_path / f"{name}_scored"
        out.mkdir()
        answers = tmp_path / name / "answers.jsonl"
        write_scores(known(name), answers, "answer/abc", {}, "eval", None, out, copy_of(name, knowledge_sets))
        told = "".join(path.read_text() for path in out.iterdir())
        assert str(knowledge_sets) not in told and str(lm_eval_files.root()) not in told
        assert not re.search(r"0x[0-9a-f]{6,}", told)
    assert {path.name for path in (tmp_path / "ai2_arc_scored").iterdir()} == {
        "results.json",
        "scores.json",
        "samples_arc_easy.jsonl",
        "samples_arc_challenge.jsonl",
    }
    results = json.loads((tmp_path / "ai2_arc_scored" / "results.json").read_text())
    assert "ai2_arc" in make_table(results) and "ai2_arc" in make_table(results, "groups")
    assert results["configs"]["arc_easy"]["dataset_path"] == "allenai/ai2_arc"
    scores = json.loads((tmp_path / "ai2_arc_scored" / "scores.json").read_text())
    assert scores["metrics"]["acc"] == results["groups"]["ai2_arc"]["acc,none"]


def test_the_hub_is_asked_for_our_commit_and_one_that_cannot_be_had_is_one_line(
    knowledge_sets: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: dict[str, Any] = {}
    real = datasets.load_dataset

    def hub(path: str, name: str | None = None, **kwargs: Any) -> Any:
        seen.update(path=path, **kwargs)
        return real(str(copy_of("hellaswag", knowledge_sets)), name)

    monkeypatch.setattr(datasets, "load_dataset", hub)
    run_task(Fixed(lambda question, choice: 0.0), "knowledge", "hellaswag", "eval", 1, scored=True)
    own = known("hellaswag").lm_eval
    assert own is not None
    assert seen == {"path": "Rowan/hellaswag", "revision": own.revision}

    def offline(*args: Any, **kwargs: Any) -> Any:
        raise ConnectionError("no route\nat all")

    monkeypatch.setattr(datasets, "load_dataset", offline)
    with pytest.raises(DataError) as refused:
        run_task(Fixed(lambda question, choice: 0.0), "knowledge", "hellaswag", "eval", 1, scored=True)
    assert str(refused.value) == (
        "Rowan/hellaswag: the questions of hellaswag cannot be had (no route); download Rowan/hellaswag whole, as a "
        "folder hellaswag, and name the folder that it lies in, eval.data=DIR"
    )


def test_a_task_that_has_a_text_written_is_refused(knowledge_sets: Path) -> None:
    task = known("truthfulqa")
    assert task.lm_eval is not None
    files = ("arc/arc_challenge_chat.yaml",)
    written = dataclasses.replace(task, lm_eval=dataclasses.replace(task.lm_eval, files=files))
    with pytest.raises(
        UserError, match="truthfulqa has a text written by arc_challenge_chat, past our prompt templates"
    ):
        load(written, knowledge_sets / "ai2_arc")


def test_a_copy_that_is_not_whole_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "winogrande").mkdir()
    (tmp_path / "winogrande" / "rows.csv").write_text("sentence,option1\na,b\n")
    with pytest.raises(DataError, match=r"winogrande: the questions of winogrande cannot be had \(.+\); download"):
        run_task(
            Fixed(lambda question, choice: 0.0),
            *("knowledge", "winogrande", "eval", 1),
            scored=True,
            data=tmp_path / "winogrande",
        )
