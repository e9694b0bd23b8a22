"""The W&B workspace of a sweep, as code: `python -m analysis.wandb_dashboard outputs/NAME`.

Panels: target task against what was kept, curves over the mix ratio, safe rates, training, and the sample tables. With
a key it is pushed to W&B; without one, or with no network, it is written as a file and the command says how to push it.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from sdft_exp.config import TrackerConfig
from sdft_exp.errors import UserError
from sdft_exp.report.measures import MEASURES
from sdft_exp.tracking.mode import choose_mode

try:
    import wandb_workspaces.reports.v2 as wr
    import wandb_workspaces.workspaces as ws
except ModuleNotFoundError:
    sys.exit("error: wandb-workspaces is missing; pip install -c constraints.txt -e '.[dashboard]'")

FILE = "wandb_dashboard.json"
_TITLES = {measure.name: measure.title for measure in MEASURES}
_MOVED = {measure.name for measure in MEASURES if measure.section == "shift"}
_KEPT = ("other", "raw_safe", "jailbreak_safe")
_RATES = ("raw_safe", "jailbreak_safe", "over_refusal", "win_rate")
_CURVES = ("loss", "learning_rate", "grad_norm", "tokens_per_second", "gpu_memory_gb")
_METHOD, _RATIO = wr.Config("method.name"), wr.Config("method.mix_ratio")


def workspace(folder: Path) -> ws.Workspace:
    """The workspace of the sweep whose results lie in `folder`. Asks no network.

    Its entity is "" where the sweep's config leaves that to the account.

    Raises:
        UserError: the folder holds no results.
    """
    summary, tracker = _results(folder)
    groups = summary["groups"]
    rows = [row for group in groups for row in group["rows"]]
    measured = {name for row in rows for name in row["measures"]}
    measures = [name for name in _TITLES if name in measured]
    ratios = {row["row"].get("method.mix_ratio") for row in rows if row["kind"] == "tuned"}
    sections: dict[str, list[Any]] = {
        "Target against retention": [_frontier(kept) for kept in _KEPT if {"target", kept} <= measured],
        "Mix ratio": [_over_ratio(name) for name in measures if len(ratios) > 1],
        "Safe rates": [_bars("measure", name) for name in measures if name in _RATES],
        "Change against the seed LM": [_bars("change", name) for name in measures if name not in _MOVED],
        "How far it moved": [_bars("measure", name) for name in measures if name in _MOVED],
        "Training": [wr.LinePlot(title=name, x="train/step", y=[f"train/{name}"]) for name in _CURVES],
        "Samples": [_table(task) for task in sorted({task for group in groups for task in group["tasks"]})],
    }
    return ws.Workspace(
        entity=tracker["entity"] or "",
        project=tracker["project"],
        name=re.sub(r"[^\w .,-]", " ", summary["title"]),  # W&B takes no sign of arithmetic in it
        sections=[
            ws.Section(name=name, panels=_laid_out(panels), is_open=True) for name, panels in sections.items() if panels
        ],
        runset_settings=ws.RunsetSettings(filters=_jobs_of(summary["title"])),
    )


def _jobs_of(group: str) -> str:
    """The filter for a group's jobs. Escaped, since wandb-workspaces doubles an `=` within a text."""
    escaped = "".join(char if char.isalnum() else f"\\U{ord(char):08x}" for char in group)
    return f"Metric('Group') == '{escaped}' and Metric('JobType') != 'report'"


def _frontier(kept: str) -> wr.ScatterPlot:
    return wr.ScatterPlot(
        title=f"target task against {_TITLES[kept]}", x=_measure(kept), y=_measure("target"), z=_RATIO, font_size="auto"
    )


def _over_ratio(name: str) -> wr.ScatterPlot:
    return wr.ScatterPlot(title=f"{_TITLES[name]} over the mix ratio", x=_RATIO, y=_measure(name), running_ymean=True)


def _bars(prefix: str, name: str) -> wr.BarPlot:
    return wr.BarPlot(
        title=_TITLES[name], metrics=[wr.SummaryMetric(f"{prefix}/{name}")], groupby=_METHOD, groupby_aggfunc="mean"
    )


def _table(task: str) -> wr.WeavePanelSummaryTable:
    return wr.WeavePanelSummaryTable(table_name=f"samples/{task}")


def _measure(name: str) -> wr.SummaryMetric:
    return wr.SummaryMetric(f"measure/{name}")


def _laid_out(panels: list[Any]) -> list[Any]:
    """Three in a row."""
    for place, panel in enumerate(panels):
        panel.layout = wr.Layout(x=place % 3 * 8, y=place // 3 * 6, w=8, h=6)
    return panels


def _results(folder: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """The sweep's summary and its tracker settings."""
    configs = sorted([*folder.glob("config.yaml"), *folder.glob("jobs/*/config.yaml")])
    try:
        summary = json.loads((folder / "summary.json").read_text(encoding="utf-8"))
        tracker = yaml.safe_load(configs[0].read_text(encoding="utf-8"))["tracker"]
    except (OSError, IndexError):
        raise UserError(f"{folder}: holds no results of a run or a sweep; name a folder of outputs/") from None
    return summary, TrackerConfig(**tracker).model_dump()


def main(arguments: Sequence[str] | None = None) -> int:
    """Push the workspace, or write it as a file; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m analysis.wandb_dashboard", description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="results of a run or a sweep: outputs/NAME")
    folder = parser.parse_args(arguments).folder
    try:
        made = workspace(folder)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    mode, remark = choose_mode("auto")
    if mode == "online":
        import wandb

        made.entity = made.entity or wandb.Api().default_entity or ""
        made.save()
        return 0
    file = folder / FILE
    spec = made._to_model().model_dump(mode="json", by_alias=True, exclude_none=True)
    file.write_text(json.dumps(spec, indent=1) + "\n", encoding="utf-8")
    told = f"python -m analysis.wandb_dashboard {folder}"
    print(f"written: {file} ({remark or 'no key'}); to push it, with WANDB_API_KEY set and a network: {told}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
