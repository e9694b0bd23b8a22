"""The prompt sets of the Limits paper: forms of local files, the first so many, the hub's file, and the way out."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import datasets
import pytest

from sdft_exp.errors import DataError
from sdft_exp.tasks import registry
from sdft_exp.tasks.aspects import ASPECTS
from sdft_exp.tasks.paper import docs as module
from sdft_exp.tasks.paper.prompts import docs
from sdft_exp.tasks.question_files import find

# Rows in the columns of the published files.
JUST_EVAL = {"id": 0, "instruction": "Why?", "source_id": "alpaca_eval-0", "dataset": "helpful_base", "task": ["info"]}
MEDINSTRUCT = {"id": 0, "instruction": "A fever?", "difficulty": "3", "gpt-4-answer": "Rest.", "claude-2": " Rest."}
SETS = {"just_eval": (JUST_EVAL, 800, 1000), "medinstruct_test": (MEDINSTRUCT, 216, 217)}


@pytest.fixture(autouse=True)
def _fresh() -> None:
    module.hub_records.cache_clear()


def kwargs(name: str) -> dict[str, Any]:
    read: dict[str, Any] = registry._read(registry.ROOT / "paper" / f"{name}.yaml")["dataset_kwargs"]
    return read


@pytest.mark.parametrize("name", SETS)
def test_it_is_pinned_answered_greedily_and_judged_on_five_aspects(name: str) -> None:
    known = registry.task("paper", name)
    _, asked, _ = SETS[name]
    assert (known.size, known.first, known.greedy, known.rubric, known.template) == (
        asked,
        asked,
        True,
        "aspects",
        "alpaca",
    )
    read = registry._read(registry.ROOT / "paper" / f"{name}.yaml")
    metrics = [metric["metric"] for metric in read["metric_list"]]
    assert metrics == [*ASPECTS, "aspects_mean", "aspects_missing", "unjudged"]


@pytest.mark.parametrize("name", SETS)
def test_the_first_so_many_of_the_published_rows_are_asked(name: str, tmp_path: Path) -> None:
    row, asked, published = SETS[name]
    path = tmp_path / kwargs(name)["files"][0]
    rows = [row | {"id": n, "instruction": f"Question {n}?"} for n in range(published)]
    path.write_text("".join(json.dumps(one) + "\n" for one in rows))
    found = find(registry.task("paper", name), str(tmp_path))
    assert found is not None and found.rows == asked  # as the plan counts them
    read = docs(**kwargs(name), data=str(path), version=1)["eval"].to_list()
    assert len(read) == asked
    assert read[7] == {"id": "row-000007", "instruction": "Question 7?", "reference": ""}


@pytest.mark.parametrize("name", SETS)
def test_the_hub_is_asked_for_the_file_at_its_commit(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[tuple[Any, ...], dict[str, Any]]] = []

    def load(*args: Any, **named: Any) -> list[dict[str, Any]]:
        asked.append((args, named))
        return [SETS[name][0]]

    monkeypatch.setattr(datasets, "load_dataset", load)
    known = kwargs(name)
    assert docs(**known)["eval"][0]["instruction"] == SETS[name][0]["instruction"]
    assert asked == [(("json",), {"data_files": known["hub"], "split": "train"})]
    assert len(known["hub"].split("/")[7]) == 40


def test_a_question_that_is_missing_or_a_hub_that_is_away_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "MedInstruct-test.jsonl").write_text('{"id": 0, "question": "A fever?"}\n')
    with pytest.raises(
        DataError, match=r"MedInstruct-test\.jsonl:1: field 'instruction' is missing \(fields there: id, qu"
    ):
        find(registry.task("paper", "medinstruct_test"), str(tmp_path))

    def away(*_: Any, **__: Any) -> None:
        raise ConnectionError("no route")

    monkeypatch.setattr(datasets, "load_dataset", away)
    with pytest.raises(
        DataError, match=r"cannot be had \(no route\); download them as test_all_with_tags\.jsonl and name"
    ):
        docs(**kwargs("just_eval"))
