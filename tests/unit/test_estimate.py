"""What stages would take, put together from tokens and formulas that have tests of their own."""

from __future__ import annotations

from typing import Any

import pytest

from sdft_exp.compose import compose
from sdft_exp.config import RunConfig
from sdft_exp.estimate import LIKELIHOOD_BATCH, answering, distillation, training
from sdft_exp.experiment import Experiment, experiment
from sdft_exp.models import footprint
from sdft_exp.models.shape import shape_of
from sdft_exp.stage import Cost, Stage

SEVEN = ["model=llama2_7b_chat", "dataset=gsm8k", "eval=none"]


def story(*overrides: str) -> Experiment:
    return experiment(compose([*SEVEN, *overrides]))


def dataset(of: Experiment) -> Stage:
    assert of.dataset is not None
    return of.dataset


def test_training_hours_and_bytes() -> None:
    told = story("method=vanilla", "tuning.epochs=2", "dataset.row_tokens=163", "launch.assume.training=0.5")
    cost = training(told.config, dataset(told))
    # 163 tokens a row, and 144 characters of the template at 3.9 a token.
    tokens = round(7473 * (163 + 144 / 3.9))
    assert (cost.samples, cost.tokens, cost.rough, cost.most) == (2 * 7473, 2 * tokens, True, False)
    shape = shape_of(told.config.model)
    assert shape is not None and cost.hours is not None
    work = footprint.lora_operations(shape, 4_194_304, 2 * tokens, 2 * tokens / (2 * 7473))
    assert cost.hours == pytest.approx(work / (312e12 * 0.5) / 3600)
    # A pass: as many tokens as the budget, since 8 rows of up to 1,024 fill it; all with loss at worst.
    assert cost.memory == footprint.lora_bytes(shape, "bfloat16", 8, ("q_proj", "v_proj"), 0.0, 2048, 2048)


def test_a_row_longer_than_the_budget_stands_alone_in_its_pass() -> None:
    told = story("method=vanilla", "tuning.micro_batch_tokens=100")
    shape = shape_of(told.config.model)
    assert shape is not None
    expected = footprint.lora_bytes(shape, "bfloat16", 8, ("q_proj", "v_proj"), 0.0, 1024, 1024)
    assert training(told.config, dataset(told)).memory == expected


def test_tokens_of_rewrites_are_an_estimate_before_they_are_written() -> None:
    for method, rough in (("vanilla", False), ("sdft", True)):
        told = experiment(compose([f"method={method}", "eval=none"]))  # the miniature: rows and tokenizer are here
        cost = training(told.config, dataset(told))
        assert (dataset(told).cost.rough, cost.rough) == (False, rough)
        assert cost.tokens == 8 * dataset(told).cost.tokens  # epochs; no row of it is cut


def test_distillation_is_told_at_most() -> None:
    told = story("dataset.row_tokens=100")
    cost = distillation(told.config, dataset(told))
    prompt = 100 + 240 / 3.9  # the words of gsm8k_distill
    assert (cost.samples, cost.rough, cost.most) == (7473, True, True)
    assert cost.tokens == pytest.approx(7473 * (prompt + 512), abs=1)
    shape = shape_of(told.config.model)
    assert shape is not None and cost.hours is not None
    gpu = footprint.Gpu(312.0, 2.0, 0.4, 0.5)
    seconds = footprint.writing_seconds(shape, "float16", gpu, 7473, prompt, 512, 16384)
    assert cost.hours == pytest.approx(seconds / 3600, rel=1e-4)


def answered(config: RunConfig, **changes: Any) -> Cost:
    known: dict[str, Any] = {"template": "alpaca", "samples": 100, "length": 20.0, "tuned": False}
    return answering(config, **(known | changes))


def test_answers() -> None:
    config = compose(["model=llama2_7b_chat", "dataset=gsm8k", "eval=paper"])
    cost = answered(config)
    assert (cost.samples, cost.tokens) == (100, round(100 * (20 + 140 / 3.9 + 512)))
    assert cost.rough and cost.most and cost.hours
    tuned = answered(config, tuned=True)
    assert cost.memory is not None and tuned.memory == cost.memory + 4 * 4_194_304
    bounded = answered(config, length=100 - 140 / 3.9, max_length=2048)
    assert bounded.tokens == 100 * 2048
    assert answered(config, length=None) == Cost(100)
    assert answered(config, samples=None) == Cost()


