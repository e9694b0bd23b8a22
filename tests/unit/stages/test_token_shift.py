"""The token shift of real answers of a tiny model: what moves the key, and every file that the stage leaves."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest

from sdft_exp.compose import compose
from sdft_exp.config import RunConfig, Sampling
from sdft_exp.data.encode import Encoder
from sdft_exp.data.jsonl import read_jsonl, write_jsonl
from sdft_exp.errors import UserError
from sdft_exp.evaluation.answering import write_answers
from sdft_exp.generation.engines import Hf
from sdft_exp.microworld.splits import eval_items
from sdft_exp.models.identity import ModelRef
from sdft_exp.stage import Stage
from sdft_exp.stages import answer, token_shift
from sdft_exp.tasks import registry

GREEDY = Sampling(temperature=0.0, top_p=1.0, top_k=0, max_new_tokens=40, seed=0)
TEXT = registry.task("micro", "micro_text")
QUESTIONS = 5

pytestmark = pytest.mark.integration


def quiet(done: int, total: int, what: str) -> None:
    """A progress display that shows nothing."""


def config(*overrides: str) -> RunConfig:
    return compose(["eval.sampling.temperature=0", "shift.tasks=[micro_text]", "shift.measures=[tokens]", *overrides])


def stage(*overrides: str, train: int = 0) -> Stage:
    composed, made = config(*overrides), Stage("train", {"seed": train})
    return token_shift.stage(composed, "micro_text", answer.stage(composed, "micro_text", made), made)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, tiny_llama: Path) -> Path:
    """A training's folder with an adapter that moves the tiny model."""
    import torch
    from transformers import AutoModelForCausalLM

    from sdft_exp.models.adapter import save_adapter, with_adapter
    from sdft_exp.training.settings import Lora

    folder = tmp_path_factory.mktemp("train")
    base = AutoModelForCausalLM.from_pretrained(tiny_llama, dtype=torch.float32)
    model = with_adapter(base, Lora(rank=4, alpha=8.0, dropout=0.0, targets=("q_proj", "v_proj")), 0)
    torch.manual_seed(0)
    with torch.no_grad():
        for name, part in model.named_parameters():
            if "lora_B" in name:
                part.normal_(std=0.3)
    save_adapter(model, folder / "adapter", "tiny")
    return folder


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory, trained: Path, tiny_llama: Path) -> dict[str, Path]:
    from tests.unit.conftest import _ref

    answers = tmp_path_factory.mktemp("answer")
    write_answers(TEXT, _ref(tiny_llama), trained / "adapter", GREEDY, Hf(2000), "eval", QUESTIONS, answers, quiet)
    return {"answer": answers, "train": trained}


def params(ref: ModelRef, **changes: Any) -> token_shift.TokenShift:
    given: dict[str, Any] = {
        "task": "micro_text",
        "prompts": TEXT.prompts,
        "model": ref,
        "decoding": GREEDY.model_dump(),
        "split": "eval",
        "limit": QUESTIONS,
        "questions": None,
        "form": "exact",
        "batch_tokens": 400,
        "workers": 1,
        "protocol": "micro",
    }
    return token_shift.TokenShift(**given | changes)


def made(out: Path, params: token_shift.TokenShift, inputs: dict[str, Path]) -> dict[str, Any]:
    out.mkdir()
    token_shift.run(params, inputs, out, quiet)
    assert sorted(path.name for path in out.iterdir()) == [
        "scores.json", "stats.json", "tokens.jsonl", "vocabulary.json",
    ]  # fmt: skip
    files = {name: json.loads((out / f"{name}.json").read_text()) for name in ("scores", "stats", "vocabulary")}
    return files | {"lines": read_jsonl(out / "tokens.jsonl")}


def test_the_key_moves_with_model_answers_training_and_form() -> None:
    keys = [
        stage().key,
        stage(train=1).key,
        stage("eval.limit=3").key,
        stage("eval.sampling.max_new_tokens=7").key,
        stage("shift.form=aligntds").key,
        stage("model.dtype=bfloat16").key,
    ]
    assert len(set(keys)) == len(keys)
    assert stage("shift.batch_tokens=99", "launch.threads=2", "generation.workers=2").key == stage().key
    assert sorted(stage().inputs) == ["answer", "train"]


def test_the_plan_is_told_what_both_models_read() -> None:
    made = stage("eval.limit=10")
    assert made.cost.samples == 10 and made.cost.hours and made.cost.memory
    assert made.cost.tokens == 2 * made.inputs["answer"].cost.tokens


def test_sampled_answers_are_refused() -> None:
    with pytest.raises(ValueError, match="greedy"):
        stage("eval.sampling.temperature=1.0")


