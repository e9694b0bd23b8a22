"""The page as text: tables and figures are in the HTML itself, its script sorts, searches and follows."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from analysis.report.figures import figures
from analysis.report.headline import headline
from analysis.report.records import commands, configs, costs, versions
from analysis.report.samples import rejected, samples
from analysis.report.source import Source
from sdft_exp.report.measures import SECTIONS, unit_of
from sdft_exp.report.reading import bounds, difference, heading, points, shown, shown_with_bounds

Json = Mapping[str, Any]

_ASSETS = Path(__file__).parent / "assets"
_SCRIPTS = ("theme.js", "tables.js", "samples.js", "live.js")


def render(source: Source, state: Json | None = None) -> str:
    """The whole page.

    Args:
        state: how far the sweep is, for a page that is served and follows it (`live.state`); None: a file, whose policy
            forbids every connection.
    """
    script = "".join((_ASSETS / name).read_text(encoding="utf-8") for name in _SCRIPTS)
    style = (_ASSETS / "page.css").read_text(encoding="utf-8")
    environment = Environment(
        loader=FileSystemLoader(_ASSETS),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"points": points, "bounds": bounds, "difference": difference}
    environment.filters |= {
        "heading": heading,
        "shown": shown,
        "shown_with_bounds": shown_with_bounds,
        "unit_of": unit_of,
    }
    summary = source.summary
    return environment.get_template("page.html.jinja").render(
        policy=_policy(script, style, served=state is not None),
        style=Markup(style),
        script=Markup(script),
        state=state,
        summary=summary,
        groups=[_group(source, group) for group in summary["groups"]],
        costs=costs(source),
        versions=versions(source),
        commands=commands(source),
        configs=configs(source),
        folder=source.folder,
        samples=_embedded(samples(source)),
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


def _policy(script: str, style: str, *, served: bool) -> str:
    """What the page may do: its own script and style; a served one may also ask its own server."""
    return (
        f"default-src 'none'; script-src '{_digest(script)}'; style-src '{_digest(style)}'; img-src data:; "
        f"connect-src {chr(39)}{'self' if served else 'none'}{chr(39)}; base-uri 'none'; form-action 'none'"
    )


def _digest(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def _embedded(value: Any) -> Markup:
    """JSON for a script element, which no text in it can end."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    return Markup(text.replace("<", "\\u003c").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029"))
