"""Protocol `strict`, openfunctions: the response makes the reference's call, compared as Python's own parser reads it.

Example: `Sure: f("Rome", n = 2)` makes the call `f(n=2, city='Rome')` where the instruction names f's parameters as
city and n; `f(city='Rome', n='2')` does not, for a text is no number.

Keyword arguments may stand in any order; positional ones are matched with the parameters that the instruction lists
("1. city - ..."), and without such a list only with positional ones. Types count (2, "2", [2] and (2,) differ, 2 and
2.0 do not), entries of dictionaries and sets may stand in any order, and true, false and null are Python's. Calls of
the function that do not agree among themselves are no answer; where the reference has arguments, `f()` and `f(...)`
only mention the function.
"""

from __future__ import annotations

import ast
import re
import warnings
from collections.abc import Sequence
from typing import Any, NamedTuple

from sdft_exp.data.answers import has_call, normalise_call
from sdft_exp.tasks.rules.judgement import Judgement
from sdft_exp.tasks.rules.paper import expected_call

# Why the score differs from `paper`'s.
DIFFERENCES = (
    "argument_order",  # keywords in another order
    "positional_arguments",  # matched with the parameters that the instruction lists
    "other_writing",  # spaces, quotes, escapes, forms of numbers: the same to Python
    "several_calls",  # `paper` takes the right one of calls that differ
    "longer_name",  # `paper` takes my.f(a=1) for f(a=1)
    "within_another_call",  # `paper` finds f(a=1) in print(f(a=1))
    "inside_quotes",  # `paper` makes spaces and quotes inside texts alike
    "not_python",  # `paper` finds the call in what is none to Python
)

Value = tuple[tuple[Any, ...], frozenset[tuple[str, Any]]]  # of a call: positional and named arguments
_LONGEST = 2000  # characters of a call; the longest of OpenFunctions has 425

_NAME = re.compile(r"(?<![\w.])[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*\s*\(", re.ASCII)
_FUNCTION = re.compile(r"^Function to be used:[ \t]*(\S+)[ \t]*$", re.MULTILINE)
_PARAMETERS = re.compile(r"^Parameters:[ \t]*\n((?:[ \t]*\d+\.[^\n]*\n?)+)", re.MULTILINE)
_PARAMETER = re.compile(r"^[ \t]*\d+\.[ \t]*([A-Za-z_]\w*)", re.MULTILINE)
_WORDS = {"true": True, "false": False, "null": None}


def call(prediction: str, reference: str, instruction: str = "") -> Judgement:
    """1 where the response makes the reference's call and no other one of that function, else 0.

    Where the reference is no Python (`f(a=<token>)`), the published rule decides: "reference_not_python".

    Raises:
        NoReference: the reference does not begin with a call.
    """
    published = has_call(expected_call(reference), prediction)
    wanted = _whole_call(reference.strip())
    expected = None if wanted is None else _normal(wanted, names := parameters(instruction, wanted.name))
    if wanted is None or expected is None:
        return Judgement(float(published), "reference_not_python")
    every = _calls(prediction)
    calls = [made for made in every if made.name == wanted.name and not (_bare(made) and not _bare(wanted))]
    found = [_normal(made, names) for made in calls]
    if found and all(made == expected for made in found):
        return Judgement(1.0, "same_call" if published else _why_right(wanted, calls))
    if expected in found:
        return Judgement(0.0, "several_calls")
    if published:
        return Judgement(0.0, _why_wrong(wanted, every))
    return Judgement(0.0, "other_call" if found else "no_call")


def parameters(instruction: str, function: str) -> tuple[str, ...]:
    """The parameters of `function` in their order, where `instruction` lists them in the form of OpenFunctions."""
    named, listed = _FUNCTION.search(instruction), _PARAMETERS.search(instruction)
    if named is None or listed is None or named[1] != function:
        return ()
    return tuple(_PARAMETER.findall(listed[1]))


class _Call(NamedTuple):
    name: str
    source: str
    node: ast.Call


def _bare(call: _Call) -> bool:
    """Whether it has no arguments, or an ellipsis in their place."""
    given = [*call.node.args, *call.node.keywords]
    return all(isinstance(argument, ast.Constant) and argument.value is ... for argument in given)


