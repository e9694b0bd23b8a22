"""The questions of the paper's benchmarks: forms of local files, the hub's rows, and what cannot be had."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import datasets
import pytest

from sdft_exp.errors import DataError
from sdft_exp.tasks import registry
from sdft_exp.tasks.paper import docs as module
from sdft_exp.tasks.paper.docs import docs

ROOT = Path(os.environ.get("SDFT_DATA_ROOT") or Path(__file__).parents[5] / "shared" / "data")
GSM8K: dict[str, Any] = {
    "hub": "openai/gsm8k",
    "files": ["gsm8k_test.json", "gsm8k_official_test.jsonl"],
    "fields": ["question", "answer"],
    "response_form": "gsm8k",
}
ADVBENCH: dict[str, Any] = {
    "hub": "https://x.org/harmful.csv",
    "files": ["harmful.csv"],
    "fields": ["goal", "target"],
}


@pytest.fixture(autouse=True)
def _fresh() -> None:
    module.hub_records.cache_clear()


def kwargs(name: str) -> dict[str, Any]:
    read: dict[str, Any] = registry._read(registry.ROOT / "paper" / f"{name}.yaml")["dataset_kwargs"]
    return read


def test_both_forms_of_gsm8k_are_the_same_questions(tmp_path: Path) -> None:
    official = {"question": "1 + 1?", "answer": "1 + 1 = <<1+1=2>>2\n#### 2"}
    authors = {"question": "1 + 1?", "answer": "1 + 1 = 2\nThe answer is 2."}
    (tmp_path / "a.jsonl").write_text(json.dumps(official) + "\n")
    (tmp_path / "b.json").write_text(json.dumps([authors]))
    read = [docs(**GSM8K, data=str(tmp_path / name))["eval"].to_list() for name in ("a.jsonl", "b.json")]
    assert read[0] == read[1] == [{"id": "row-000000", "instruction": "1 + 1?", "reference": authors["answer"]}]


def test_a_csv_is_read_and_marks_of_gsm8k_stay_where_they_mean_nothing(tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text('goal,target\n"Write <<a, b>>","Sure, <<a, b>>"\nSecond,Sure\n')
    found = docs(**ADVBENCH, data=str(tmp_path / "x.csv"), size=520, version=1)["eval"].to_list()
    assert found == [
        {"id": "row-000000", "instruction": "Write <<a, b>>", "reference": "Sure, <<a, b>>"},
        {"id": "row-000001", "instruction": "Second", "reference": "Sure"},
    ]


def test_the_hub_is_asked_for_the_pinned_test_split_or_for_the_one_file(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[tuple[Any, ...], dict[str, Any]]] = []

    def load(*args: Any, **named: Any) -> list[dict[str, str]]:
        asked.append((args, named))
        return [{"question": "q", "answer": "#### 2", "goal": "g", "target": "t"}]

    monkeypatch.setattr(datasets, "load_dataset", load)
    for _ in range(2):  # one request serves the answers and the scores
        assert docs(**GSM8K, subset="main", revision="abc")["eval"][0]["reference"] == "The answer is 2."
    assert docs(**ADVBENCH)["eval"][0]["instruction"] == "g"
    assert asked == [
        (("openai/gsm8k", "main"), {"split": "test", "revision": "abc"}),
        (("csv",), {"data_files": ADVBENCH["hub"], "split": "train"}),
    ]


def test_without_the_hub_one_line_names_eval_data(monkeypatch: pytest.MonkeyPatch) -> None:
    def load(*args: Any, **named: Any) -> None:
        raise ConnectionError("no route\nsecond line")

    monkeypatch.setattr(datasets, "load_dataset", load)
    with pytest.raises(DataError) as refused:
        docs(**GSM8K)
    assert str(refused.value) == (
        "openai/gsm8k: the questions cannot be had (no route); download them as gsm8k_test.json and name its folder, "
        "eval.data=DIR"
    )


def test_every_benchmark_names_a_pinned_place_and_the_published_count() -> None:
    sizes = {"gsm8k": 1319, "multiarith": 180, "openfunctions": 112, "advbench": 520, "advbench_jailbreak": 520}
    sizes["alpaca_eval"] = 805
    for name, size in sizes.items():
        known = kwargs(name)
        pin = known.get("revision") or known["hub"].split("/")[5]
        assert known["size"] == size
        assert len(pin) == 40 and set(pin) <= set("0123456789abcdef")


@pytest.mark.real_data
@pytest.mark.skipif(not (ROOT / "gsm8k_test.json").is_file(), reason="the real data sets are not here")
def test_the_real_files_hold_the_published_counts_and_gsm8k_is_one_set_in_two_forms() -> None:
    for name in ("gsm8k", "multiarith", "openfunctions", "advbench", "alpaca_eval"):
        known = kwargs(name)
        read = [docs(**known, data=str(ROOT / file))["eval"].to_list() for file in known["files"]]
        assert [len(rows) for rows in read] == [known["size"]] * len(read)
        assert all(rows == read[0] for rows in read)
