"""A question's measured tokens as the page holds them: deflated JSON in base64, which is inflated when it is shown.

Plain JSON would be twice as long. Numbers have four significant digits.
"""

from __future__ import annotations

import base64
import json
import re
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

Json = Mapping[str, Any]

LISTED = 10  # of each model's likeliest tokens, at every token
FEW = 3  # of them at unshifted tokens, where a page would be too large
LONGEST = 4_000  # tokens of one response

_EFFORT = 4  # of 9: the usual 6 takes 2.6 times as long for 4 % less
_CLASSES = {"unshifted": "0", "marginal": "1", "shifted": "2"}
_HALF_A_PAIR = re.compile("[\ud800-\udfff]")


@dataclass
class Tokens:
    """The likeliest tokens of a page, each once, as (id, text)."""

    table: list[tuple[int, str]] = field(default_factory=list)
    _places: dict[tuple[int, str], int] = field(default_factory=dict)

    def of(self, vocabulary: Mapping[str, str]) -> dict[int, int]:
        """Place in the table by id, for the tokens of one artifact. The table grows with what is new in it."""
        places = {}
        for name, text in vocabulary.items():
            token = (int(name), text)
            if token not in self._places:
                self._places[token] = len(self.table)
                self.table.append(token)
            places[token[0]] = self._places[token]
        return places


def text(line: Json) -> str:
    """The response as the page shows it: the pieces joined. Each code point of a piece is one here too."""
    return _HALF_A_PAIR.sub("\ufffd", "".join(line["pieces"][:LONGEST]))


def told(line: Json) -> list[float]:
    """Tokens, marginal ones, shifted ones, and the mean of KL(base || tuned)."""
    classes = line["classes"]
    mean = sum(line["kl_base_tuned"]) / len(classes)
    return [len(classes), classes.count("marginal"), classes.count("shifted"), float(f"{mean:.4g}")]


def packed(lines: Mapping[int, Json], places: Mapping[int, Mapping[int, int]]) -> str:
    """All rows' tokens of one question, with the likeliest of either model: `FEW` of them at unshifted tokens.

    Args:
        lines: of tokens.jsonl, by row.
        places: of each row's tokens in the table.
    """
    return _deflated({row: _row(line, places[row]) for row, line in lines.items()})


def rest(lines: Mapping[int, Json], places: Mapping[int, Mapping[int, int]]) -> str:
    """The others of the likeliest at unshifted tokens, which a page can do without."""
    return _deflated({row: _likeliest(line, places[row], FEW, LISTED) for row, line in lines.items()})


def _deflated(rows: Mapping[int, Mapping[str, str]]) -> str:
    """Of each row fields whose values are JSON already."""
    parts = []
    for row, fields in rows.items():
        own = ",".join(f'"{name}":{value}' for name, value in fields.items())
        parts.append(f'"{row}":{{{own}}}')
    together = "{" + ",".join(parts) + "}"
    return base64.b64encode(zlib.compress(together.encode(), _EFFORT)).decode()


def _row(line: Json, places: Mapping[int, int]) -> dict[str, str]:
    classes = line["classes"][:LONGEST]
    return {
        "lengths": _whole([len(piece) for piece in line["pieces"][:LONGEST]]),
        "ids": _whole(line["ids"][:LONGEST]),
        "classes": '"' + "".join(_CLASSES[found] for found in classes) + '"',
        "rank": _whole(line["base_rank"][:LONGEST]),
        "base": _numbers(line["base_probability"][:LONGEST]),
        "tuned": _numbers(line["tuned_probability"][:LONGEST]),
        "kl_base_tuned": _numbers(line["kl_base_tuned"][:LONGEST]),
        "kl_tuned_base": _numbers(line["kl_tuned_base"][:LONGEST]),
        **_likeliest(line, places, 0, FEW),
    }


def _likeliest(line: Json, places: Mapping[int, int], start: int, end: int) -> dict[str, str]:
    """Of both lists at each token, from `start` to `end` at unshifted ones; at the others all, where `start` is 0.

    [how many at each token, their places in the table, their probabilities]
    """
    moved = (0, LISTED) if start == 0 else (0, 0)
    wanted = [(start, end) if found == "unshifted" else moved for found in line["classes"][:LONGEST]]
    found = {}
    for name in ("top_base", "top_tuned"):
        lists = [top[first:last] for top, (first, last) in zip(line[name], wanted, strict=False)]
        together = [entry for top in lists for entry in top]
        counts, tokens = _whole([len(top) for top in lists]), _whole([places[token] for token, _ in together])
        found[name] = f"[{counts},{tokens},{_numbers([probability for _, probability in together])}]"
    return found


def _whole(values: Sequence[int]) -> str:
    return json.dumps(values, separators=(",", ":"))


def _numbers(values: Sequence[float]) -> str:
    """One format for all of them: ten times as fast as one each."""
    text = ("%.4g," * len(values)) % tuple(values)
    if "n" in text:  # nan, inf: what no JSON holds
        text = re.sub("-?(nan|inf)", "null", text)
    return f"[{text[:-1]}]"
