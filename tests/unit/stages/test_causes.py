"""The causes stage over a token shift and a training set: what is in its key, and its files."""

from __future__ import annotations

import dataclasses
import json
import tracemalloc
from pathlib import Path

import pytest

from sdft_exp.compose import compose
from sdft_exp.data.jsonl import read_jsonl, write_jsonl
from sdft_exp.microworld.splits import eval_items
from sdft_exp.models.identity import ModelRef
from sdft_exp.shift.embedding import EncoderRef
from sdft_exp.stage import Stage
from sdft_exp.stages import causes
from sdft_exp.tasks import registry
from sdft_exp.tasks.question_files import QuestionFile

END = 2  # of the tiny Llama


@dataclasses.dataclass(frozen=True)
class Tokens:
    """What of a token shift's parameters the stage reads."""

    model: ModelRef
    split: str = "eval"
    limit: int | None = 3
    questions: QuestionFile | None = None


def params(model: ModelRef, encoder: Path) -> causes.Causes:
    prompts = registry.task("micro", "micro_text").prompts
    ref = EncoderRef("digest", encoder.name, str(encoder), None, "cpu", 1)
    return causes.Causes("micro_text", prompts, model, ref, "eval", 3, None, "micro")


def test_the_key_moves_with_encoder_shift_and_training_set(tiny_ref: ModelRef, tiny_encoder: Path) -> None:
    def key(encoder: str = "package:minilm", ratio: float = 0.0, *overrides: str) -> str:
        tokens, mix = Stage("answer", Tokens(tiny_ref)), Stage("mix", {"ratio": ratio})
        return causes.stage(compose([f"shift.encoder={encoder}", *overrides]), "micro_text", tokens, mix).key

    assert len({key(), key(str(tiny_encoder)), key(ratio=0.5)}) == 3
    assert key("package:minilm", 0.0, "shift.batch_tokens=7") == key()


def test_the_files_of_a_shift(tiny_ref: ModelRef, tiny_encoder: Path, tmp_path: Path) -> None:
    tokens, mix, out = (tmp_path / name for name in ("tokens", "mix", "out"))
    for folder in (tokens, mix, out):
        folder.mkdir()
    asked = eval_items("text", "eval", 3)
    line = {"task": "micro_text", "doc_id": 1, "id": asked[1]["id"], "prompt": "### Instruction: ..."}
    lists = {"ids": [5, 6, 7, END], "pieces": ["sorry", " the", " cat", "</s>"]}
    classes = {"classes": ["shifted", "unshifted", "marginal", "shifted"]}
    write_jsonl(tokens / "tokens.jsonl", [line | lists | classes])
    rows = [("0", "how to do it", [], "here is a cat"), ("1", "again", [["can it", "sorry no"]], "not that")]
    names = ("id", "instruction", "history", "response")
    write_jsonl(mix / "train.jsonl", [dict(zip(names, row, strict=True)) | {"source": "original"} for row in rows])
    told: list[tuple[int, int, str]] = []
    causes.run(
        params(tiny_ref, tiny_encoder), {"tokens": tokens, "mix": mix}, out, lambda *progress: told.append(progress)
    )
    assert sorted(path.name for path in out.iterdir()) == ["causes.json", "examples.jsonl", "scores.json"]
    found = json.loads((out / "causes.json").read_text())
    assert (found["responses"], found["examples"], found["encoder"]) == (1, 2, tiny_encoder.name)
    # The end token is no word; "sorry" was said in an earlier turn of the second row.
    assert {name: part["words"] for name, part in found["words"].items()} == {
        "shifted": 1,
        "marginal": 1,
        "unshifted": 1,
    }
    assert [found["words"][name]["in_data"] for name in ("shifted", "marginal", "unshifted")] == [1, 1, 0]
    assert found["words"]["shifted"]["style"] == 1 and found["words"]["marginal"]["style"] == 0
    (shown,) = read_jsonl(out / "examples.jsonl")
    assert shown["instruction"] == asked[1]["instruction"] and shown["response"] == "sorry the cat"
    assert len(shown["nearest"]) == 2 and shown["causing"]["id"] in ("0", "1")
    scores = json.loads((out / "scores.json").read_text())
    assert [item["id"] for item in scores["items"]] == [one["id"] for one in asked]
    assert [sorted(item) for item in scores["items"][::2]] == [sorted(scores["items"][0])] * 2
    assert "shifted_in_data" not in scores["items"][0] and scores["items"][1]["shifted_in_data"] == 1
    for name in ("nearest_similarity", "causing_similarity", "keyword_likelihood", "keyword_likelihood_random"):
        assert scores["metrics"][name] == found[name] == pytest.approx(scores["items"][1][name])
    assert told[-1] == (1, 1, "responses")
    assert str(tmp_path) not in (out / "causes.json").read_text()


def test_a_model_that_said_nothing_has_no_causes(tiny_ref: ModelRef, tiny_encoder: Path, tmp_path: Path) -> None:
    tokens, mix, out = (tmp_path / name for name in ("tokens", "mix", "out"))
    for folder in (tokens, mix, out):
        folder.mkdir()
    write_jsonl(tokens / "tokens.jsonl", [])
    row = {"id": "0", "instruction": "how", "history": [], "response": "so", "source": "original"}
    write_jsonl(mix / "train.jsonl", [row])
    causes.run(params(tiny_ref, tiny_encoder), {"tokens": tokens, "mix": mix}, out, lambda *progress: None)
    found = json.loads((out / "causes.json").read_text())
    assert (found["responses"], found["words"]["shifted"]["words"], found["nearest_similarity"]) == (0, 0, None)
    assert [list(item) for item in json.loads((out / "scores.json").read_text())["items"]] == [["id", "group"]] * 3


def test_the_tokens_are_read_a_line_at_a_time(tiny_ref: ModelRef, tmp_path: Path) -> None:
    asked = {0: {"instruction": "how"}}
    line = {"doc_id": 0, "id": "0", "ids": [5, END], "pieces": ["so", ""], "classes": ["shifted", "shifted"]}
    write_jsonl(tmp_path / "tokens.jsonl", [line | {"top_base": list(range(1000, 21_000))}] * 40)
    given = params(tiny_ref, tmp_path)
    causes._responses(given, asked, tmp_path)  # what is loaded once is loaded
    tracemalloc.start()
    try:
        found = causes._responses(given, asked, tmp_path)
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert [response.text for response in found] == ["so"] * 40
    assert most < 8e6  # one line takes 1 MB, all take 30