def test_the_files_hold_what_both_models_make_of_the_answers(
    tmp_path: Path, tiny_ref: ModelRef, inputs: dict[str, Path]
) -> None:
    import torch

    from sdft_exp.models.load import load

    found = made(tmp_path / "out", params(tiny_ref), inputs)
    encoder = Encoder.from_folder(tiny_ref.path)
    answers, items = read_jsonl(inputs["answer"] / "answers.jsonl"), eval_items("text", "eval", QUESTIONS)
    base, _ = load(tiny_ref)
    read: list[torch.Tensor] = []
    with torch.inference_mode():
        for line, item in zip(found["lines"], items, strict=True):
            prompt = encoder.prompt("alpaca", "alpaca", item["instruction"])
            ids = torch.tensor([prompt + line["ids"]])
            read.append(base(input_ids=ids).logits[0, len(prompt) - 1 : -1].double().softmax(-1))
        worn, _ = load(tiny_ref, inputs["train"] / "adapter")
        for line, item, answered, p in zip(found["lines"], items, answers, read, strict=True):
            prompt = encoder.prompt("alpaca", "alpaca", item["instruction"])
            ids = torch.tensor([prompt + line["ids"]])
            q = worn(input_ids=ids).logits[0, len(prompt) - 1 : -1].double().softmax(-1)
            assert (line["id"], line["ids"]) == (item["id"], answered["ids"])
            assert line["prompt"] == encoder.text(prompt)
            assert "".join(line["pieces"]) == encoder.text(line["ids"])
            assert line["kl_base_tuned"] == pytest.approx((p * (p / q).log()).sum(1).tolist(), rel=1e-4, abs=1e-5)
            own = p[range(len(line["ids"])), line["ids"]]
            assert line["base_probability"] == pytest.approx(own.tolist(), rel=1e-4, abs=1e-6)
            ranks = (1 + (p > own[:, None]).sum(1)).tolist()
            assert line["base_rank"] == ranks
            assert [name == "unshifted" for name in line["classes"]] == [rank == 1 for rank in ranks]
            assert all(line["agrees"])
            assert all(str(token) in found["vocabulary"] for listed in line["top_base"] for token, _ in listed)
            assert [len(listed) for listed in line["top_tuned"]] == [10] * len(ranks)
    scores = found["scores"]
    assert (scores["protocol"], scores["version"], scores["n"]) == ("shift", "1", QUESTIONS)
    assert [item["id"] for item in scores["items"]] == [item["id"] for item in items]
    kls = [sum(line["kl_base_tuned"]) / len(line["ids"]) for line in found["lines"]]
    assert [item["kl_base_tuned"] for item in scores["items"]] == pytest.approx(kls)
    assert scores["metrics"]["kl_base_tuned"] == pytest.approx(sum(kls) / QUESTIONS)
    assert scores["metrics"]["kl_base_tuned"] > 0.01
    stats = found["stats"]
    assert stats["tokens"] == sum(len(line["ids"]) for line in found["lines"])
    assert (stats["questions"], stats["responses"], stats["empty"], stats["retokenised"]) == (
        QUESTIONS,
        QUESTIONS,
        0,
        0,
    )
    assert stats["not_argmax"] == 0 and stats["form"] == "exact"
    assert stats["ended"] == sum(line["finish"] == "stop" for line in answers)


def test_an_empty_answer_is_an_item_without_values(tmp_path: Path, tiny_ref: ModelRef, inputs: dict[str, Path]) -> None:
    answers = read_jsonl(inputs["answer"] / "answers.jsonl")
    ended = {"text": "", "finish": "stop", "tokens": 0, "ids": [2]}  # the end token alone
    changed = tmp_path / "answer"
    changed.mkdir()
    write_jsonl(changed / "answers.jsonl", [{**answers[0], **ended}, answers[1], {**answers[2], "text": "", "ids": []}])
    found = made(tmp_path / "out", params(tiny_ref, limit=3), {**inputs, "answer": changed})
    assert [set(item) <= {"id", "group"} for item in found["scores"]["items"]] == [True, False, True]
    assert found["scores"]["n"] == 3 and [line["doc_id"] for line in found["lines"]] == [1]
    assert (found["stats"]["empty"], found["stats"]["responses"]) == (2, 1)
    assert found["scores"]["metrics"]["kl_first"] == found["scores"]["items"][1]["kl_first"]


