"""How far tuned rows moved from their seed LM, as the summary, the terminal, report.md and the page tell it."""

from __future__ import annotations

import dataclasses
import io
import json
from collections.abc import Callable
from typing import Any

import pytest
from rich.console import Console

from sdft_exp.report import tidy
from sdft_exp.report.markdown import report
from sdft_exp.report.summary import summarise
from sdft_exp.report.terminal import print_table

KL = {"vanilla": [1.0, 3.0], "sdft": [0.25, 0.75]}
NORM = {"vanilla": [2.0, 4.0], "sdft": [1.0, 2.0]}  # by seed


def moved(task: str, values: dict[str, list[float]]) -> dict[str, Any]:
    items = [dict(zip(values, each, strict=True)) for each in zip(*values.values(), strict=True)]
    means = {name: sum(each) / len(each) for name, each in values.items()}
    return {
        "task": task,
        "protocol": "exact",
        "version": "1",
        "n": len(items),
        "metrics": means,
        "items": [{"id": at, **item} for at, item in enumerate(items)],
    }


@pytest.fixture
def summary(make_sweep: Callable[..., Any]) -> dict[str, Any]:
    sweep = make_sweep(seeds=2)
    for at, job in enumerate(sweep.jobs):
        method = job.row["method"]
        tokens, update = f"token_shift/{at}", f"update/{at}"
        share = 0.25 if method == "sdft" else 0.5
        sweep.scores[tokens] = moved("advbench", {"kl_base_tuned": KL[method], "shifted": [share, share]})
        sweep.scores[update] = moved("update", {"update_norm": [NORM[method][job.seed]]})
        sweep.jobs[at] = dataclasses.replace(job, shifts={"token_shift/advbench": tokens, "update": update})
    return summarise(sweep.report(), sweep.scores, sweep.stats)


def test_only_tuned_rows_moved_and_their_difference_is_paired(summary: dict[str, Any]) -> None:
    seed, vanilla, sdft = summary["groups"][0]["rows"]
    assert not {"kl", "update_norm"} & set(seed["measures"])
    assert vanilla["measures"]["kl"]["mean"] == 2.0 and sdft["measures"]["kl"]["mean"] == 0.5
    assert vanilla["measures"]["update_norm"]["per_seed"] == [2.0, 4.0]
    low, high = (vanilla["measures"]["update_norm"][end] for end in ("low", "high"))
    assert (low, high) == (2.0, 4.0)  # two seeds and one item: a resample is one of them twice, or both
    assert sdft["against_vanilla"]["change"]["kl"]["mean"] == -1.5
    assert sdft["against_vanilla"]["change"]["shifted"] == {
        **dict.fromkeys(("mean", "low", "high"), -0.25),
        "significant": True,
    }
    assert "kl" not in sdft["change"]  # the seed LM has not moved from itself
    assert vanilla["tasks"]["token_shift/advbench"]["kl_base_tuned"]["mean"] == 2.0


def test_it_is_told_in_its_own_unit(summary: dict[str, Any]) -> None:
    console = Console(file=io.StringIO(), width=80)
    print_table(summary, console)
    said = console.file.getvalue()  # type: ignore[attr-defined]
    assert "how far it moved" in said and "2.000" in said and "50.0" in said
    assert max(map(len, said.splitlines())) <= 80
    text = report(summary)
    section = text.partition("### How far the model moved")[2].partition("###")[0]
    assert "| SDFT | 1.500 [1.000, 2.000] | 0.500 [" in section and "| 25.0 [25.0, 25.0] |" in section
    assert "seed LM |" not in section


WORDS = "shifted_in_data"


def with_words(sweep: Any, values: dict[tuple[str, int], list[float | None]]) -> dict[str, Any]:
    """The summary where the answers of a method's training seed have these shares of words; None: no such word."""
    for at, job in enumerate(sweep.jobs):
        given = values[job.row["method"], job.seed]
        told = [value for value in given if value is not None]
        address = f"causes/{at}"
        sweep.scores[address] = {
            **moved("advbench", {"n": [0.0] * len(given)}),
            "metrics": {WORDS: sum(told) / len(told)} if told else {},
            "items": [{"id": n} | ({} if value is None else {WORDS: value}) for n, value in enumerate(given)],
        }
        sweep.jobs[at] = dataclasses.replace(job, shifts={"causes/advbench": address})
    return summarise(sweep.report(), sweep.scores, sweep.stats)


