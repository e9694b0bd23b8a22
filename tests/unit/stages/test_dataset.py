"""The dataset stage: checked at plan time, the same bytes each time."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from sdft_exp.compose import compose
from sdft_exp.data.encode import Encoder
from sdft_exp.errors import DataError
from sdft_exp.stages import dataset


def quiet(done: int, total: int, what: str) -> None:
    """Progress that nobody watches."""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "my.jsonl"
    rows = [
        {"instruction": "q1", "output": "ä"},
        {"instruction": "q2", "output": "b"},
        {"instruction": "q1", "output": "ä"},
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def overrides(path: Path, model: Path) -> list[str]:
    return ["dataset=jsonl", f"dataset.path={path}", "model=hf", f"model.path={model}"]


def test_rows_and_stats(path: Path, tiny_tokenizer: Path, tmp_path: Path) -> None:
    stage = dataset.stage(compose(overrides(path, tiny_tokenizer)))
    for out in (tmp_path / "a", tmp_path / "b"):
        out.mkdir()
        dataset.run(stage.params, {}, out, quiet)
    text = (tmp_path / "a" / "rows.jsonl").read_text(encoding="utf-8")
    assert text.splitlines()[0] == (
        '{"id": "row-000000", "instruction": "q1", "history": [], "response": "ä", "answer": null, "line": 1}'
    )
    stats = {"rows": 3, "repeated": 1, "incomplete": 0, "low_quality": 0}
    assert json.loads((tmp_path / "a" / "stats.json").read_text()) == stats
    assert sorted(file.name for file in (tmp_path / "a").iterdir()) == ["rows.jsonl", "stats.json"]
    for name in ("rows.jsonl", "stats.json"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


def test_cost_and_label(path: Path, tiny_tokenizer: Path) -> None:
    stage = dataset.stage(compose(overrides(path, tiny_tokenizer)))
    encoder = Encoder.from_folder(tiny_tokenizer)
    texts = [("q1", "ä"), ("q2", "b"), ("q1", "ä")]
    rows = [{"instruction": question, "response": answer} for question, answer in texts]
    tokens = sum(len(encoder.example("alpaca", "auto", row, 1024).input_ids) for row in rows)
    assert (stage.cost.samples, stage.cost.tokens) == (3, tokens)
    assert stage.label == "jsonl, 1 of 3 rows repeated"


def test_mistakes_come_with_the_plan(path: Path, tiny_tokenizer: Path) -> None:
    path.write_text('{"instruction": "q1"}\n')
    with pytest.raises(DataError, match=r"my\.jsonl:1: field 'output' is missing"):
        dataset.stage(compose(overrides(path, tiny_tokenizer)))


def test_overlong_rows_are_refused_on_request(path: Path, tiny_tokenizer: Path) -> None:
    asked = [*overrides(path, tiny_tokenizer), "dataset.cutoff=16"]
    dataset.stage(compose(asked))
    with pytest.raises(DataError, match=r"my\.jsonl:1: row row-000000 has \d+ tokens, dataset\.cutoff=16"):
        dataset.stage(compose([*asked, "dataset.overlong=error"]))


def test_a_hub_set_costs_nothing_to_plan() -> None:
    stage = dataset.stage(compose(["dataset=alpaca", "dataset.revision=abc", "model=llama2_7b_chat"]))
    assert stage.cost.samples == 2000 and stage.cost.rough and stage.has_key


def test_ten_thousand_rows_are_planned_quickly(tmp_path: Path, tiny_tokenizer: Path) -> None:
    path = tmp_path / "many.jsonl"
    row = {"instruction": "q" * 80, "output": "a" * 80}
    path.write_text("".join(json.dumps({**row, "id": number}) + "\n" for number in range(10_000)))
    config = compose(overrides(path, tiny_tokenizer))
    start = time.process_time()
    stage = dataset.stage(config)
    assert time.process_time() - start < 2.0  # 0.5 s on an idle core
    assert stage.cost.samples == 10_000


def test_a_set_without_a_revision_is_planned_where_the_hub_is_out_of_reach(monkeypatch: pytest.MonkeyPatch) -> None:
    import huggingface_hub

    asked = []

    def offline(*_: object, **__: object) -> None:
        asked.append(1)
        raise ConnectionError("no network")

    monkeypatch.setattr(huggingface_hub.HfApi, "dataset_info", offline)
    config = compose(["model=llama2_7b_chat", "dataset=alpaca", "dataset.hub=org/unpinned", "dataset.revision=null"])
    first, second = dataset.stage(config), dataset.stage(config)
    assert first.cost.samples == 2000 and first.cost.rough
    assert not first.has_key and first.obstacle == second.obstacle
    assert first.obstacle.startswith("dataset.hub=org/unpinned: has no pinned revision and cannot be had (no network)")
    assert asked == [1]