def test_a_servers_answers_are_read_from_their_text_and_counted(
    tmp_path: Path, tiny_ref: ModelRef, inputs: dict[str, Path]
) -> None:
    changed = tmp_path / "answer"
    changed.mkdir()
    texts = ["the cat sat", "", "on a mat"]
    line = {"task": "micro_text", "repeat": 0, "finish": "stop", "tokens": 4}
    write_jsonl(changed / "answers.jsonl", [{**line, "doc_id": n, "text": text} for n, text in enumerate(texts)])
    found = made(tmp_path / "out", params(tiny_ref, limit=3), {**inputs, "answer": changed})
    assert ["".join(one["pieces"]) for one in found["lines"]] == ["the cat sat", "on a mat"]
    assert (found["stats"]["retokenised"], found["stats"]["empty"], found["stats"]["ended"]) == (2, 1, 0)


def test_answers_to_other_prompts_are_refused(tmp_path: Path, tiny_ref: ModelRef, inputs: dict[str, Path]) -> None:
    changed = tmp_path / "answer"
    changed.mkdir()
    answers = read_jsonl(inputs["answer"] / "answers.jsonl")
    write_jsonl(changed / "answers.jsonl", [{**line, "cut": 3} for line in answers])
    with pytest.raises(UserError, match="question 0 of micro_text was to a prompt of another length"):
        token_shift.run(params(tiny_ref), {**inputs, "answer": changed}, tmp_path, quiet)


def test_two_checkpoints_measure_what_the_adapter_does(
    tmp_path: Path, tiny_ref: ModelRef, inputs: dict[str, Path]
) -> None:
    from sdft_exp.models.folder import save_merged

    train = tmp_path / "train"
    save_merged(tiny_ref, inputs["train"] / "adapter", train / "model")
    one = made(tmp_path / "adapter", params(tiny_ref), inputs)
    two = made(tmp_path / "checkpoints", params(tiny_ref), {**inputs, "train": train})
    for name, value in one["scores"]["metrics"].items():
        assert two["scores"]["metrics"][name] == pytest.approx(value, rel=1e-3), name


@pytest.mark.parametrize("saved", ["bfloat16", "float16", "float32"])
def test_a_full_tuning_that_changed_nothing_has_not_shifted(
    tmp_path: Path, tiny_ref: ModelRef, inputs: dict[str, Path], saved: str
) -> None:
    from sdft_exp.training.model import save_trained, trainable

    kept = dataclasses.replace(tiny_ref, dtype=saved)
    save_trained(trainable(kept, None, 0), tmp_path / "train", kept, None, "tiny")
    for dtype in ("float32", "float16"):
        asked = params(dataclasses.replace(tiny_ref, dtype=dtype))
        found = made(tmp_path / dtype, asked, {**inputs, "train": tmp_path / "train"})
        assert max(kl for line in found["lines"] for kl in line["kl_base_tuned"] + line["kl_tuned_base"]) < 1e-7
        assert all(line["top_base"] == line["top_tuned"] for line in found["lines"])


def test_aligntds_counts_ranks_from_0(tmp_path: Path, tiny_ref: ModelRef, inputs: dict[str, Path]) -> None:
    exact = made(tmp_path / "exact", params(tiny_ref), inputs)
    found = made(tmp_path / "aligntds", params(tiny_ref, form="aligntds"), inputs)
    assert found["scores"]["version"] == "1 (AlignTDS's form)" and found["stats"]["form"] == "aligntds"
    encoder = Encoder.from_folder(tiny_ref.path)
    seen = 0
    for line, other in zip(found["lines"], exact["lines"], strict=True):
        for place, token in enumerate(line["ids"]):
            if "\ufffd" not in encoder.text([token]):  # bytes that are no character all read alike
                rank = other["base_rank"][place]
                assert line["base_rank"][place] == (rank - 1 if rank <= 30 else 50)
                assert line["classes"][place] == other["classes"][place]
                assert rank > 30 or line["base_probability"][place] >= other["base_probability"][place]
                seen += 1
    assert seen > 20


def test_logits_that_are_no_numbers_are_an_error(tmp_path: Path, tiny_ref: ModelRef, inputs: dict[str, Path]) -> None:
    import torch

    from sdft_exp.training.model import save_trained, trainable

    model = trainable(tiny_ref, None, 0)
    with torch.no_grad():
        model.lm_head.weight[7, 3] = torch.nan
    save_trained(model, tmp_path / "train", tiny_ref, None, "tiny")
    with pytest.raises(UserError, match=r"answer to question \d .* in float32; take another model\.dtype"):
        token_shift.run(params(tiny_ref), {**inputs, "train": tmp_path / "train"}, tmp_path, quiet)


