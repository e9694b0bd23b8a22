"""Dataset: the checked rows of a fine-tuning set, in one form whatever they came from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

from sdft_exp.config import RunConfig
from sdft_exp.data.cost import row_cost
from sdft_exp.data.jsonl import write_json, write_jsonl
from sdft_exp.data.rows import RowSource, UnpinnedError, count_repeated, left_out, load_rows, row_source
from sdft_exp.stage import Progress, Stage


def stage(config: RunConfig) -> Stage:
    """The rows of `config.dataset`; a local file is read and checked here, before any work.

    A hub set without a revision that the hub does not tell has no key; it can be planned, and nothing made of it.

    Raises:
        DataError: a file or a row that cannot be used.
    """
    obstacle = ""
    try:
        source = row_source(config.dataset)
    except UnpinnedError as error:  # a plan can do without
        source, obstacle = row_source(config.dataset, commit="unknown"), str(error)
    cost = row_cost(source, config)
    label = config.dataset.name
    if source.is_local:
        repeated, out = count_repeated(load_rows(source)), left_out(source)
        label += f", {repeated} of {cost.samples} rows repeated" if repeated else ""
        label += f", {out.incomplete} incomplete rows left out" if out.incomplete else ""
        label += f", {out.low_quality} of too low a score left out" if out.low_quality else ""
    return Stage("dataset", source, label=label, cost=cost, obstacle=obstacle, known=not obstacle)


def run(params: RowSource, inputs: Mapping[str, Path], out: Path, progress: Progress) -> None:
    """Write `rows.jsonl` and `stats.json`: "rows", "repeated", and of rows left out "incomplete" and "low_quality"."""
    rows = load_rows(params)
    write_jsonl(out / "rows.jsonl", rows)
    write_json(out / "stats.json", {"rows": len(rows), "repeated": count_repeated(rows), **asdict(left_out(params))})
    progress(len(rows), len(rows), "rows")
