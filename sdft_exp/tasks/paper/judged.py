"""Metrics from the verdicts of rubric `alpaca_eval`. An answer that the judge failed at has none but `unjudged`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def win(doc: Mapping[str, Any], results: list[str]) -> dict[str, float]:
    """The share of the win that the verdict names: a tie is a half."""
    if not results[0]:
        return {"unjudged": 1.0}
    return {"win_rate": float(results[0]), "unjudged": 0.0}
