from __future__ import annotations

import json
from pathlib import Path

import pytest

from sdft_exp.errors import ConfigError
from sdft_exp.generation.engines import Hf
from sdft_exp.stages import distill
from sdft_exp.stages.distill import Distill

pytestmark = pytest.mark.integration

SAMPLING = {"temperature": 0.95, "top_p": 0.7, "top_k": 50, "max_new_tokens": 8, "seed": 0}


def silent(done: int, total: int, what: str) -> None:
    pass


def write_rows(folder: Path, responses: list[str]) -> Path:
    folder.mkdir()
    rows = [
        {"id": f"row-{i}", "instruction": f"say {i}", "history": [], "response": text, "answer": None, "line": i}
        for i, text in enumerate(responses)
    ]
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


def params(ref, batch_tokens: int = 10**5) -> Distill:
    return Distill(model=ref, template="alpaca_distill_using", sampling=SAMPLING, engine=Hf(batch_tokens))


def completions(out: Path) -> list[dict]:
    return [json.loads(line) for line in (out / "completions.jsonl").read_text().splitlines()]


def test_one_completion_a_row_in_the_rows_order(tiny_wide_ref, tmp_path):
    rows = write_rows(tmp_path / "dataset", ["a cat", "b", "the mat and the fish", ""])
    out = tmp_path / "out"
    out.mkdir()
    distill.run(params(tiny_wide_ref), {"dataset": rows}, out, silent)
    assert [path.name for path in out.iterdir()] == ["completions.jsonl"]
    made = completions(out)
    assert [done["id"] for done in made] == ["row-0", "row-1", "row-2", "row-3"]
    assert {tuple(done) for done in made} == {("id", "text", "finish", "tokens")}
    assert all(done["text"] and done["tokens"] <= 8 for done in made)


def test_the_prompt_shows_the_reference(tiny_wide_ref, tmp_path):
    texts = []
    for name, response in (("one", "a cat"), ("two", "a dog")):
        out = tmp_path / f"out-{name}"
        out.mkdir()
        distill.run(params(tiny_wide_ref), {"dataset": write_rows(tmp_path / name, [response])}, out, silent)
        texts.append(completions(out)[0]["text"])
    assert texts[0] != texts[1]


def test_batches_change_no_text(tiny_wide_ref, tmp_path):
    rows = write_rows(tmp_path / "dataset", ["a cat", "b", "the mat and the fish"])
    bytes_of = []
    for tokens in (1, 10**6):
        out = tmp_path / str(tokens)
        out.mkdir()
        distill.run(params(tiny_wide_ref, tokens), {"dataset": rows}, out, silent)
        bytes_of.append((out / "completions.jsonl").read_bytes())
    assert bytes_of[0] == bytes_of[1]


def test_a_prompt_that_does_not_fit_is_left_to_its_original(tiny_wide_ref, tmp_path):
    rows = write_rows(tmp_path / "dataset", ["x " * 2000, "a cat"])
    out = tmp_path / "out"
    out.mkdir()
    distill.run(params(tiny_wide_ref), {"dataset": rows}, out, silent)
    long, short = completions(out)
    assert long == {"id": "row-0", "text": "", "finish": "overlong", "tokens": 0}
    assert short["text"]


def planned(*overrides: str):
    from sdft_exp.compose import compose
    from sdft_exp.stages import dataset

    config = compose(["dataset=micro_chat", "dataset.size=20", *overrides])
    return distill.stage(config, dataset.stage(config))


def test_the_key_holds_what_changes_texts_and_nothing_else():
    sampled = "generation.sampling.temperature=0.95"
    key = planned(sampled).key
    same = (
        "generation.batch_tokens=7",
        "launch.threads=2",
        "launch.device=cpu",
        "tuning.rank=4",
        "method.mix_ratio=0.5",
    )
    assert {planned(sampled, override).key for override in same} == {key}
    other = (
        "generation.sampling.seed=1",
        "generation.sampling.max_new_tokens=9",
        "method.distill_template=alpaca_distill_refer",
        "model.prompt_format=llama2",
        "dataset.size=21",
    )
    assert len({key, *(planned(sampled, override).key for override in other)}) == 6


def test_greedy_decoding_draws_nothing():
    greedy = "generation.sampling.temperature=0"
    assert planned(greedy).key == planned(greedy, "generation.sampling.seed=5", "generation.sampling.top_k=3").key


def test_new_tokens_that_fill_the_context_are_refused_before_anything_runs():
    with pytest.raises(ConfigError, match=r"^generation\.sampling\.max_new_tokens=2048: the model reads 2048 tokens"):
        planned("generation.sampling.max_new_tokens=2048")
    planned("generation.sampling.max_new_tokens=2047")


def test_the_cost_counts_prompts_and_room_for_new_tokens():
    from sdft_exp.data.encode import load_encoder
    from sdft_exp.data.rows import load_rows

    stage = planned("generation.sampling.max_new_tokens=10")
    encoder = load_encoder("package:microworld")
    prompts = [
        encoder.prompt(stage.params.template, "alpaca", row["instruction"], reference=row["response"])
        for row in load_rows(stage.inputs["dataset"].params)
    ]
    assert (stage.cost.samples, stage.cost.tokens) == (20, sum(map(len, prompts)) + 20 * 10)


def test_a_hub_model_that_is_not_here_is_planned_by_estimate(tmp_path):
    rows = tmp_path / "rows.jsonl"
    rows.write_text(json.dumps({"instruction": "say", "output": "a"}) + "\n")
    stage = planned("model=llama2_7b_chat", "dataset=jsonl", f"dataset.path={rows}", "dataset.size=null")
    assert (stage.cost.samples, stage.cost.rough, stage.cost.most) == (1, True, True)
