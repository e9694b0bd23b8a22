"""The page as text: tables and figures are in the HTML itself, its script sorts, searches and follows."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from markupsafe import Markup

from analysis.page import embedded, page
from analysis.report.figures import figures
from analysis.report.headline import headline
from analysis.report.records import commands, configs, costs, versions
from analysis.report.samples import rejected, samples
from analysis.report.source import Source
from sdft_exp.report.measures import SECTIONS, unit_of
from sdft_exp.report.reading import bounds, difference, heading, points, shown, shown_with_bounds

Json = Mapping[str, Any]

_ASSETS = Path(__file__).parent / "assets"
_FILTERS: dict[str, Callable[..., str]] = {
    "points": points,
    "bounds": bounds,
    "difference": difference,
    "heading": heading,
    "shown": shown,
    "shown_with_bounds": shown_with_bounds,
    "unit_of": unit_of,
}


def render(source: Source, state: Json | None = None) -> str:
    """The whole page.

    Args:
        state: how far the sweep is, for a page that is served and follows it (`live.state`); None: a file, whose policy
            forbids every connection.
    """
    summary = source.summary
    return page(
        _ASSETS / "page.html.jinja",
        ("page.css",),
        ("elements.js", "tables.js", "samples.js", "live.js"),
        {
            "state": state,
            "summary": summary,
            "groups": [_group(source, group) for group in summary["groups"]],
            "costs": costs(source),
            "versions": versions(source),
            "commands": commands(source),
            "configs": configs(source),
            "folder": source.folder,
            "samples": embedded(samples(source)),
        },
        _FILTERS,
        served=state is not None,
    )


def _group(source: Source, group: Json) -> Json:
    summary = source.summary
    present = {name for row in group["rows"] for name in row["measures"]}
    measures = [measure for measure in summary["measures"] if measure["name"] in present]
    return {
        "it": group,
        "headline": headline(group, summary),
        **{name: [measure for measure in measures if measure["section"] == name] for name in SECTIONS},
        "figures": [{**one, "svg": Markup(one["svg"])} for one in figures(source, group)],
        "rewrites": _rewrites(source, group),
    }


def _rewrites(source: Source, group: Json) -> list[Json]:
    """One entry for each set of rewrites: rows of different mix ratios share one."""
    selected = {job.label: job.select for job in source.jobs if job.select}
    found: dict[str, dict[str, Any]] = {}
    for row in group["rows"]:
        address = selected.get(row["jobs"][0]["label"]) if row.get("rewrites") else None
        if address:
            entry = {"rows": [], "stats": row["rewrites"], "examples": rejected(source, address)}
            found.setdefault(address, entry)["rows"].append(row["name"])
    return list(found.values())