def test_a_batch_that_memory_does_not_hold_is_halved(
    tmp_path: Path, tiny_ref: ModelRef, inputs: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch

    from sdft_exp.shift import tokens

    whole = made(tmp_path / "whole", params(tiny_ref, batch_tokens=10_000), inputs)
    measure, tried = tokens.token_shift, []
    holds = QUESTIONS // 2

    def small(pair: tokens.Pair, batch: list[tokens.Spoken], *more: int) -> list[tokens.TokenShift]:
        tried.append(len(batch))
        if len(batch) > holds:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return measure(pair, batch, *more)

    monkeypatch.setattr(tokens, "token_shift", small)
    found = made(tmp_path / "halved", params(tiny_ref, batch_tokens=10_000), inputs)
    assert tried == [5, 2, 1, 2]
    for line, other in zip(found["lines"], whole["lines"], strict=True):
        assert line["ids"] == other["ids"] and line["base_rank"] == other["base_rank"]
        assert line["kl_base_tuned"] == pytest.approx(other["kl_base_tuned"], rel=1e-4, abs=1e-6)
    holds = 0
    with pytest.raises(UserError, match=r"out of memory at one answer of .* model\.dtype=bfloat16"):
        token_shift.run(params(tiny_ref), inputs, tmp_path, quiet)


def test_memory_that_does_not_hold_both_checkpoints_is_one_line(
    tmp_path: Path, tiny_ref: ModelRef, inputs: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch

    from sdft_exp.models import load

    def full(ref: ModelRef) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory.")

    load.release()
    monkeypatch.setattr(load, "read_model", full)
    with pytest.raises(UserError, match="out of memory while loading; the two models"):
        token_shift.run(params(tiny_ref), inputs, tmp_path, quiet)


class Interrupted(Exception):
    pass


def test_interrupted_anywhere_it_ends_in_the_same_files(
    tmp_path: Path, tiny_ref: ModelRef, inputs: dict[str, Path]
) -> None:
    whole = made(tmp_path / "whole", params(tiny_ref, batch_tokens=1), inputs)
    out = tmp_path / "out"
    out.mkdir()

    def interrupt(done: int, total: int, what: str) -> None:
        if done == 2:
            raise Interrupted

    with pytest.raises(Interrupted):
        token_shift.run(params(tiny_ref, batch_tokens=1), inputs, out, interrupt)
    told: list[tuple[int, int, str]] = []
    token_shift.run(params(tiny_ref, batch_tokens=1), inputs, out, lambda *progress: told.append(progress))
    assert [done for done, _, _ in told] == [2, 3, 4, 5] and told[-1] == (QUESTIONS, QUESTIONS, "responses")
    assert read_jsonl(out / "tokens.jsonl") == whole["lines"]
    assert not (out / token_shift.JOURNAL).exists()


def test_building_the_stage_imports_no_torch() -> None:
    import subprocess
    import sys

    script = (
        "import sys; from sdft_exp.stages import token_shift; "
        "print([m for m in ('torch', 'lm_eval', 'peft', 'transformers') if m in sys.modules])"
    )
    assert subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout == "[]\n"


@pytest.mark.parametrize(("form", "first_rank"), [("exact", 1), ("aligntds", 0)])
def test_the_page_of_tokens_shows_what_the_stage_left(
    tmp_path: Path, tiny_ref: ModelRef, inputs: dict[str, Path], form: str, first_rank: int
) -> None:
    import base64
    import zlib

    from analysis.token_shift.page import contents
    from analysis.token_shift.source import read
    from sdft_exp.stages.report import ReportJob

    artifact = tmp_path / "store" / "token_shift" / ("0" * 64)
    artifact.parent.mkdir(parents=True)
    found = made(artifact, params(tiny_ref, form=form), inputs)
    shifts = {"token_shift/micro_text": f"token_shift/{artifact.name}"}
    job = ReportJob("sdft", {"method": "sdft"}, 0, "micro", "micro_chat", (), train="train/0", shifts=shifts)
    plan = {"title": "run", "store": str(tmp_path / "store"), "jobs": [{"report": dataclasses.asdict(job)}]}
    (tmp_path / "plan.json").write_text(json.dumps(plan))
    shown = contents(read(tmp_path))
    (part,) = shown.index["parts"]
    assert part["rows"][0]["form"] == form
    for line, (_, name, ((text, _),)) in zip(found["lines"], part["items"], strict=True):
        assert text == "".join(line["pieces"])
        tokens = json.loads(zlib.decompress(base64.b64decode(shown.blobs[name])))["0"]
        assert tokens["rank"] == line["base_rank"] and min(tokens["rank"]) >= first_rank
        counts = tokens["top_base"][0]
        assert [count == 10 for count in counts] == [each != "unshifted" for each in line["classes"]]
