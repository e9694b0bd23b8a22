"""What moves the key of the answers, and what must not."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from sdft_exp.config import EvalConfig, HfGeneration, RunConfig, Sampling
from sdft_exp.errors import ConfigError
from sdft_exp.models.identity import ModelRef
from sdft_exp.stage import Cost, Stage, source_modules
from sdft_exp.stages import answer, score
from sdft_exp.tasks import registry

GREEDY = Sampling(temperature=0.0, top_p=1.0, top_k=0, max_new_tokens=64, seed=0)


@pytest.fixture(autouse=True)
def _model(monkeypatch: pytest.MonkeyPatch) -> None:
    def reference(model: Any, launch: Any) -> ModelRef:
        return ModelRef(
            path="/somewhere",
            digest=str(model),
            prompt_format="alpaca",
            dtype="float32",
            revision=None,
            trust_remote_code=False,
            device="cpu",
            threads=1,
        )

    def cost(config: Any, template: Any, samples: int | None, *others: Any, **more: Any) -> Cost:
        return Cost(samples)

    monkeypatch.setattr(answer, "model_ref", reference)
    monkeypatch.setattr(answer, "answering", cost)


def config(sampling: Sampling = GREEDY, batch_tokens: int = 512, model: str = "a", **changes: Any) -> RunConfig:
    measured = {"name": "micro", "tasks": ("micro_math",), "protocol": "micro", "split": "eval", "limit": 100}
    return RunConfig.model_construct(
        model=model,
        launch=None,
        generation=HfGeneration(name="hf", sampling=GREEDY, batch_tokens=batch_tokens, workers=None),
        eval=EvalConfig.model_construct(data=None, **{**measured, "sampling": sampling, **changes}),
    )


def key(*args: Any, **kwargs: Any) -> str:
    return answer.stage(config(*args, **kwargs), "micro_math", None).key


def test_the_key_moves_with_what_the_answers_depend_on() -> None:
    sampled = GREEDY.model_copy(update={"temperature": 1.0})
    keys = [
        key(),
        key(model="b"),
        key(limit=None),
        key(split="dev"),
        key(GREEDY.model_copy(update={"max_new_tokens": 32})),
        key(sampled),
        key(sampled.model_copy(update={"seed": 1})),
        answer.stage(config(), "micro_text", None).key,
        answer.stage(config(), "micro_math", Stage("train", {"seed": 0})).key,
        answer.stage(config(), "micro_math", Stage("train", {"seed": 1})).key,
    ]
    assert len(set(keys)) == len(keys)


def test_speed_and_what_greedy_decoding_ignores_leave_the_key_alone() -> None:
    assert key(batch_tokens=9999) == key()
    assert key(GREEDY.model_copy(update={"seed": 5, "top_p": 0.5, "top_k": 3})) == key()
    assert key(name="other", tasks=("micro_math", "micro_text")) == key()


def test_a_task_that_asks_for_greedy_decoding_ignores_how_the_others_sample(monkeypatch: pytest.MonkeyPatch) -> None:
    known = registry.task("micro", "micro_math")
    monkeypatch.setattr(registry, "task", lambda protocol, name: registry.Task(**{**vars(known), "greedy": True}))
    assert key(Sampling(temperature=0.7, top_p=0.5, top_k=3, max_new_tokens=64, seed=5)) == key(GREEDY)


def test_a_task_with_a_length_of_its_own_keys_by_it_and_hands_it_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from sdft_exp.evaluation import answering

    seen: list[tuple[Any, ...]] = []
    monkeypatch.setattr(answering, "write_answers", lambda *given: seen.append(given))
    known = registry.task("micro", "micro_math")
    before = key()
    for length in (100, 200):
        bounded = registry.Task(**{**vars(known), "max_length": length})
        monkeypatch.setattr(registry, "task", lambda protocol, name, bounded=bounded: bounded)
        stage = answer.stage(config(), "micro_math", None)
        assert stage.key != before
        assert stage.key == key(GREEDY.model_copy(update={"max_new_tokens": 7}))
        assert dict(stage.params.decoding) == GREEDY.model_dump() | {"max_new_tokens": length, "max_length": length}
        answer.run(stage.params, {}, tmp_path, print)
        assert seen.pop()[3] == GREEDY.model_copy(update={"max_new_tokens": length})
        before = stage.key


def test_the_answers_of_the_seed_take_no_training() -> None:
    assert answer.stage(config(), "micro_math", None).inputs == {}
    train = Stage("train", {"seed": 0})
    assert answer.stage(config(), "micro_math", train).inputs == {"train": train}


def test_a_scorer_changes_the_score_and_keeps_the_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    before = answer.stage(config(), "micro_math", None)
    scored = score.stage(config(), "micro_math", before)
    known = registry.task("micro", "micro_math")
    changed = registry.Task(**{**vars(known), "rules": "another scorer", "version": "2"})
    monkeypatch.setattr(registry, "task", lambda protocol, name: changed)
    after = answer.stage(config(), "micro_math", None)
    assert after.key == before.key
    assert score.stage(config(), "micro_math", after).key != scored.key


def test_the_adapter_is_that_of_the_training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from sdft_exp.evaluation import answering

    seen: list[tuple[Any, ...]] = []
    monkeypatch.setattr(answering, "write_answers", lambda *given: seen.append(given))
    params = answer.stage(config(), "micro_math", None).params
    answer.run(params, {}, tmp_path, print)
    answer.run(params, {"train": tmp_path / "train"}, tmp_path, print)
    assert [(given[0].name, given[2], given[3]) for given in seen] == [
        ("micro_math", None, GREEDY),
        ("micro_math", tmp_path / "train" / "adapter", GREEDY),
    ]


def test_a_fully_trained_model_is_asked_as_the_seed_lm_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from sdft_exp.evaluation import answering

    seen: list[Any] = []
    monkeypatch.setattr(answering, "write_answers", lambda *given: seen.append(given))
    params = answer.stage(config(), "micro_math", None).params
    model = tmp_path / "train" / "model"
    model.mkdir(parents=True)
    for size in (1, 2):  # made again in the same place
        (model / "model.safetensors").write_bytes(b"w" * size)
        answer.run(params, {"train": tmp_path / "train"}, tmp_path, print)
    refs = [given[1] for given in seen]
    assert [given[2] for given in seen] == [None, None]
    assert {(ref.path, ref.revision) for ref in refs} == {(str(model), None)}
    asked = (params.model.prompt_format, params.model.dtype, params.model.device)
    assert {(ref.prompt_format, ref.dtype, ref.device) for ref in refs} == {asked}
    assert len({ref.digest for ref in refs} | {params.model.digest}) == 3


def test_the_source_that_keys_the_answers_holds_no_scorer() -> None:
    asking = {*source_modules("sdft_exp.stages.answer"), *source_modules("sdft_exp.tasks.micro.docs")}
    scorers = {"sdft_exp.tasks.micro.scores", "sdft_exp.tasks.safety", "sdft_exp.evaluation.scoring"}
    assert {"sdft_exp.evaluation.answering", "sdft_exp.generation", "sdft_exp.microworld.splits"} <= asking
    assert not asking & (scorers | {"sdft_exp.microworld.verdicts", "sdft_exp.stages.score"})
    judging = {*source_modules("sdft_exp.stages.score"), *source_modules("sdft_exp.tasks.micro.scores")}
    assert scorers | {"sdft_exp.microworld.verdicts"} <= judging


def test_an_unknown_task_is_one_line() -> None:
    with pytest.raises(ConfigError, match="did you mean micro_math"):
        answer.stage(config(), "micro_mth", None)


def test_building_the_stages_imports_no_torch() -> None:
    script = (
        "import sys; from sdft_exp.stages import answer, score; "
        "print([m for m in ('torch', 'lm_eval', 'datasets', 'transformers') if m in sys.modules])"
    )
    assert subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout == "[]\n"


def test_the_plan_knows_how_many_questions_are_asked() -> None:
    for limit, asked in ((100, 100), (1000, 150), (None, 150)):
        assert answer.stage(config(limit=limit), "micro_math", None).cost.samples == asked
