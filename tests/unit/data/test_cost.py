"""Tokens of a set: counted, of a large one on a part of it, and estimated where rows or tokenizer are not here."""

from __future__ import annotations

import json
from pathlib import Path

from sdft_exp.compose import compose
from sdft_exp.data.cost import Tokens, row_cost, row_tokens
from sdft_exp.data.encode import Encoder
from sdft_exp.data.rows import row_source
from sdft_exp.data.templates import ALPACA_SYSTEM
from sdft_exp.stage import Cost


def test_a_large_set_is_counted_in_part_and_scaled(tmp_path: Path, tiny_tokenizer: Path) -> None:
    path = tmp_path / "many.jsonl"
    row = {"instruction": "q", "output": "a"}
    path.write_text("".join(json.dumps(row) + "\n" for _ in range(2500)))
    config = compose(["dataset=jsonl", f"dataset.path={path}", "model=hf", f"model.path={tiny_tokenizer}"])
    cost = row_cost(row_source(config.dataset), config)
    one = Encoder.from_folder(tiny_tokenizer).example("alpaca", "auto", {"instruction": "q", "response": "a"}, 1024)
    assert (cost.samples, cost.tokens, cost.rough) == (2500, 2500 * len(one.input_ids), True)


def test_a_small_set_is_counted_whole(tmp_path: Path, tiny_tokenizer: Path) -> None:
    path = tmp_path / "two.jsonl"
    rows = [{"instruction": "q", "output": "a"}, {"instruction": "q", "output": "a cat sat on a mat and ate"}]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    config = compose(["dataset=jsonl", f"dataset.path={path}", "model=hf", f"model.path={tiny_tokenizer}"])
    encoder = Encoder.from_folder(tiny_tokenizer)
    example = [
        encoder.example("alpaca", "auto", {"instruction": row["instruction"], "response": row["output"]}, 9999)
        for row in rows
    ]
    lengths = [len(one.input_ids) for one in example]
    cutoff = lengths[0] + 2
    config = config.model_copy(update={"dataset": config.dataset.model_copy(update={"cutoff": cutoff})})
    tokens = row_tokens(row_source(config.dataset), config)
    assert tokens == Tokens(sum(lengths), lengths[0] + cutoff, cutoff, rough=False)
    assert row_cost(row_source(config.dataset), config) == Cost(2, sum(lengths))


def test_without_the_tokenizer_rows_are_counted_and_tokens_estimated(tmp_path: Path) -> None:
    path = tmp_path / "few.jsonl"
    path.write_text(json.dumps({"instruction": "q" * 39, "output": "a" * 390}) + "\n")
    config = compose(["dataset=jsonl", f"dataset.path={path}", "model=hf", "model.path=no/such-model"])
    cost = row_cost(row_source(config.dataset), config)
    words = len(ALPACA_SYSTEM) + len("\n\n### Instruction:\n\n\n### Response:\n")
    assert (cost.samples, cost.tokens, cost.rough) == (1, round(110 + words / 3.9), True)


def test_rows_that_are_not_here_are_estimated_by_their_recorded_mean() -> None:
    overrides = ["dataset=gsm8k", "dataset.templates.train=alpaca", "dataset.row_tokens=100"]
    words = (len(ALPACA_SYSTEM) + len("\n\n### Instruction:\n\n\n### Response:\n")) / 3.9
    config = compose(["model=llama2_7b_chat", *overrides])
    assert row_cost(row_source(config.dataset), config) == Cost(7473, round(7473 * (100 + words)), rough=True)
    config = compose(["model=llama3_8b_instruct", *overrides])  # its vocabulary takes fewer tokens
    assert row_cost(row_source(config.dataset), config) == Cost(7473, round(7473 * 0.85 * (100 + words)), rough=True)
    config = compose(["model=llama2_7b_chat", *overrides[:2], "dataset.row_tokens=null"])
    assert row_cost(row_source(config.dataset), config) == Cost(7473)
