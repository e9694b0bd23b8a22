"""Figures of how far models moved: which are drawn, of what, and the correlation that stands in one."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.figure import Figure

from analysis.bench_page import made_up
from analysis.report.source import Source, read_finished
from analysis.shift_figures import _AGAIN, _correlation, _groups, _panels, _shares, draw, main
from sdft_exp.compose import compose
from sdft_exp.results import PLAN


def stats_of_tokens(kl: float) -> dict[str, Any]:
    parts = [{"from": at / 20, "to": (at + 1) / 20, "kl_base_tuned": kl / (at + 1)} for at in range(20)]
    parts[3]["kl_base_tuned"] = None  # of responses so short that none has a token there
    return {"form": "exact", "positions": parts, "unshifted": 0.8, "marginal": 0.15, "shifted": 0.05}


@pytest.fixture
def moved(tmp_path: Path) -> Source:
    """A sweep of two jobs with a token shift, a similarity and an update each."""
    folder = made_up(tmp_path, ranks=1, seeds=1, questions=2)
    plan = json.loads((folder / PLAN).read_text())
    store = Path(plan["store"])
    histogram = {"edges": [0.0, 0.5, 1.0], "counts": [1, 3], "below": 1}
    layers = [{"layer": 0, "absolute": 2.0}, {"layer": 1, "absolute": 3.0}]
    for at, job in enumerate(plan["jobs"]):
        contents = {
            f"token_shift/{at}": ("stats.json", stats_of_tokens(1.0 + at)),
            f"similarity/{at}": ("stats.json", {"measures": {"embedding": {"histogram": histogram}}}),
            f"update/{at}": ("update.json", {"by_layer": layers}),
        }
        for address, (name, content) in contents.items():
            (store / address).mkdir(parents=True)
            (store / address / name).write_text(json.dumps(content))
        names = ("token_shift/advbench", "similarity/advbench", "update")
        job["report"]["shifts"] = dict(zip(names, contents, strict=True))
    (folder / PLAN).write_text(json.dumps(plan))
    return read_finished(folder)


def test_each_measure_has_its_figure_as_png_and_svg(moved: Source) -> None:
    paths = draw(moved)
    wanted = {"kl_by_position", "token_classes", "similarity", "update_by_layer"}
    assert {path.name for path in paths} == {f"shift_{name}.{kind}" for name in wanted for kind in ("png", "svg")}
    text = (moved.folder / "shift_kl_by_position.svg").read_text()
    assert "vanilla" in text and "SDFT" in text and "advbench" in text
    before = [path.read_bytes() for path in paths]
    assert before == [path.read_bytes() for path in draw(moved)]  # equal results are equal files


def test_a_histogram_is_of_all_answers_those_under_0_too(moved: Source) -> None:
    draw(moved)
    assert "20.0 % under 0" in (moved.folder / "shift_similarity.svg").read_text()
    shares, below = _shares([{"counts": [1, 2], "below": 1}, {"counts": [0, 4], "below": 0}])
    assert (shares.tolist(), below) == ([12.5, 75.0], 12.5)
    assert _shares([{"counts": [1, 3], "below": 0}])[1] == 0


def test_a_form_that_is_not_exact_is_told_and_may_be_negative(moved: Source) -> None:
    (path,) = moved.store.root.glob("token_shift/1/stats.json")
    path.write_text(json.dumps(stats_of_tokens(-1.0) | {"form": "aligntds"}))
    found = {
        panel.title: panel
        for title, rows in _groups(moved)
        for name, panel in _panels(moved, title, rows)
        if name == "kl_by_position"
    }
    exact, aligned = found.values()
    assert ["AlignTDS" in title for title in found] == [False, True]
    for panel, negative in ((exact, False), (aligned, True)):
        figure = Figure()
        axes = figure.subplots()
        panel.draw(axes)
        assert (axes.get_ylim()[0] < 0) == negative
        assert len(axes.get_lines()) == 1  # what is not to be compared is in no panel together


def test_rows_stand_by_their_size_and_what_is_left_out_is_told(moved: Source) -> None:
    first = moved.plan["jobs"][0]
    sizes = [None, *range(1300, 0, -100)]
    jobs = [
        first | {"report": first["report"] | {"row": first["report"]["row"] | {"dataset.max_samples": size}}}
        for size in sizes
    ]
    for job, size in zip(jobs, sizes, strict=True):
        job["report"] = job["report"] | {"train": f"train/{size}"}

    def titled(count: int) -> tuple[str, list[str]]:
        ((title, rows),) = _groups(dataclasses.replace(moved, plan=moved.plan | {"jobs": jobs[:count]}))
        return title, [row.name.rpartition("max_samples=")[2] for row in rows]

    title, names = titled(3)
    assert names == ["1200", "1300", "null"]
    assert titled(14) == (f"{title}\n12 of 14 rows", [str(size) for size in range(100, 1300, 100)])
    assert titled(12)[0] == title


def drawn_over_empty_answers(moved: Source, jobs: Sequence[int]) -> list[str]:
    """What `draw` shows in its figure of classes where the answers of some jobs are all empty."""
    for at in jobs:
        (path,) = moved.store.root.glob(f"token_shift/{at}/stats.json")
        empty = [{"from": part / 20, "to": (part + 1) / 20, "kl_base_tuned": None} for part in range(20)]
        nothing = dict.fromkeys(("unshifted", "marginal", "shifted"))
        path.write_text(json.dumps(stats_of_tokens(1.0) | nothing | {"positions": empty}))
    draw(moved)
    text = (moved.folder / "shift_token_classes.svg").read_text()
    return [name for name in ("vanilla", "SDFT") if f"<!-- {name} -->" in text]


def test_a_run_of_empty_answers_has_no_bar_and_takes_no_other_with_it(moved: Source) -> None:
    assert drawn_over_empty_answers(moved, [0]) == ["SDFT"]
    assert drawn_over_empty_answers(moved, [0, 1]) == []


def test_shift_stands_against_what_was_forgotten(moved: Source) -> None:
    for row, kl in zip(moved.summary["groups"][0]["rows"][1:], (0.5, 1.5), strict=True):
        row["measures"]["kl"] = {"mean": kl, "per_seed": [kl]}
    assert "shift_forgetting.png" in {path.name for path in draw(moved)}
    for row in moved.summary["groups"][0]["rows"][1:]:
        row["measures"]["kl"]["per_seed"] = [None]
    assert "shift_forgetting.png" not in {path.name for path in draw(moved)}  # no run has both


def test_the_correlation_is_of_ranks_over_all_runs() -> None:
    falling = {"a": (np.array([1.0, 2.0]), np.array([0.0, -1.0])), "b": (np.array([30.0]), np.array([-99.0]))}
    assert _correlation(falling) == "Spearman -1.00 over 3 runs"
    assert _correlation({"a": (np.array([1.0, 2.0]), np.zeros(2))}) == "no rank correlation: all 2 runs alike"


def test_a_run_that_measured_no_shift_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = made_up(tmp_path, ranks=1, seeds=1, questions=2)
    assert main([str(folder)]) != 0
    told = capsys.readouterr().err
    assert "no shift was measured" in told and _AGAIN in told


def test_what_is_advised_to_measure_a_shift_composes() -> None:
    real, _, miniature = _AGAIN.removesuffix(")").partition(" (on the miniature: ")
    assert compose([*real.split(), "model=llama2_7b_chat", "dataset=gsm8k"]).shift.tasks == ("advbench",)
    assert compose([miniature]).shift.tasks == ("micro_harmful",)
