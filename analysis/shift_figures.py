"""Figures of how far tuned models moved, PNG and SVG: `python -m analysis.shift_figures RUN`. A run leaves them too.

KL by position, classes of tokens, histograms of similarity, the update by layer, and shift against what was forgotten.
Rows that differ by their training seed alone are drawn as one, at their mean.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from analysis.panels import Panel, line, write
from analysis.report.source import Source, find, read_finished
from sdft_exp.errors import DataError, UserError
from sdft_exp.report.grouping import group_jobs
from sdft_exp.report.reading import heading
from sdft_exp.results import SHIFT_FIGURES

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Json = Mapping[str, Any]

_CLASSES = (("unshifted", "#56B4E9", ""), ("marginal", "#E69F00", "//"), ("shifted", "#D55E00", "xx"))
_LOST = (("other", "other tasks"), ("raw_safe", "raw safe rate"), ("jailbreak_safe", "jailbreak safe rate"))
_MOVED = (("kl", "KL (nats)"), ("update_norm", "update norm"), ("similarity", "embedding similarity"))
# Of the token shift, told where it is not the exact one.
_FORMS = {"aligntds": "AlignTDS's form: over the likeliest 30"}
_AGAIN = "eval=paper shift=paper (on the miniature: shift=micro)"
_MOST = 12  # lines of one panel
_SAMPLES = "dataset.max_samples"


@dataclass(frozen=True)
class Row:
    """A tuned row: `parts` by name (`token_shift/advbench`, `update`) the artifacts of its seeds."""

    name: str
    parts: Mapping[str, Sequence[str]]


def draw(source: Source) -> list[Path]:
    """Write `shift_NAME.png` and `.svg` beside the results for each figure that something was measured for."""
    panels: dict[str, list[Panel]] = {}
    for title, rows in _groups(source):
        for name, found in _panels(source, title, rows):
            panels.setdefault(name, []).append(found)
    for group in source.summary["groups"]:
        for panel in _forgetting(group):
            panels.setdefault("forgetting", []).append(panel)
    return [path for name, found in panels.items() for path in write(source.folder, f"{SHIFT_FIGURES}{name}", found)]


def _groups(source: Source) -> Iterator[tuple[str, list[Row]]]:
    """Rows under one seed LM, as in the table, of the jobs that measured shift; by max_samples where that varies."""
    for group in group_jobs([job for job in source.jobs if job.shifts]):
        rows = []
        for row in sorted(group.rows, key=lambda row: row.values.get(_SAMPLES) or math.inf):  # null: all of them
            names = dict.fromkeys(name for job in row.jobs for name in job.shifts)
            parts = {name: [job.shifts[name] for job in row.jobs if name in job.shifts] for name in names}
            rows.append(Row(row.name, parts))
        setting = {"dataset": group.dataset, "model": group.model, "setting": group.setting}
        title = heading(setting)
        yield title if len(rows) <= _MOST else f"{title}\n{_MOST} of {len(rows)} rows", rows[:_MOST]


def _panels(source: Source, title: str, rows: Sequence[Row]) -> Iterator[tuple[str, Panel]]:
    for part in dict.fromkeys(name for row in rows for name in row.parts):
        stage, _, task = part.partition("/")
        file = {"token_shift": "stats.json", "similarity": "stats.json", "update": "update.json"}.get(stage)
        if file is None:
            continue
        read = {row.name: _read(source, row.parts.get(part, ()), file) for row in rows}
        read = {name: found for name, found in read.items() if found}
        if not read:
            continue
        first, *rest = title.splitlines()
        named = "\n".join([f"{first}: {task}" if task else first, *rest])
        if stage == "token_shift":
            for form in dict.fromkeys(stats["form"] for found in read.values() for stats in found):
                own = {name: [stats for stats in found if stats["form"] == form] for name, found in read.items()}
                own = {name: found for name, found in own.items() if found}
                told = named if form == "exact" else f"{named}\n{_FORMS[form]}"
                yield "kl_by_position", Panel(told, partial(_kl_by_position, read=own, exact=form == "exact"))
                yield "token_classes", Panel(told, partial(_token_classes, read=own))
        elif stage == "similarity":
            yield "similarity", Panel(named, partial(_histograms, read=read))
        else:
            yield "update_by_layer", Panel(named, partial(_by_layer, read=read))


def _read(source: Source, addresses: Sequence[str], file: str) -> list[Json]:
    paths = [source.artifact(address, file) for address in addresses]
    return [json.loads(path.read_text(encoding="utf-8")) for path in paths if path is not None]


def _kl_by_position(axes: Axes, read: Mapping[str, Sequence[Json]], exact: bool) -> None:
    for number, (name, found) in enumerate(read.items()):
        places = [(part["from"] + part["to"]) / 2 for part in found[0]["positions"]]
        values = [[part["kl_base_tuned"] for part in stats["positions"]] for stats in found]
        measured = np.array(values, dtype=float)  # null is nan
        there = ~np.isnan(measured).all(axis=0)  # short responses have no token at some positions
        mean = np.nanmean(measured[:, there], axis=0)
        axes.plot(np.array(places)[there], mean, label=name, **line(number))
    axes.set_xlabel("relative position in the response")
    axes.set_ylabel("KL(seed LM, tuned), nats")
    if exact:  # over a part of the vocabulary the sum may be negative
        axes.set_ylim(bottom=0)
    axes.legend(fontsize=7, frameon=False)


def _token_classes(axes: Axes, read: Mapping[str, Sequence[Json]]) -> None:
    # A run whose answers are all empty has no tokens, and no shares.
    found = {name: [stats for stats in each if stats["unshifted"] is not None] for name, each in read.items()}
    names = [name for name, each in found.items() if each]
    left = np.zeros(len(names))
    for kind, colour, hatch in _CLASSES:
        shares = np.array([100 * np.mean([stats[kind] for stats in found[name]]) for name in names])
        axes.barh(names, shares, left=left, color=colour, hatch=hatch, edgecolor="white", label=kind)
        left += shares
    axes.invert_yaxis()
    axes.set_xlim(0, 100)
    axes.set_xlabel("share of tokens, percent")
    axes.grid(visible=False, axis="y")
    axes.legend(fontsize=7, ncols=3, loc="upper center", bbox_to_anchor=(0.5, -0.16), frameon=False)


def _histograms(axes: Axes, read: Mapping[str, Sequence[Json]]) -> None:
    for number, (name, found) in enumerate(read.items()):
        measured = [stats["measures"]["embedding"]["histogram"] for stats in found]
        shares, below = _shares(measured)
        told = f"{name}, {below:.1f} % under 0" if below else name
        axes.stairs(shares, measured[0]["edges"], label=told, **line(number))
    axes.set_xlabel("cosine of the answers of seed LM and tuned model")
    axes.set_ylabel("share of answers, percent")
    axes.legend(fontsize=7, frameon=False, loc="upper left")


def _shares(histograms: Sequence[Json]) -> tuple[Any, float]:
    """Of all answers behind histograms the percent in each bin, and that in none: cosines under 0."""
    counts = np.sum([one["counts"] for one in histograms], axis=0)
    below = sum(one["below"] for one in histograms)
    return 100 * counts / (counts.sum() + below), float(100 * below / (counts.sum() + below))


def _by_layer(axes: Axes, read: Mapping[str, Sequence[Json]]) -> None:
    from matplotlib.ticker import MaxNLocator

    for number, (name, found) in enumerate(read.items()):
        layers = [part["layer"] for part in found[0]["by_layer"]]
        norms = [[part["absolute"] for part in update["by_layer"]] for update in found]
        axes.plot(layers, np.mean(norms, axis=0), marker="o", markersize=4, label=name, **line(number))
    axes.set_xlabel("layer")
    axes.set_ylabel("norm of the update")
    axes.set_ylim(bottom=0)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.legend(fontsize=7, frameon=False)


def _forgetting(group: Json) -> Iterator[Panel]:
    """Of each measure of shift and of what was kept: a point a run, with the rank correlation over runs."""
    tuned = [row for row in group["rows"] if row["kind"] == "tuned"]
    seed = group["rows"][0]["measures"]
    for moved, across in _MOVED:
        for lost, up in _LOST:
            rows = [row for row in tuned if moved in row["measures"] and lost in row["measures"]]
            if len(rows) < 2 or lost not in seed:
                continue
            points = {
                row["name"]: (each[0][there], 100 * (each[1][there] - seed[lost]["mean"]))
                for row in rows
                for each in [np.array([row["measures"][name]["per_seed"] for name in (moved, lost)], dtype=np.float64)]
                for there in [~np.isnan(each).any(axis=0)]  # runs that have a value of both
            }
            if sum(x.size for x, _ in points.values()) > 1:
                yield Panel(heading(group), partial(_scatter, points=points, across=across, up=up))


def _scatter(axes: Axes, points: Mapping[str, tuple[Any, Any]], across: str, up: str) -> None:
    for number, (name, (x, y)) in enumerate(points.items()):
        style = line(number)
        axes.scatter(x, y, color=style["color"], marker="ov^sDPX*"[number % 8], s=22, label=name)
    axes.axhline(0, color="#999999", linewidth=0.9, linestyle=(0, (4, 3)))
    axes.set_xlabel(across)
    axes.set_ylabel(f"{up}: change, points")
    axes.set_title(_correlation(points), loc="right", fontsize=7.5, color="#555555")
    axes.legend(fontsize=6.5, frameon=False)


def _correlation(points: Mapping[str, tuple[Any, Any]]) -> str:
    """Spearman's rank correlation over runs; runs of one row are no independent draws, so no p-value is told."""
    from scipy.stats import spearmanr

    x, y = (np.concatenate([each[side] for each in points.values()]) for side in (0, 1))
    if np.ptp(x) == 0 or np.ptp(y) == 0:
        return f"no rank correlation: all {x.size} runs alike"
    return f"Spearman {spearmanr(x, y).statistic:+.2f} over {x.size} runs"


def main(arguments: Sequence[str] | None = None) -> int:
    """Draw the figures of a finished run or sweep; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m analysis.shift_figures", description="How far models moved.")
    parser.add_argument("run", help="the folder of a run or a sweep, or its name under outputs/")
    try:
        folder = find(parser.parse_args(arguments).run)
        drawn = draw(read_finished(folder))
        if not drawn:
            raise DataError(f"{folder}: no shift was measured; run it again with {_AGAIN}")
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    for path in drawn:
        print(path)
    return 0


if __name__ == "__main__":
    sys.exit(main())
