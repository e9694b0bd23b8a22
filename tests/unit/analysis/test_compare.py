"""Two runs side by side: what differs, by which paired test, and on which questions."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import binomtest

from analysis.bench_page import TASKS, made_up
from analysis.compare import compare, differences, main, paired_p, read_run
from sdft_exp.errors import DataError

VANILLA, SDFT = "method=vanilla tuning.rank=1 seed=0", "method=sdft tuning.rank=1 seed=0"


@pytest.fixture
def sweep(tmp_path: Path) -> Path:
    return made_up(tmp_path)


@pytest.mark.parametrize(("won", "lost"), [(0, 0), (1, 0), (5, 1), (2, 9), (6, 6), (0, 12)])
def test_on_zeros_and_ones_it_is_mc_nemars_exact_test(won: int, lost: int) -> None:
    changes = np.array([1.0] * won + [-1.0] * lost + [0.0] * 40)
    expected = binomtest(won, won + lost, 0.5).pvalue if won + lost else 1.0
    assert paired_p(changes) == pytest.approx(expected)


def test_of_many_changes_permutations_are_drawn_the_same_each_time() -> None:
    changes = np.array([1.0] * 40 + [-1.0] * 15)
    assert paired_p(changes) == paired_p(changes) == pytest.approx(binomtest(40, 55, 0.5).pvalue, abs=2e-3)


def test_configs_scores_and_questions_of_two_jobs(sweep: Path) -> None:
    a, b = read_run(f"{sweep}:{VANILLA}"), read_run(f"{sweep}:{SDFT}")
    told = compare(a, b, 2)
    assert told["config"] == {"method.name": ["vanilla", "sdft"]}
    assert [(one["task"], one["n"]) for one in told["differences"]] == [(task, 20) for task in TASKS]
    for one in told["differences"]:
        values = [{item["id"]: item[one["metric"]] for item in run.scored(one["task"])["items"]} for run in (a, b)]
        changes = {key: values[1][key] - values[0][key] for key in values[0]}
        assert one["b"] - one["a"] == pytest.approx(sum(changes.values()) / 20)
        assert set(one["better"]) == {key for key, change in changes.items() if change > 0}
        assert set(one["worse"]) == {key for key, change in changes.items() if change < 0}
        assert one["low"] <= one["b"] - one["a"] <= one["high"]
    for sample in told["changed"]:
        assert sample["answers"][0].startswith("vanilla 1 0 says") and sample["answers"][1].startswith("sdft 1 0 says")
        assert sample["id"].startswith(sample["task"])
    assert {sample["change"] for sample in told["changed"]} == {"lost", "won"}


def test_the_seed_lm_and_a_run_with_itself(sweep: Path) -> None:
    seed = read_run(f"{sweep}:seed")
    assert seed.scores == seed.source.jobs[0].seed_scores
    same, notes = differences(seed, seed)
    assert notes == [] and {(one.low, one.high, one.p, one.better, one.worse) for one in same} == {(0, 0, 1.0, (), ())}


def test_what_other_rules_scored_is_not_compared(sweep: Path) -> None:
    a, b = read_run(f"{sweep}:{VANILLA}"), read_run(f"{sweep}:{SDFT}")
    path = b.source.store.path(b.scores[TASKS[0]]) / "scores.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"version": "2"}))
    found, notes = differences(a, b)
    assert [one.task for one in found] == [*TASKS[1:]]
    assert notes == [f"{TASKS[0]}: scored by different rules, micro 1 and micro 2"]
    path.unlink()
    with pytest.raises(DataError, match=f"the scores of {TASKS[0]} are no longer in the store; run its command again"):
        differences(a, b)


def test_the_command(sweep: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    names = [f"{sweep}:{VANILLA}", f"{sweep}:{SDFT}"]
    assert main([*names, "--samples", "1"]) == 0
    shown = capsys.readouterr().out
    assert "method.name" in shown and "micro_harmful" in shown and "asked: Question" in shown
    assert main([*names, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["differences"][0]["task"] == TASKS[0]


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("{sweep}", 'is a sweep; name one of its jobs: "'),
        ("{sweep}:seed=9", "has no job 'seed=9'; take one of "),
        ("nowhere", "no such folder"),
    ],
)
def test_a_mistake_is_one_line(name: str, said: str, sweep: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([name.format(sweep=sweep), f"{sweep}:seed"]) == 2
    told = capsys.readouterr().err
    assert said in told and told.count("\n") == 1
