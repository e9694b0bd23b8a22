"""summary.csv: one line a row of the table and measure (or task and metric), for spreadsheets and data frames."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator, Mapping
from typing import Any

_CELL = ("mean", "std", "low", "high")
_DIFFERENCE = ("mean", "low", "high", "significant")
_COLUMNS = (
    *("dataset", "model", "setting", "row", "kind", "mix_ratio", "seeds", "scope", "measure"),
    *(_CELL),
    *("per_seed",),
    *(f"change_{part}" for part in _DIFFERENCE),
    *(f"against_vanilla_{part}" for part in _DIFFERENCE),
)


def table(summary: Mapping[str, Any]) -> str:
    """The whole file. Shares are fractions of 1; several seeds' values stand in one field, separated by spaces, and `-`
    for a seed without one."""
    text = io.StringIO()
    writer = csv.DictWriter(text, _COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(_lines(summary))
    return text.getvalue()


def _lines(summary: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    for group in summary["groups"]:
        for row in group["rows"]:
            head = {
                "dataset": group["dataset"],
                "model": group["model"],
                "setting": json.dumps(group["setting"], sort_keys=True, ensure_ascii=False),
                "row": row["name"],
                "kind": row["kind"],
                "mix_ratio": row.get("row", {}).get("method.mix_ratio"),
                "seeds": " ".join(map(str, row["seeds"])),
            }
            change = row.get("change", {})
            against = (row.get("against_vanilla") or {}).get("change") or {}
            for name, cell in row["measures"].items():
                yield {
                    **head,
                    "scope": "measure",
                    "measure": name,
                    **_fields(cell),
                    **_prefixed("change", change.get(name)),
                    **_prefixed("against_vanilla", against.get(name)),
                }
            for task, cells in row["tasks"].items():
                for metric, cell in cells.items():
                    yield {**head, "scope": task, "measure": metric, **_fields(cell)}


def _fields(cell: Mapping[str, Any]) -> dict[str, Any]:
    return {part: cell[part] for part in _CELL} | {
        "per_seed": " ".join("-" if value is None else str(value) for value in cell["per_seed"])
    }


def _prefixed(prefix: str, cell: Mapping[str, Any] | None) -> dict[str, Any]:
    return {f"{prefix}_{part}": cell[part] for part in _DIFFERENCE} if cell else {}
