"""Quality scores of rows, from a column of theirs or a file beside them: a row that scores too little is left out.

As AlpaGasus does with a judge's scores (Chen et al., 2023, arXiv 2307.08701): whoever gave them, the rule is a number.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sdft_exp.config import QualityConfig
from sdft_exp.data.files import Record, file_digest, read_records
from sdft_exp.errors import DataError
from sdft_exp.stage import unkeyed


@dataclass(frozen=True)
class Quality:
    """A rule that leaves rows out.

    Attributes:
        column: what holds the score, in the rows or in the file.
        identity: digest of the file of scores; None: the rows hold them.
    """

    at_least: float
    column: str
    identity: str | None
    path: str | None = unkeyed()


def quality_of(config: QualityConfig) -> Quality | None:
    """The rule that `config` asks for; None: every row is taken. A file of scores is read and checked here.

    Raises:
        DataError: no such file, or one of its records has no score.
    """
    if config.at_least is None:
        return None
    if config.file is None:
        return Quality(config.at_least, config.column, None, None)
    path = Path(config.file).expanduser()
    if not path.exists():
        raise DataError(f"{path}: no such file; set dataset.quality.file to one that is there")
    identity = file_digest(path)
    _file_scores(str(path), identity, config.column)
    return Quality(config.at_least, config.column, identity, str(path))


def file_scores(quality: Quality) -> tuple[float, ...]:
    """The scores of the rows in their order, out of the rule's file.

    Raises:
        DataError: the file changed after the plan was made.
    """
    assert quality.path is not None and quality.identity is not None
    if file_digest(Path(quality.path)) != quality.identity:
        raise DataError(f"{quality.path}: has changed since the run was planned; start it again")
    return _file_scores(quality.path, quality.identity, quality.column)


def score(record: Record, column: str, source: str) -> float:
    """The score that stands in `column` of a record; `source` is its file or hub id.

    Raises:
        DataError: there is none, or it is no finite number.
    """
    where = f"{source}:{record.line}"
    if column not in record.values:
        known = ", ".join(sorted(map(str, record.values))[:12]) or "none"
        raise DataError(
            f"{where}: field {column!r} is missing (there are: {known}); name the scores with dataset.quality.column="
        )
    value = record.values[column]
    number = _number(value)
    if number is None:
        raise DataError(f"{where}: field {column!r} must be a number, not {value!r}")
    return number


def _number(value: Any) -> float | None:
    """A number, or the text of one, which is all that a CSV has."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        number = float(value)
    except ValueError:
        return None
    return number if math.isfinite(number) else None


@functools.lru_cache(maxsize=4)
def _file_scores(path: str, identity: str, column: str) -> tuple[float, ...]:
    """Of the file whose content `identity` stands for."""
    return tuple(score(record, column, path) for record in read_records(Path(path)))