@pytest.mark.parametrize("lacking", [0, 1])
def test_a_seed_without_one_value_is_left_out_of_the_mean_and_said(
    make_sweep: Callable[..., Any], lacking: int
) -> None:
    some, none = [0.5, 0.75, 1.0, 0.75, 1.0, 0.5], [None] * 6
    values = {("vanilla", seed): some for seed in (0, 1)} | {("sdft", 1 - lacking): some, ("sdft", lacking): none}
    found = with_words(make_sweep(seeds=2), values)
    _, vanilla, sdft = found["groups"][0]["rows"]
    cell = sdft["measures"][WORDS]
    assert cell["per_seed"] == [None if seed == lacking else 0.75 for seed in (0, 1)]
    assert (cell["mean"], cell["std"]) == (0.75, None) and 0.5 <= cell["low"] < cell["high"] <= 1
    assert sdft["tasks"]["causes/advbench"][WORDS] == cell
    assert sdft["against_vanilla"]["change"][WORDS] == {
        **dict.fromkeys(("mean", "low", "high"), 0.0),
        "significant": False,
    }
    assert vanilla["measures"][WORDS]["per_seed"] == [0.75, 0.75]
    said = f"causes/advbench: SDFT with seed {lacking} has no value of {WORDS}; the means are over the other seeds"
    assert [warning for warning in found["warnings"] if WORDS in warning] == [said]
    json.dumps(found, allow_nan=False)
    line = next(line for line in tidy.table(found).splitlines() if ",SDFT," in line and f",{WORDS}," in line)
    assert ("- 0.75" if lacking == 0 else "0.75 -") in line
    assert "75.0" in report(found)


def test_a_difference_is_over_the_items_of_its_two_rows_and_never_over_a_few(make_sweep: Callable[..., Any]) -> None:
    # Three rows of eight answers: mix 0.5 has one word alone, the other two share six answers with words.
    sweep = make_sweep(seeds=1, ratios=(0.0, 0.5, 1.0))
    shares = {0.0: [0.5] * 6 + [None, 1.0], 0.5: [1.0] + [None] * 7, 1.0: [1.0, 0.0, 0.5, 0.5, 1.0, 0.0, 1.0, None]}
    for job in sweep.jobs:
        job.row["method"] = f"sdft {job.row['method.mix_ratio']:g}"
    found = with_words(sweep, {(f"sdft {ratio:g}", 0): values for ratio, values in shares.items()})
    vanilla, half, whole = found["groups"][0]["rows"][1:]
    assert [row["measures"][WORDS]["mean"] for row in (vanilla, half, whole)] == [0.571429, 1.0, 0.571429]
    difference = whole["against_vanilla"]["change"][WORDS]
    assert difference["mean"] == 0.0 and difference["low"] < -0.1 < 0.1 < difference["high"]
    assert WORDS not in half["against_vanilla"]["change"]
    (said,) = [warning for warning in found["warnings"] if "fewer than 5 questions" in warning]
    assert said.startswith("shifted words in the data: ") and half["name"] in said and vanilla["name"] in said


def test_shift_alone_is_told_with_its_form_and_not_called_nothing(empty: Any) -> None:
    tokens = "token_shift/0"
    empty.scores[tokens] = moved("advbench", {"kl_base_tuned": [1.0, 3.0]}) | {"version": "1 (AlignTDS's form)"}
    empty.add("vanilla", 0.0, 0, {}, {})
    empty.jobs[0] = dataclasses.replace(empty.jobs[0], shifts={"token_shift/advbench": tokens})
    found = summarise(empty.report(), empty.scores, empty.stats)
    assert found["groups"][0]["protocols"] == ["exact 1 (AlignTDS's form)"]
    console = Console(file=io.StringIO(), width=80)
    print_table(found, console)
    for text in (report(found), console.file.getvalue()):  # type: ignore[attr-defined]
        assert "exact 1 (AlignTDS's form)" in text and "2.000" in text
        assert "othing was measured" not in text
