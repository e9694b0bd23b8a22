"""The similarity stage over two artifacts of answers: what is in its key, and its files as the tables read them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from sdft_exp.compose import compose
from sdft_exp.config import RunConfig
from sdft_exp.data.jsonl import read_jsonl, write_jsonl
from sdft_exp.microworld.splits import eval_items
from sdft_exp.shift import text
from sdft_exp.shift.embedding import PACKAGED
from sdft_exp.stage import Stage
from sdft_exp.stages import answer, similarity

TUNED = ["the cat sat on the mat", "sorry", ""]
SEED = ["the cat sat on the mat", "sure here is how to do it", "i can not"]


def config(*overrides: str) -> RunConfig:
    return compose(["eval.limit=3", "shift.tasks=[micro_text]", "shift.measures=[responses]", *overrides])


def stage(*overrides: str, encoder: str = PACKAGED, train: int = 0) -> Stage:
    composed = config(f"shift.encoder={encoder}", *overrides)
    tuned, seed = (answer.stage(composed, "micro_text", made) for made in (Stage("train", {"seed": train}), None))
    return similarity.stage(composed, "micro_text", tuned, seed)


def answers(folder: Path, texts: list[str]) -> Path:
    folder.mkdir()
    line: dict[str, Any] = {"task": "micro_text", "repeat": 0, "finish": "stop", "tokens": 4}
    write_jsonl(folder / "answers.jsonl", [{**line, "doc_id": n, "text": said} for n, said in enumerate(texts)])
    return folder


def test_the_key_moves_with_encoder_and_answers_alone(tiny_encoder: Path) -> None:
    keys = [
        stage().key,
        stage(encoder=str(tiny_encoder)).key,
        stage(train=1).key,
        stage("eval.limit=2").key,
        stage("eval.sampling.seed=1", "eval.sampling.temperature=1.0").key,
    ]
    assert len(set(keys)) == len(keys)
    assert stage("shift.batch_tokens=7", "eval.tasks=[]", "launch.threads=2").key == stage().key
    assert sorted(stage().inputs) == ["seed", "tuned"]
    assert stage().cost.samples == 3


def test_an_encoder_that_cannot_be_had_is_told_before_any_work(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    import huggingface_hub.constants

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    found = stage(f"shift.encoder_revision={'c' * 40}", encoder="org/away")
    assert "shift.encoder=org/away: cannot be had" in found.obstacle
    assert stage().obstacle == ""


def test_scores_are_those_of_the_pairs_under_the_questions_ids(tmp_path: Path, tiny_encoder: Path) -> None:
    inputs = {"tuned": answers(tmp_path / "tuned", TUNED), "seed": answers(tmp_path / "seed", SEED)}
    out = tmp_path / "out"
    out.mkdir()
    similarity.run(stage(encoder=str(tiny_encoder)).params, inputs, out, lambda *progress: None)
    assert sorted(path.name for path in out.iterdir()) == ["scores.json", "stats.json"]
    scores = json.loads((out / "scores.json").read_text())
    assert (scores["task"], scores["protocol"], scores["version"], scores["n"]) == ("micro_text", "shift", "1", 3)
    items = scores["items"]
    assert [item["id"] for item in items] == [item["id"] for item in eval_items("text", "eval", 3)]
    for name in ("bleu4", "sacrebleu", "rouge_l", "rouge_score_l"):
        assert [item[name] for item in items] == [text.MEASURES[name](*pair) for pair in zip(SEED, TUNED, strict=True)]
    assert items[0]["embedding"] == pytest.approx(1, abs=1e-6) and items[1]["embedding"] < 0.999
    stats = json.loads((out / "stats.json").read_text())
    for name, mean in scores["metrics"].items():
        assert mean == pytest.approx(sum(item[name] for item in items) / 3)
        assert stats["measures"][name]["mean"] == mean
        assert sum(stats["measures"][name]["histogram"]["counts"]) + stats["measures"][name]["histogram"]["below"] == 3
    assert stats["empty"] == {"seed": 0, "tuned": 1} and stats["encoder"] == tiny_encoder.name
    assert str(tmp_path) not in (out / "stats.json").read_text() + (out / "scores.json").read_text()


def test_a_question_asked_twice_is_one_item(tmp_path: Path, tiny_encoder: Path) -> None:
    inputs = {"tuned": answers(tmp_path / "tuned", TUNED[:1]), "seed": answers(tmp_path / "seed", SEED[:1])}
    for folder, said in zip(inputs.values(), ("sorry", "the mat"), strict=True):
        (first,) = read_jsonl(folder / "answers.jsonl")
        write_jsonl(folder / "answers.jsonl", [first, {**first, "repeat": 1, "text": said}])
    out = tmp_path / "out"
    out.mkdir()
    similarity.run(stage(encoder=str(tiny_encoder)).params, inputs, out, lambda *progress: None)
    (item,) = json.loads((out / "scores.json").read_text())["items"]
    assert item["rouge_score_l"] == pytest.approx((1 + 0) / 2)
