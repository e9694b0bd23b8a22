"""Which engine a config means, what of it is in the keys, and what is refused before anything starts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from sdft_exp.compose import compose
from sdft_exp.errors import ConfigError
from sdft_exp.experiment import Experiment, experiment
from sdft_exp.generation.engines import MODULES, Hf, Vllm, obstacle
from sdft_exp.stage import keyed, source_digest
from sdft_exp.stages import distill

SEED = ["method=seed", "eval.tasks=[micro_math]"]
SERVED = ["generation=openai", "generation.base_url=http://127.0.0.1:8000/v1"]
REWRITES = ["eval=none"]
KNOWLEDGE = ["eval=knowledge", "eval.tasks=[mmlu]"]


def planned(*overrides: str) -> Experiment:
    return experiment(compose(overrides))


def distilled(*overrides: str) -> Any:
    story = planned(*REWRITES, *overrides)
    assert story.select is not None
    return story.select.inputs["distill"]


def answered(*overrides: str) -> Any:
    (score,) = planned(*SEED, *overrides).seed_scores.values()
    return score.inputs["answer"]


@pytest.mark.parametrize("stage", [distilled, answered])
def test_texts_are_kept_by_the_engine_that_wrote_them(stage: Any) -> None:
    keys = [
        stage().key,
        stage(*SERVED).key,
        stage(*SERVED, "generation.model=other").key,
        stage(*SERVED, "generation.dialect=transformers", "generation.prompts=text").key,
        stage("generation=vllm").key,
        stage("generation=vllm", "generation.executable=sglang").key,
        stage("generation=vllm", "generation.arguments=['{model}','{port}',--quantization,fp8]").key,
        stage("generation=vllm", "generation.adapter_arguments=null").key,
    ]
    assert len(set(keys)) == len(keys)


@pytest.mark.parametrize("stage", [distilled, answered])
def test_where_an_engine_is_and_how_fast_is_in_no_key(stage: Any) -> None:
    assert stage("generation.workers=3", "generation.batch_tokens=99").key == stage().key
    faster = ["generation.concurrency=2", "generation.timeout=9", "generation.retries=0", "generation.key_variable=K"]
    assert stage(*SERVED, *faster, "generation.base_url=https://elsewhere/v1").key == stage(*SERVED).key
    moved = ["generation.executable=/opt/bin/vllm", "generation.startup=9", "generation.health=/ready"]
    assert stage("generation=vllm", *faster, *moved).key == stage("generation=vllm").key


def test_an_engine_that_changes_keeps_the_others_texts() -> None:
    for name, overrides in (("hf", []), ("openai", SERVED), ("vllm", ["generation=vllm"])):
        engine = distilled(*overrides).params.engine
        assert (engine.name, engine.source) == (name, source_digest(MODULES[name]))
    assert len({source_digest(module) for module in MODULES.values()}) == 3


def test_log_likelihoods_are_measured_by_hf() -> None:
    (score,) = planned("method=seed", *KNOWLEDGE, "generation=vllm", "generation.workers=2").seed_scores.values()
    engine = score.inputs["answer"].params.engine
    assert (engine.name, engine.workers) == ("hf", 2)
    (own,) = planned("method=seed", *KNOWLEDGE).seed_scores.values()
    assert own.inputs["answer"].key == score.inputs["answer"].key


def test_a_servers_command_in_the_key_names_no_folder() -> None:
    engine = distilled("generation=vllm", "generation.executable=/opt/vllm/bin/vllm").params.engine
    assert isinstance(engine, Vllm)
    assert engine.command.executable == "/opt/vllm/bin/vllm"
    assert keyed(engine)["command"]["program"] == "vllm" and "/opt" not in str(keyed(engine))


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (["generation=openai", "eval=none"], "generation.base_url: is missing"),
        (
            SERVED,
            "generation=openai: the server holds the seed LM and cannot answer for the model that this run trains",
        ),
        ([*SERVED, "method=seed", *KNOWLEDGE], "generation=openai: mmlu compares log-likelihoods"),
        (
            [*SERVED, "eval=none", "generation.dialect=transformers"],
            "generation.prompts=ids: dialect transformers takes text",
        ),
        (
            [*SERVED, "eval=none", "generation.dialect=openai", "generation.sampling.temperature=1"],
            "generation.dialect=openai: has no top_k, and top_k=50",
        ),
        (["generation=vllm", "generation.arguments=[serve]"], r"generation.arguments: has no \{model\}"),
        (["generation=vllm", "generation.adapter_arguments=[--lora]"], r"adapter_arguments: has no \{adapter\}"),
        (["generation=vllm", "generation.dialect=sglang"], "generation.dialect=sglang: input should be"),
        (
            ["generation=vllm", "generation.batch_tokens=5"],
            "generation.batch_tokens: what is chosen for generation has",
        ),
        ([*SERVED, "eval=none", "generation.key_variable=sk-abc"], "generation.key_variable: wants the name of"),
        (["generation.base_url=http://x"], "generation.base_url: what is chosen for generation has no such key"),
    ],
)
def test_what_cannot_work_is_one_line(overrides: list[str], said: str) -> None:
    with pytest.raises(ConfigError, match=said) as caught:
        planned(*overrides)
    assert len(str(caught.value).splitlines()) == 1


def test_greedy_decoding_asks_for_no_top_k() -> None:
    assert answered(*SERVED, "generation.dialect=openai", "eval.sampling.top_k=50").params.engine.name == "openai"


def test_a_program_that_is_not_there_is_told_before_anything_starts(tmp_path: Path) -> None:
    assert obstacle(Hf()) == ""
    stage = distilled("generation=vllm", "generation.executable=/nowhere/vllm")
    assert stage.obstacle.startswith("generation.executable=/nowhere/vllm: there is no such program here")
    program = tmp_path / "vllm"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    assert distilled("generation=vllm", f"generation.executable={program}").obstacle == ""
    assert distilled(*SERVED).obstacle == ""
    assert "the environment has no NO_SUCH_KEY" in distilled(*SERVED, "generation.key_variable=NO_SUCH_KEY").obstacle
    assert distill.obstacle(distilled().params.engine) == ""
