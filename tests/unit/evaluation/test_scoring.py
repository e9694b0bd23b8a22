"""Scores of hand-written answers through lm-eval, with hand-worked means."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from sdft_exp.errors import UserError
from sdft_exp.evaluation.scoring import summarise, write_scores
from sdft_exp.microworld.splits import eval_items
from sdft_exp.tasks import registry

MATH = registry.task("micro", "micro_math")
HARMFUL = registry.task("micro", "micro_harmful")


def record(folder: Path, task: str, texts: list[str]) -> Path:
    """An answers.jsonl of `texts`, one a question, in an order that is not that of the questions."""
    answers = [
        {"task": task, "doc_id": doc_id, "repeat": 0, "text": text, "finish": "stop", "tokens": 3}
        for doc_id, text in enumerate(texts)
    ]
    folder.mkdir(exist_ok=True)
    path = folder / "answers.jsonl"
    path.write_text("".join(json.dumps(answer) + "\n" for answer in reversed(answers)))
    return path


def score(folder: Path, task: registry.Task, texts: list[str], name: str = "scored") -> Path:
    out = folder / name
    out.mkdir()
    answers = record(folder / "answers", task.name, texts)
    write_scores(task, answers, "answer/abc", {"temperature": 0.0}, "eval", len(texts), out)
    return out


def read(path: Path) -> Any:
    return json.loads(path.read_text())


def test_means_and_items_of_hand_written_answers(tmp_path: Path) -> None:
    items = eval_items("math", "eval", 4)
    right, wrong = (lambda item: f"The answer is {item['answer']}."), (lambda item: f"{item['answer']} or 999")
    out = score(tmp_path, MATH, [right(items[0]), wrong(items[1]), right(items[2]), right(items[3])])
    assert read(out / "scores.json") == {
        "task": "micro_math",
        "protocol": "micro",
        "version": "1",
        "n": 4,
        "metrics": {"accuracy": 0.75},
        "items": [
            {"id": item["id"], "group": item["family"], "accuracy": value}
            for item, value in zip(items, (1.0, 0.0, 1.0, 1.0), strict=True)
        ],
    }


def test_safety_counts_keywords_and_verdicts_apart(tmp_path: Path) -> None:
    payload = eval_items("harmful", "eval", 4)[2]["payload"]
    plan = f"Get {payload['tool']}. Then {payload['verb']} the {payload['thing']}."
    out = score(tmp_path, HARMFUL, ["I cannot help.", "Hello! of of", plan, "of of"])
    expected = {"safe_rate": 0.5, "refused": 0.25, "complied": 0.25, "incoherent": 0.5}
    assert read(out / "scores.json")["metrics"] == expected


def test_equal_answers_give_equal_files_with_nothing_of_the_machine(tmp_path: Path) -> None:
    first = score(tmp_path, MATH, ["8", "9"], "first")
    second = score(tmp_path, MATH, ["8", "9"], "second")
    assert sorted(path.name for path in first.iterdir()) == ["results.json", "samples_micro_math.jsonl", "scores.json"]
    for path in first.iterdir():
        assert path.read_bytes() == (second / path.name).read_bytes()
        assert str(registry.ROOT) not in path.read_text()
        assert not re.search(r"0x[0-9a-f]{6,}|20\d\d-\d\d-\d\d", path.read_text())


def test_lm_evals_own_tools_read_the_files(tmp_path: Path) -> None:
    from datasets import load_dataset
    from lm_eval.utils import make_table

    out = score(tmp_path, MATH, [item["answer"] for item in eval_items("math", "eval", 2)] + ["no"])
    results = read(out / "results.json")
    assert re.search(r"micro_math\s*\|\s*1\|none\s*\|\s*0\|accuracy\|.*\|0\.6667\|", make_table(results))
    assert results["n-samples"]["micro_math"] == {"original": 150, "effective": 3}
    assert results["config"]["model_args"] == {"model": "answer/abc"}
    samples = load_dataset(
        "json", data_files=str(out / "samples_micro_math.jsonl"), split="train", cache_dir=str(tmp_path / "cache")
    )
    assert list(samples["accuracy"]) == [1.0, 1.0, 0.0]
    assert samples[2]["resps"] == [["no"]]


def test_a_missing_answer_is_named(tmp_path: Path) -> None:
    answers = record(tmp_path, "micro_math", ["8", "9"])
    with pytest.raises(
        UserError, match=r"answers\.jsonl: no answer for \(task, question, choice, repeat\) \(.micro_math., 2, 0, 0\)"
    ):
        write_scores(MATH, answers, "answer/abc", {}, "eval", 3, tmp_path)


def test_a_metric_of_another_filter_is_named_as_lm_eval_names_it() -> None:
    def sample(doc_id: int, filter_name: str, value: float) -> dict[str, Any]:
        return {"doc_id": doc_id, "doc": {}, "filter": filter_name, "metrics": ["exact_match"], "exact_match": value}

    results = {
        "samples": {"micro_math": [sample(0, "strict", 0.0), sample(1, "strict", 1.0), sample(0, "none", 1.0)]},
        "results": {"micro_math": {"exact_match,strict": 0.5, "exact_match,none": 1.0}},
    }
    summary = summarise(MATH, results)
    assert summary["metrics"] == {"exact_match,strict": 0.5, "exact_match": 1.0}
    assert summary["items"] == [
        {"id": 0, "exact_match,strict": 0.0, "exact_match": 1.0},
        {"id": 1, "exact_match,strict": 1.0},
    ]
