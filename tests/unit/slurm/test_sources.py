"""A job knows when code has changed that its stages' keys stand for, loaded by import or by name."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from sdft_exp import stage as stage_module
from sdft_exp.compose import compose
from sdft_exp.experiment import experiment
from sdft_exp.slurm.sources import changed, keyed_modules
from sdft_exp.stage import Stage, keyed
from sdft_exp.tasks import registry

MICRO = ["dataset.size=20", "eval.tasks=[micro_math]"]
JUDGED = ["dataset.size=20", "eval=strict", "eval.tasks=[advbench]", "eval.judge.model=judge"]
VLLM = [*MICRO, "generation=vllm"]
ZERO = [*MICRO, "tuning=full", "tuning.deepspeed=zero2", "launch.gpus=2"]


def stages(overrides: list[str]) -> dict[str, Stage]:
    """The stages of a run by name, with their keys made."""
    found: dict[str, Stage] = {}

    def gather(stage: Stage) -> None:
        found.setdefault(stage.name, stage)
        for source in stage.inputs.values():
            gather(source)

    for stage in experiment(compose(overrides)).results:
        gather(stage)
    assert all(stage.key for stage in found.values())
    return found


@pytest.fixture
def edit(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    read = stage_module._source

    def edit(edited: str) -> None:
        def source(module: str) -> tuple[str, tuple[str, ...]]:
            code, imports = read(module)
            return (code + " edited" if module == edited else code), imports

        monkeypatch.setattr(stage_module, "_source", source)
        registry.task.cache_clear()

    yield edit
    registry.task.cache_clear()


@pytest.mark.parametrize(
    ("overrides", "edited", "names", "told"),
    [
        (MICRO, "sdft_exp.report.markdown", [], ""),
        (MICRO, "sdft_exp.generation.vllm", [], ""),
        (MICRO, "sdft_exp.generation.hf", ["distill", "answer"], "sdft_exp.generation.batched"),
        (VLLM, "sdft_exp.generation.vllm", ["distill", "answer"], "sdft_exp.generation.vllm"),
        (ZERO, "sdft_exp.training.rank", ["train"], "sdft_exp.training.rank"),
        (JUDGED, "sdft_exp.judging.refusal", ["judge"], "sdft_exp.judging.refusal"),
        (MICRO, "sdft_exp.tasks.micro.scores", ["score"], "the task micro_math"),
        (MICRO, "sdft_exp.stages.mix", ["mix"], "sdft_exp.stages.mix"),
    ],
)
def test_what_an_edit_changes(overrides: list[str], edited: str, names: list[str], told: str, edit: Any) -> None:
    submitted = stages(overrides)
    edit(edited)
    differing = {name: found for name, stage in submitted.items() if (found := changed(stage))}
    assert differing == {name: [told] for name in names}


@pytest.mark.parametrize("overrides", [MICRO, VLLM, ZERO, JUDGED])
def test_every_digest_of_code_in_a_key_is_compared(overrides: list[str]) -> None:
    for stage in stages(overrides).values():
        assert set(sources_in(keyed(stage.params))) <= {digest for _, digest in keyed_modules(stage)}


def sources_in(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        for name, part in value.items():
            if name == "source" and isinstance(part, str):
                yield part
            yield from sources_in(part)


def test_a_module_that_is_gone_has_changed(monkeypatch: pytest.MonkeyPatch) -> None:
    mix = stages(MICRO)["mix"]
    monkeypatch.setattr(stage_module, "_module_path", lambda name: None)
    stage_module._source.cache_clear()
    assert changed(mix) == ["sdft_exp.stages.mix"]
