"""What the figures show of a group, and how its rows look in them. Imports nothing heavy."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

Json = Mapping[str, Any]

KEPT = {"other": "other tasks (%)", "raw_safe": "raw safe rate (%)", "jailbreak_safe": "jailbreak safe rate (%)"}
CURVES = {
    "target": "target task",
    "other": "other tasks",
    "raw_safe": "raw safe rate",
    "jailbreak_safe": "jailbreak safe rate",
}
OTHER_LOOKS = 5


def kept_measures(group: Json) -> list[str]:
    """The measures that the target can be drawn against."""
    if not all("target" in row["measures"] for row in group["rows"]):
        return []
    return [name for name in KEPT if all(name in row["measures"] for row in group["rows"])]


def ratios(group: Json) -> dict[float, Json]:
    """Rows by mix ratio where that makes a curve: three ratios or more, one row each (vanilla is ratio 0)."""
    tuned = [row for row in group["rows"] if row["kind"] == "tuned" and row["measures"]]
    found = [float(row["row"].get("method.mix_ratio") or 0) for row in tuned]
    rows = dict(zip(found, tuned, strict=True))
    same = {ratio: found.count(ratio) for ratio in rows}
    if len(rows) < 3 or any(count > 1 for ratio, count in same.items() if ratio > 0):
        return {}
    return dict(sorted(rows.items()))


def looks(rows: Sequence[Json]) -> Iterator[str]:
    """Of each row "seed", "vanilla", "sdft", or one of "other0" to "other4" in turn: it has that colour everywhere."""
    others = 0
    for row in rows:
        if row["kind"] == "seed":
            yield "seed"
        elif row["name"].startswith("vanilla"):
            yield "vanilla"
        elif row["name"].startswith("SDFT") and "mix" not in row["name"]:
            yield "sdft"
        else:
            yield f"other{others % OTHER_LOOKS}"
            others += 1