def _why_right(wanted: _Call, calls: Sequence[_Call]) -> str:
    if any(len(made.node.args) != len(wanted.node.args) for made in calls):
        return "positional_arguments"
    order = [keyword.arg for keyword in wanted.node.keywords]
    if any([keyword.arg for keyword in made.node.keywords] != order for made in calls):
        return "argument_order"
    return "other_writing"


def _why_wrong(wanted: _Call, calls: Sequence[_Call]) -> str:
    text = normalise_call(wanted.source)
    if any(normalise_call(made.source) == text for made in calls):
        return "inside_quotes"
    if any(made.name.endswith(f".{wanted.name}") for made in calls):
        return "longer_name"
    return "within_another_call" if any(text in normalise_call(made.source) for made in calls) else "not_python"


def _calls(text: str) -> list[_Call]:
    """The calls in a text, in their order; those inside another call's arguments are part of it."""
    calls: list[_Call] = []
    place = 0
    while match := _NAME.search(text, place):
        made = _call_at(text, match)
        place = match.end() if made is None else match.start() + len(made.source)
        calls += [] if made is None else [made]
    return calls


def _whole_call(text: str) -> _Call | None:
    """The call that `text` is, from its first letter to its last."""
    match = _NAME.match(text)
    made = None if match is None else _call_at(text, match)
    return made if made is not None and made.source == text else None


def _call_at(text: str, match: re.Match[str]) -> _Call | None:
    """The call whose name and opening bracket `match` found, or None where Python sees none."""
    source = _closed(text[match.start() : match.start() + _LONGEST])
    if source is None:
        return None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # odd escapes in a model's strings
            node = ast.parse(source, mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None
    return _Call(match[0][:-1].strip(), source, node) if isinstance(node, ast.Call) else None


def _closed(text: str) -> str | None:
    """`text` up to the bracket that closes its first one, brackets inside quoted texts left out."""
    depth, quote, place = 0, "", 0
    while place < len(text):
        letter = text[place]
        if quote:
            if letter == "\\":
                place += 1
            elif letter == quote:
                quote = ""
        elif letter in "'\"":
            quote = letter
        elif letter in "([{":
            depth += 1
        elif letter in ")]}":
            depth -= 1
            if depth == 0:
                return text[: place + 1]
        place += 1
    return None


def _normal(call: _Call, names: Sequence[str]) -> Value | None:
    """The arguments as a value, equal for calls that do the same; None where they nest too deep for Python.

    Positional arguments get their names from `names`, where these reach.
    """
    try:
        return _arguments(call.node, names)
    except RecursionError:
        return None


def _arguments(node: ast.Call, names: Sequence[str]) -> Value:
    keywords = [(keyword.arg or "**", _value(keyword.value)) for keyword in node.keywords]
    positional = [_value(argument) for argument in node.args]
    if len(positional) <= len(names) and not any(isinstance(argument, ast.Starred) for argument in node.args):
        keywords += zip(names, positional, strict=False)
        positional = []
    given = [name for name, _ in keywords]
    # A name given twice is no proper call; the count keeps it from being equal to one.
    return tuple(positional), frozenset((name, (value, given.count(name))) for name, value in keywords)


def _value(node: ast.expr) -> Any:
    """An argument as a hashable value that keeps its type."""
    if isinstance(node, ast.Constant):
        return _constant(node.value)
    if isinstance(node, ast.Name):
        return _constant(_WORDS[node.id]) if node.id in _WORDS else ("name", node.id)
    if isinstance(node, ast.List | ast.Tuple):
        return type(node).__name__, tuple(_value(part) for part in node.elts)
    if isinstance(node, ast.Set):
        return "Set", frozenset(_value(part) for part in node.elts)
    if isinstance(node, ast.Dict):
        keys = [None if key is None else _value(key) for key in node.keys]
        return "Dict", frozenset(zip(keys, (_value(value) for value in node.values), strict=True))
    if isinstance(node, ast.Call):
        return "Call", _value(node.func), _arguments(node, ())
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        kind, value = _value(node.operand)[:2]
        if kind == "number":
            return kind, -value
    return "expression", ast.dump(node)


def _constant(value: Any) -> tuple[str, Any]:
    number = isinstance(value, int | float | complex) and not isinstance(value, bool)
    return ("number" if number else type(value).__name__), value
