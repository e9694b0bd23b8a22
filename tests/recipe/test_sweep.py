"""The sweep of the README: stages are shared, nothing is made twice, and the second time torch is not even imported."""

from __future__ import annotations

import json

import pytest

from tests.recipe.conftest import BY_TWO, SMALL, Bench

pytestmark = pytest.mark.recipe

TASKS = 8  # of eval=micro
SWEEP = ["-m", "method.mix_ratio=0,0.25,0.5,1", *BY_TWO]


def test_a_mix_ratio_sweep_shares_its_stages(bench: Bench, no_torch: dict[str, str]) -> None:
    told = bench.run(*SWEEP).stdout
    count = bench.count()
    assert count["dataset", "ran"] == 1
    assert count["distill", "ran"] == 1
    assert count["select", "ran"] == 1
    assert count["mix", "ran"] == 4
    assert count["train", "ran"] == 4
    assert count["answer", "ran"] == TASKS * (1 + 4)  # the seed LM once
    assert count["score", "ran"] == TASKS * (1 + 4)
    assert "seed LM" in told
    page = bench.result() / "report.html"
    assert "SDFT mix 0.25" in page.read_text(encoding="utf-8")
    page.unlink()
    first = bench.summary()

    bench.run(*SWEEP, env=no_torch)
    assert {status for _, status in bench.count()} == {"hit"}
    assert bench.summary() == first
    assert page.is_file()

    # All of one task is there already: a sweep over fewer tasks makes nothing but its own report.
    bench.run(*SWEEP, "eval.tasks=[micro_math]", "sweep.name=fewer")
    fewer = json.loads((bench.folder / "outputs" / "fewer" / "stages.json").read_text())
    assert [line["stage"] for line in fewer if line["status"] != "hit"] == ["report"]


def test_vanilla_is_ratio_zero(bench: Bench) -> None:
    bench.run("method.mix_ratio=0", *SMALL, "eval.tasks=[]")
    (at_zero,) = [line["key"] for line in bench.stages() if line["stage"] == "train"]
    assert bench.count()["distill", "ran"] == 0
    bench.run("method=vanilla", *SMALL, "eval.tasks=[]")
    keys = {
        line["key"]
        for path in bench.folder.glob("outputs/*/stages.json")
        for line in json.loads(path.read_text())
        if line["stage"] == "train"
    }
    assert keys == {at_zero}


def test_one_task_more_costs_one_task(bench: Bench) -> None:
    bench.run("method=vanilla", *SMALL, "eval.tasks=[micro_math]", "sweep.name=same")
    bench.run("method=vanilla", *SMALL, "eval.tasks=[micro_math,micro_text]", "sweep.name=same")
    made = {(name, status): number for (name, status), number in bench.count().items() if status != "hit"}
    assert made == {("answer", "ran"): 2, ("score", "ran"): 2, ("report", "ran"): 1}


def test_a_failed_job_is_told_and_the_others_go_on(bench: Bench) -> None:
    """A learning rate that no float32 holds fails one job: the other's row is in the table all the same."""
    arguments = ["-m", "tuning.learning_rate=0.001,1e38", "method=vanilla", *SMALL, "eval.tasks=[micro_text]"]
    ended = bench.run(*arguments, "+tuning.nothing=1", code=2)
    assert "tuning.nothing" in ended.stderr
    summary = bench.run(*arguments, code=1)
    assert "1e+38" in summary.stdout
    failed = json.loads(bench.summary())["failed"]
    assert [entry["label"] for entry in failed] == ["tuning.learning_rate=1e+38"]
    assert failed[0]["reason"].startswith("train: RuntimeError: value cannot be converted")
    assert json.loads(bench.summary())["groups"][0]["rows"][0]["name"] == "seed LM"
