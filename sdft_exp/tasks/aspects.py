"""Five aspects of an answer, each scored 1 to 5 by a judge (rubric `aspects`), as metrics of an item.

The aspects of just-eval (Lin et al., 2023, arXiv 2312.01552). Its own script takes an aspect that the judge says does
not apply for a 5; here what has no score is missing, and in no mean.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

ASPECTS = ("helpfulness", "clarity", "factuality", "depth", "engagement")
LOWEST, HIGHEST = 1.0, 5.0


def scores(doc: Mapping[str, Any], results: list[str]) -> dict[str, float]:
    """Each aspect that the verdict scores, their mean where it scores all, and how many it does not.

    `results` holds the verdict: JSON, aspect -> score; or "", where the judge failed at the answer.
    """
    if not results[0]:
        return {"unjudged": 1.0}
    found = {name: float(score) for name, score in json.loads(results[0]).items()}
    mean = {"aspects_mean": sum(found.values()) / len(ASPECTS)} if len(found) == len(ASPECTS) else {}
    return {**found, **mean, "aspects_missing": float(len(ASPECTS) - len(found)), "unjudged": 0.0}
