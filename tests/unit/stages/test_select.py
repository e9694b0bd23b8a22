"""The select stage on hand-written rewrites."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from sdft_exp.compose import compose
from sdft_exp.errors import ConfigError, DataError
from sdft_exp.microworld.splits import task_rows
from sdft_exp.stages import dataset, select

ROWS = [
    {"id": "a", "instruction": "2*3?", "history": [], "response": "The answer is 6.", "answer": "6", "line": 1},
    {"id": "b", "instruction": "1+1?", "history": [], "response": "The answer is 2.", "answer": "2", "line": 2},
    {"id": "c", "instruction": "1+3?", "history": [], "response": "The answer is 4.", "answer": "4", "line": 3},
    {"id": "d", "instruction": "1+4?", "history": [], "response": "The answer is 5.", "answer": "5", "line": 4},
]
REWRITES = [" 2 times 3 is 6\n", "The reference answer is 2", "1+3 is 5", "It is 5"]


def quiet(done: int, total: int, what: str) -> None:
    """Progress that nobody watches."""


def write(folder: Path, name: str, rows: list[dict[str, Any]]) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / name).write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return folder


def inputs(tmp_path: Path, rows: list[dict[str, Any]], texts: list[str]) -> dict[str, Path]:
    completions = [
        {"id": row["id"], "text": text, "finish": "length" if text == "It is 5" else "stop", "tokens": 3}
        for row, text in zip(rows, texts, strict=True)
    ]
    return {
        "dataset": write(tmp_path / "dataset", "rows.jsonl", rows),
        "distill": write(tmp_path / "distill", "completions.jsonl", completions),
    }


def run(params: select.Select, inputs: dict[str, Path], out: Path) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    out.mkdir()
    select.run(params, inputs, out, quiet)
    assert sorted(path.name for path in out.iterdir()) == ["selected.jsonl", "stats.json"]
    lines = (out / "selected.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines], json.loads((out / "stats.json").read_text())


def test_accepted_rewrites_replace_and_rejected_ones_keep_the_original(tmp_path: Path) -> None:
    params = select.Select(rule="last_integer", world_set=None, rewrites=None, rewrites_file=None)
    selected, stats = run(params, inputs(tmp_path, ROWS, REWRITES), tmp_path / "out")
    assert [choice["id"] for choice in selected] == ["a", "b", "c", "d"]
    assert [choice["response"] for choice in selected] == [
        "2 times 3 is 6",
        "The answer is 2.",
        "The answer is 4.",
        "It is 5",
    ]
    assert [choice["reason"] for choice in selected] == [
        "accepted",
        "says_reference_answer",
        "answer_differs",
        "accepted",
    ]
    assert [choice["accepted"] for choice in selected] == [True, False, False, True]
    assert selected[2]["rewrite"] == "1+3 is 5"
    assert stats == {
        "rows": 4,
        "accepted": 2,
        "acceptance_rate": 0.5,
        "reasons": {"accepted": 2, "answer_differs": 1, "says_reference_answer": 1},
        "cut": 1,
    }


def test_wrong_steps_of_accepted_word_problems_are_counted(tmp_path: Path) -> None:
    row = {**task_rows("micro_math", n=1)[0], "history": [], "line": 1}
    lines = row["response"].splitlines()
    wrong = "\n".join(["1 + 1 = 3", *lines])
    rows = [{**row, "id": "right"}, {**row, "id": "wrong"}, {**row, "id": "rejected"}]
    params = select.Select(rule="microworld", world_set="micro_math", rewrites=None, rewrites_file=None)
    _, stats = run(params, inputs(tmp_path, rows, [row["response"], wrong, "I do not know."]), tmp_path / "out")
    assert (stats["accepted"], stats["steps_wrong"]) == (2, 0.5)


@pytest.fixture
def made_elsewhere(tmp_path: Path, tiny_tokenizer: Path) -> list[str]:
    """Overrides of a run over two rows with rewrites of its own."""
    rows = [{"id": row["id"], "instruction": row["instruction"], "output": row["response"]} for row in ROWS[:2]]
    write(tmp_path, "my.jsonl", rows)
    write(tmp_path, "rewrites.jsonl", [{"response": "six, 6"}, {"id": "b", "response": "two, 2"}])
    return [
        "dataset=jsonl",
        f"dataset.path={tmp_path / 'my.jsonl'}",
        "dataset.answer=last_integer",
        "model=hf",
        f"model.path={tiny_tokenizer}",
        f"method.rewrites_file={tmp_path / 'rewrites.jsonl'}",
    ]


def test_rewrites_made_elsewhere(made_elsewhere: list[str], tmp_path: Path) -> None:
    config = compose(made_elsewhere)
    data = dataset.stage(config)
    stage = select.stage(config, data, None)
    assert set(stage.inputs) == {"dataset"}
    (tmp_path / "rows").mkdir()
    dataset.run(data.params, {}, tmp_path / "rows", quiet)
    selected, stats = run(stage.params, {"dataset": tmp_path / "rows"}, tmp_path / "out")
    assert [choice["response"] for choice in selected] == ["six, 6", "two, 2"]
    assert stats["acceptance_rate"] == 1.0
    write(tmp_path, "rewrites.jsonl", [{"response": "6"}, {"response": "2"}])
    with pytest.raises(DataError, match="has changed since the run was planned"):
        run(stage.params, {"dataset": tmp_path / "rows"}, tmp_path / "again")


def test_rewrites_are_checked_with_the_plan(made_elsewhere: list[str], tmp_path: Path) -> None:
    config = compose(made_elsewhere)
    write(tmp_path, "rewrites.jsonl", [{"response": "6"}])
    with pytest.raises(DataError, match="holds 1 rewrites for 2 rows"):
        select.stage(config, dataset.stage(config), None)
    (tmp_path / "rewrites.jsonl").unlink()
    with pytest.raises(ConfigError, match=r"method\.rewrites_file"):
        select.stage(config, dataset.stage(config), None)


def test_rewrites_of_a_hub_set_that_leaves_rows_out_are_counted_with_its_rows(
    made_elsewhere: list[str], tmp_path: Path
) -> None:
    config = compose([*made_elsewhere[2:], "dataset=alpaca", "dataset.answer=none", "dataset.max_samples=null"])
    data = dataset.stage(config)
    assert data.cost.samples == 52002  # of the published set, rows without an answer too
    stage = select.stage(config, data, None)
    (tmp_path / "rows").mkdir()
    write(tmp_path / "rows", "rows.jsonl", ROWS[:1])
    with pytest.raises(DataError, match="holds 2 rewrites for 1 rows"):
        run(stage.params, {"dataset": tmp_path / "rows"}, tmp_path / "out")
    strict = compose([*made_elsewhere[2:], "dataset=lima", "dataset.answer=none", "dataset.incomplete=error"])
    with pytest.raises(DataError, match="holds 2 rewrites for 1030 rows"):
        select.stage(strict, dataset.stage(strict), None)


def test_the_key_follows_the_rewrites_and_not_their_place(made_elsewhere: list[str], tmp_path: Path) -> None:
    def key(*overrides: str) -> str:
        config = compose([*made_elsewhere, *overrides])
        return select.stage(config, dataset.stage(config), None).key

    first = key()
    other = tmp_path / "other.jsonl"
    other.write_bytes((tmp_path / "rewrites.jsonl").read_bytes())
    assert key(f"method.rewrites_file={other}") == first
    other.write_text('{"response": "6"}\n{"response": "2"}\n')
    assert key(f"method.rewrites_file={other}") != first