def test_comparing_likelihoods_writes_nothing() -> None:
    config = compose(["model=llama2_7b_chat", "dataset=gsm8k", "eval=paper"])
    cost = answered(config, template=None)
    assert (cost.tokens, cost.rough, cost.most) == (2000, True, False)
    shape = shape_of(config.model)
    assert shape is not None
    assert cost.memory == footprint.comparing_bytes(shape, "float16", 0, LIKELIHOOD_BATCH, 20)


def test_likelihoods_are_compared_so_many_at_once() -> None:
    from sdft_exp.evaluation.likelihood import BATCH

    assert BATCH == LIKELIHOOD_BATCH


def test_without_a_shape_tokens_alone_are_told() -> None:
    told = experiment(compose(["model=hf", "model.path=no/such", "model.revision=abc", "dataset=gsm8k", "eval=none"]))
    for cost in (training(told.config, dataset(told)), distillation(told.config, dataset(told))):
        assert cost.tokens and cost.hours is None and cost.memory is None


def test_float32_has_its_own_peak() -> None:
    hours = {}
    for dtype in ("float32", "bfloat16"):
        told = story("method=vanilla", f"model.train_dtype={dtype}")
        hours[dtype] = training(told.config, dataset(told)).hours
    assert hours["float32"] == pytest.approx(hours["bfloat16"] * 312 / 19.5)


def test_full_tuning() -> None:
    told = story("method=vanilla", "tuning=full", "launch.device=cpu")
    cost = training(told.config, dataset(told))
    shape = shape_of(told.config.model)
    assert shape is not None and cost.samples and cost.tokens
    # 8 rows of up to 1,024 tokens are four passes of the budget.
    assert cost.memory == footprint.full_bytes(shape, "bfloat16", 2048, 2048, 4, foreach=False)
    work = footprint.full_operations(shape, cost.tokens, cost.tokens / cost.samples)
    assert cost.hours == pytest.approx(work / (312e12 * 0.4) / 3600)


def test_zero_takes_less_of_each_process() -> None:
    def memory(*more: str) -> int:
        told = story("method=vanilla", "tuning=full", "launch.device=cpu", *more)
        found = training(told.config, dataset(told)).memory
        assert found is not None
        return found

    zero2, zero3 = (memory(f"tuning.deepspeed={zero}", "launch.gpus=8") for zero in ("zero2", "zero3"))
    assert zero3 < zero2 < memory()
    assert memory("tuning.deepspeed=zero3", "launch.gpus=4", "launch.nodes=2") == zero3


def test_a_token_shift_reads_each_answer_twice() -> None:
    from sdft_exp.estimate import SHIFT_CHUNK, shifting

    config = compose(["model=llama2_7b_chat", "dataset=gsm8k", "eval=paper"])
    shape = shape_of(config.model)
    assert shape is not None
    cost = shifting(config, Cost(100, 50_000, rough=True, most=True))
    assert (cost.samples, cost.tokens, cost.rough, cost.most) == (100, 100_000, True, True)
    work = 2 * footprint.forward_operations(shape, 50_000, 500)
    assert cost.hours == pytest.approx(work / (312e12 * 0.4) / 3600)
    assert cost.memory == footprint.shifting_bytes(shape, "float16", 4_194_304, 8192, SHIFT_CHUNK)
    # A response that is longer than the budget stands alone.
    alone = shifting(config, Cost(10, 100_000)).memory
    assert alone == footprint.shifting_bytes(shape, "float16", 4_194_304, 10_000, SHIFT_CHUNK)
    full = compose(["model=llama2_7b_chat", "dataset=gsm8k", "eval=paper", "tuning=full", "launch.device=cpu"])
    both = shifting(full, Cost(100, 50_000)).memory
    assert both is not None and cost.memory is not None
    assert both - cost.memory == 2 * shape.parameters - 4 * 4_194_304  # a second model in place of the adapter
    assert shifting(config, Cost(100)) == Cost(100) and shifting(config, Cost()) == Cost()
    unknown = compose(["model=hf", "model.path=no/such", "model.revision=abc", "dataset=gsm8k", "eval=none"])
    assert shifting(unknown, Cost(100, 50_000)) == Cost(100, 100_000, rough=True, most=True)


@pytest.mark.integration
def test_a_token_shift_takes_as_many_logits_at_once_as_the_plan_thinks() -> None:
    from sdft_exp.estimate import SHIFT_CHUNK
    from sdft_exp.shift.tokens import CHUNK

    assert CHUNK == SHIFT_CHUNK
