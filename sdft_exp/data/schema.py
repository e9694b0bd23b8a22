"""What a record must hold, and the row it becomes: instruction, earlier turns, response.

Forms: alpaca columns (with LIMA's `history`), `messages` (OpenAI's, ShareGPT's, or texts in turn as GAIR/lima has
them), GSM8K's question and answer, and any columns named in `dataset.columns`.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from sdft_exp.config import Columns
from sdft_exp.data.files import Record
from sdft_exp.errors import DataError

# The form of the authors' published subsets (sail-sg/sdft, `data/dataset_info.json`): a local file given for a hub set
# may be in the hub's form or in this one.
ALPACA = Columns(
    instruction="instruction", input="input", response="output", history="history", messages="messages", id="id"
)
# A column that a row may lack under its usual name. One that somebody named otherwise must be there in some row.
_OPTIONAL = ("input", "history", "messages", "id")
# Self-Instruct's word for an input that is none; MedInstruct's rows have it.
_NO_INPUT = "<noinput>"
_ROLES = {
    "system": "system",
    "developer": "system",
    "user": "user",
    "human": "user",
    "assistant": "assistant",
    "gpt": "assistant",
    "model": "assistant",
}


class Incomplete(DataError):
    """A record without a question or an answer, or a conversation that does not alternate."""


@dataclass(frozen=True)
class Row:
    """One example. `history` holds the (question, answer) pairs before `instruction`; `line`, and `position` from 0,
    are its record's."""

    id: str
    instruction: str
    history: tuple[tuple[str, str], ...]
    response: str
    line: int
    position: int


def rows_of(
    records: Iterable[Record],
    columns: Columns,
    source: str,
    *,
    alpaca_too: bool = False,
    leave_out: bool = False,
) -> list[Row]:
    """The checked rows of `records`, in their order. Rows without an id of their own are called by their position.

    Args:
        columns: the names of the columns.
        source: file or hub id, for error messages.
        alpaca_too: records that lack the named columns may be in the alpaca form instead.
        leave_out: records that are Incomplete become no rows; the others keep the names that their positions give.

    Raises:
        DataError: a missing or empty field (an empty input is fine), a wrong type, a repeated id, a conversation that
            does not alternate; names source, line and field.
    """
    rows: list[Row] = []
    lines: dict[str, int] = {}
    seen: set[str] = set()
    shape = columns
    for position, record in enumerate(records):
        if position == 0 and alpaca_too and not _fits(record.values, columns) and _fits(record.values, ALPACA):
            shape = ALPACA
        seen.update(record.values)
        try:
            row = _row(record, shape, position, source)
        except Incomplete:
            if not leave_out:
                raise
            continue
        if row.id in lines:
            raise DataError(
                f"{source}:{record.line}: the id {row.id!r} stands already on line {lines[row.id]}; ids must differ"
            )
        lines[row.id] = record.line
        rows.append(row)
    _check_named(shape, seen, source)
    return rows


def _fits(values: Mapping[str, Any], columns: Columns) -> bool:
    if columns.messages is not None and columns.messages in values:
        return True
    return columns.instruction in values and columns.response in values


def _check_named(columns: Columns, seen: set[str], source: str) -> None:
    for role in _OPTIONAL:
        name = getattr(columns, role)
        if name is not None and name != getattr(ALPACA, role) and name not in seen and not _may_lack(columns, role):
            raise DataError(f"{source}: no row has dataset.columns.{role}={name}{_instead(name, seen)}")


def _may_lack(columns: Columns, role: str) -> bool:
    # Where both forms are named, a file has one of them.
    return role == "messages" and columns.instruction is not None


def _instead(name: str, seen: Iterable[str]) -> str:
    known = sorted(str(column) for column in seen)
    close = difflib.get_close_matches(name, known, n=1)
    hint = f"; did you mean {close[0]}?" if close else ""
    return f"{hint} (there are: {', '.join(known[:12]) or 'none'})"


def _row(record: Record, columns: Columns, position: int, source: str) -> Row:
    where = f"{source}:{record.line}"
    values = record.values
    identity = _identity(values, columns.id, where) or f"row-{position:06d}"
    if columns.messages is not None and values.get(columns.messages) is not None:
        history, instruction, response = _conversation(values[columns.messages], f"{where}: field {columns.messages!r}")
        return Row(identity, instruction, history, response, record.line, position)
    if columns.instruction is None or columns.response is None:
        raise DataError(_missing(where, "messages", str(columns.messages), values))
    instruction = _text(values, "instruction", columns.instruction, where)
    response = _text(values, "response", columns.response, where)
    more = values.get(columns.input) if columns.input else None
    if more is not None and not isinstance(more, str):
        raise DataError(f"{where}: field {columns.input!r} must be a text, not {type(more).__name__}")
    # As LLaMA-Factory joins alpaca's instruction and input.
    joined = f"{instruction}\n{more}" if more and more.strip().lower() != _NO_INPUT else instruction
    return Row(identity, joined, _history(values, columns.history, where), response, record.line, position)


