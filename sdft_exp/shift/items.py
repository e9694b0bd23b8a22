"""scores.json of the shift measures, in the form of the score stage's, so that tables and intervals read both alike."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

_NAMES = ("id", "group")  # of an item; all else are its values

Item = Mapping[str, Any]


def named(question: int, doc: Mapping[str, Any]) -> dict[str, Any]:
    """An item without values, named as the score stage names it."""
    return {"id": doc.get("id", question)} | ({"group": doc["family"]} if "family" in doc else {})


def means(items: Iterable[Item]) -> dict[str, float]:
    """The mean of each value over the items that have it."""
    by_name: dict[str, list[float]] = defaultdict(list)
    for item in items:
        for name, value in item.items():
            if name not in _NAMES and value is not None:
                by_name[name].append(value)
    return {name: sum(own) / len(own) for name, own in by_name.items()}


def scores(task: str, version: str, items: Sequence[Item]) -> dict[str, Any]:
    """The content of scores.json: the items, and the means of their values in "metrics"."""
    return {
        "task": task,
        "protocol": "shift",
        "version": version,
        "n": len(items),
        "metrics": means(items),
        "items": items,
    }
