"""`strict` beside `paper`: the same questions and prompts, other rules, and the reason of each score in the samples."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from sdft_exp.compose import compose
from sdft_exp.errors import DataError
from sdft_exp.evaluation.scoring import write_scores
from sdft_exp.experiment import experiment
from sdft_exp.tasks import registry
from sdft_exp.tasks.rules.protocols import VERSIONS
from sdft_exp.tasks.strict.scores import accuracy, calls, numbers

SHARED = ("gsm8k", "multiarith", "openfunctions")


def doc(reference: str, instruction: str = "") -> dict[str, str]:
    return {"id": "row-000003", "instruction": instruction, "reference": reference}


def test_answers_are_judged_by_the_strict_rules() -> None:
    judged = numbers([["So 10, or 12."], ["The answer is 10, or 12."]], [doc("The answer is 10.")] * 2)
    assert judged == [[(0.0, "other_value")], [(1.0, "stated_answer")]]
    assert accuracy(doc(""), [judged[1]]) == {"accuracy": 1.0}
    listed = "Function to be used: f\nParameters:\n1. a - text\n2. b - number\n"
    judged = calls([["f('x', 2)"], ["f(b=2, a='x')"], ["f()"]], [doc("f(a='x', b=2)", listed)] * 3)
    assert [found.reason for (found,) in judged] == ["positional_arguments", "argument_order", "no_call"]
    assert [accuracy(doc(""), [found])["accuracy"] for found in judged] == [1.0, 1.0, 0.0]


def test_a_reference_without_a_call_names_its_question() -> None:
    with pytest.raises(DataError, match="openfunctions: the reference of question row-000003 begins with no call"):
        calls([["f(a=1)"]], [doc("no call")])


@pytest.mark.parametrize("name", registry.task_names("strict"))
def test_a_task_has_the_version_of_the_rules_and_is_greedy(name: str) -> None:
    known = registry.task("strict", name)
    # What a model judges and HumanEval are as they were in version 1.
    assert known.version == (VERSIONS["strict"] if name in SHARED else "1")
    assert known.greedy


@pytest.mark.parametrize("name", SHARED)
def test_a_benchmark_is_the_papers_but_for_its_judging_and_decoding(name: str) -> None:
    paper, strict = (registry._read(registry.ROOT / protocol / f"{name}.yaml") for protocol in ("paper", "strict"))
    assert strict["metadata"] == paper["metadata"] | {"version": int(VERSIONS["strict"])}
    assert {key for key in paper | strict if paper.get(key) != strict.get(key)} == {
        "generation_kwargs",
        "process_results",
        "filter_list",
        "metadata",
    }
    assert strict["generation_kwargs"] == {"until": [], "do_sample": False}
    assert registry.task("paper", name).prompts == registry.task("strict", name).prompts


def test_greedy_answers_of_the_paper_serve_both_protocols() -> None:
    def answers(*overrides: str) -> dict[str, str]:
        config = compose(["method=seed", "dataset=micro_chat", f"eval.tasks=[{','.join(SHARED)}]", *overrides])
        return {task: stage.inputs["answer"].key for task, stage in experiment(config).seed_scores.items()}

    strict = answers("eval=strict")
    assert strict == answers("eval=paper", "eval.sampling.temperature=0")
    assert strict == answers("eval=strict", "eval.sampling.temperature=0.7")  # its tasks ask for greedy decoding
    assert not set(strict.values()) & set(answers("eval=paper").values())


def test_the_samples_tell_the_reason_and_lm_evals_readers_take_them(tmp_path: Path) -> None:
    from datasets import load_dataset

    questions = [{"instruction": f"question {n}", "output": "The answer is 3"} for n in range(3)]
    (tmp_path / "multiarith_test.json").write_text(json.dumps(questions))
    texts = ["The answer is 3, as 2 + 1", "1,234", ""]
    lines = [
        json.dumps({"task": "multiarith", "doc_id": n, "repeat": 0, "text": text}) + "\n"
        for n, text in enumerate(texts)
    ]
    (tmp_path / "answers.jsonl").write_text("".join(lines))
    task = registry.task("strict", "multiarith")
    data = tmp_path / "multiarith_test.json"
    write_scores(task, tmp_path / "answers.jsonl", "answer/abc", {}, "eval", None, tmp_path, data)
    samples = load_dataset(
        "json", data_files=str(tmp_path / "samples_multiarith.jsonl"), split="train", cache_dir=str(tmp_path / "cache")
    )
    assert list(samples["resps"]) == [[[text]] for text in texts]
    judged = [["1.0", "stated_answer"], ["0.0", "other_value"], ["0.0", "no_number"]]
    assert list(samples["filtered_resps"]) == [[[judgement]] for judgement in judged]
    assert list(samples["accuracy"]) == [1.0, 0.0, 0.0]
    scores = json.loads((tmp_path / "scores.json").read_text())
    assert (scores["protocol"], scores["version"], scores["metrics"]) == ("strict", "2", {"accuracy": 1 / 3})