def _missing(where: str, role: str, name: str, values: Mapping[str, Any]) -> str:
    hint = _instead(name, values)
    return f"{where}: field {name!r} is missing{hint}; name the column with dataset.columns.{role}="


def _text(values: Mapping[str, Any], role: str, name: str, where: str) -> str:
    value = values.get(name)
    if value is None:
        if name in values:
            raise Incomplete(f"{where}: field {name!r} is empty; fill it or take the row out")
        raise DataError(_missing(where, role, name, values))
    if not isinstance(value, str):
        raise DataError(f"{where}: field {name!r} must be a text, not {type(value).__name__}")
    if not value.strip():
        raise Incomplete(f"{where}: field {name!r} is empty; fill it or take the row out")
    return value


def _identity(values: Mapping[str, Any], name: str | None, where: str) -> str | None:
    value = values.get(name) if name else None
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, str | int) or value == "":
        raise DataError(f"{where}: field {name!r} must be a text or a whole number that names the row")
    return str(value)


def _history(values: Mapping[str, Any], name: str | None, where: str) -> tuple[tuple[str, str], ...]:
    value = values.get(name) if name else None
    if value is None:
        return ()
    if not isinstance(value, list):
        raise DataError(f"{where}: field {name!r} must be a list of [question, answer] pairs")
    for number, pair in enumerate(value, start=1):
        whole = isinstance(pair, list | tuple) and len(pair) == 2
        if not whole or not all(isinstance(text, str) and text.strip() for text in pair):
            raise DataError(f"{where}: field {name!r}, turn {number}: must be [question, answer], two texts, not empty")
    return tuple((question, answer) for question, answer in value)


def _conversation(value: Any, where: str) -> tuple[tuple[tuple[str, str], ...], str, str]:
    """(history, instruction, response) of a conversation. The system's words stand before the first question: the
    template has a system text of its own, on which the comparison of methods rests."""
    if not isinstance(value, list):
        raise DataError(f"{where} must be a list of messages")
    if not value:
        raise Incomplete(f"{where} must be a list of messages, not empty")
    messages = [_message(entry, number, where) for number, entry in enumerate(value, start=1)]
    system = ""
    if messages[0][0] == "system":
        system = messages.pop(0)[1] + "\n\n"
    for number, (role, _) in enumerate(messages, start=2 if system else 1):
        expected = "assistant" if (number % 2 == 0) != bool(system) else "user"
        if role != expected:
            raise Incomplete(f"{where}, message {number}: is by {role}, expected {expected}; the two take turns")
    if len(messages) % 2:
        if len(messages) == 1:
            raise Incomplete(f"{where}: has no answer by the assistant; add one or take the row out")
        messages.pop()  # a last question that nobody answers teaches nothing
    texts = [text for _, text in messages]
    if not texts:
        raise Incomplete(f"{where}: has no question and no answer; add them or take the row out")
    pairs = [(question, answer) for question, answer in zip(texts[::2], texts[1::2], strict=True)]
    pairs[0] = (system + pairs[0][0], pairs[0][1])
    return tuple(pairs[:-1]), pairs[-1][0], pairs[-1][1]


def _message(entry: Any, number: int, where: str) -> tuple[str, str]:
    if isinstance(entry, str):  # texts in turn, the user first
        role, text = ("user" if number % 2 else "assistant"), entry
    elif isinstance(entry, Mapping):
        named = entry.get("role", entry.get("from"))
        text = entry.get("content", entry.get("value"))
        role = _ROLES.get(str(named), "")
        if not role:
            raise DataError(f"{where}, message {number}: role {named!r}; take system, user or assistant")
    else:
        raise DataError(f"{where}, message {number}: must have role and content")
    if text is None or (isinstance(text, str) and not text.strip()):
        raise Incomplete(f"{where}, message {number}: content must be a text, not empty")
    if not isinstance(text, str):
        raise DataError(f"{where}, message {number}: content must be a text, not {type(text).__name__}")
    return role, text


_CALCULATION = re.compile(r"<<.*?>>")
_FINAL = re.compile(r"#### (.*)\Z")


def gsm8k_form(response: str) -> str:
    """GSM8K's official answer as the authors train on it: calculator marks removed, `#### N` as `The answer is N.`

    A response that is in that form already stays as it is.
    """
    return _FINAL.sub(r"The answer is \1.", _CALCULATION.sub("", response))
