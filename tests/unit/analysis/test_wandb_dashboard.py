"""The dashboard: valid by wandb-workspaces' own classes, with the paper's panels, and with no network."""

from __future__ import annotations

import json
import os
import socket
from pathlib import Path
from typing import Any

import pytest
import yaml
from wandb_workspaces.workspaces import Workspace
from wandb_workspaces.workspaces.internal import View

from analysis.wandb_dashboard import FILE, main
from sdft_exp.compose import compose

SWEEP = "method.mix_ratio=0,0.5,1"


@pytest.fixture(autouse=True)
def without_a_key_or_a_network(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in [name for name in os.environ if name.startswith("WANDB_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("NETRC", str(tmp_path / "none"))
    monkeypatch.setattr(socket.socket, "connect", lambda *_: pytest.fail("asked the network"))


def row(kind: str, ratio: float, measures: list[str]) -> dict[str, Any]:
    own = {"kind": kind, "measures": {name: {"mean": 0.5} for name in measures}}
    return own | ({"row": {"method.mix_ratio": ratio}} if kind == "tuned" else {})


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / SWEEP
    (folder / "jobs" / "a").mkdir(parents=True)
    measures = ["target", "other", "raw_safe", "jailbreak_safe", "similarity"]
    rows = [row("seed", 0, measures), *(row("tuned", ratio, measures) for ratio in (0, 0.5, 1))]
    groups = [{"tasks": {"micro_chat": 4, "micro_math": 4}, "rows": rows}]
    (folder / "summary.json").write_text(json.dumps({"title": SWEEP, "groups": groups}))
    config = compose(["tracker.project=mine", "tracker.entity=us"]).model_dump(mode="json")
    (folder / "jobs" / "a" / "config.yaml").write_text(yaml.safe_dump(config))
    return folder


def test_what_is_written_is_a_workspace_of_w_and_b(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(folder)]) == 0
    assert f"to push it, with WANDB_API_KEY set and a network: python -m analysis.wandb_dashboard {folder}" in (
        capsys.readouterr().out
    )
    view = View.model_validate_json((folder / FILE).read_text())
    assert (view.entity, view.project) == ("us", "mine")
    workspace = Workspace._from_model(view)
    titles = {
        section.name: [getattr(panel, "title", None) for panel in section.panels] for section in workspace.sections
    }
    assert titles["Target against retention"] == [
        "target task against other tasks",
        "target task against raw safe rate",
        "target task against jailbreak safe rate",
    ]
    assert "target task over the mix ratio" in titles["Mix ratio"]
    assert titles["Safe rates"] == ["raw safe rate", "jailbreak safe rate"]
    assert titles["How far it moved"] == ["embedding similarity"]
    assert "embedding similarity over the mix ratio" in titles["Mix ratio"]
    assert "embedding similarity" not in titles["Change against the seed LM"]
    assert titles["Training"][:2] == ["loss", "learning_rate"]
    assert len(titles["Samples"]) == 2


def test_it_shows_the_jobs_of_this_sweep_alone(folder: Path) -> None:
    main([str(folder)])
    (runs,) = View.model_validate_json((folder / FILE).read_text()).spec.section.run_sets
    shown = [
        (one["key"]["name"], one["op"], one["value"]) for one in runs.model_dump(mode="json")["filters"]["filters"]
    ]
    assert shown == [("group", "=", SWEEP), ("jobType", "!=", "report")]


def test_panels_ask_for_names_that_are_logged(folder: Path) -> None:
    main([str(folder)])
    text = (folder / FILE).read_text()
    for name in ("summary:measure/target", "summary:measure/other", "config:method.value.mix_ratio", "train/loss"):
        assert f'"{name}"' in text


def test_without_several_ratios_there_are_no_curves_over_them(folder: Path) -> None:
    summary = json.loads((folder / "summary.json").read_text())
    summary["groups"][0]["rows"] = summary["groups"][0]["rows"][:2]
    (folder / "summary.json").write_text(json.dumps(summary))
    main([str(folder)])
    assert "over the mix ratio" not in (folder / FILE).read_text()


def test_a_folder_without_results_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(tmp_path)]) != 0
    assert capsys.readouterr().err.startswith(f"error: {tmp_path}: holds no results")
