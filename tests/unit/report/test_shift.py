"""How far tuned rows moved from their seed LM, as the summary, the terminal, report.md and the page tell it."""

from __future__ import annotations

import dataclasses
import io
from collections.abc import Callable
from typing import Any

import pytest
from rich.console import Console

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
