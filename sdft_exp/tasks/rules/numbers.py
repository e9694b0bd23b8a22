r"""Protocol `strict`, gsm8k and multiarith: the value that a response states equals the reference's, by math-verify.

Example: against "The answer is 1000.", the responses "The answer is $1,000.00 (see step 3)", "#### 1 000" and
"\boxed{1000} dollars" are right; `paper` gets the first and, where a line follows, the others wrong.

A value is found here and compared by math-verify (whose own search takes "$5 and $6" for LaTeX and "1,5" for 1.5).
Where a text states its answer ("the answer is", "answer:", "####", \boxed), the value there counts. It is stated where
it stands directly behind these words, or behind the last equals sign of the sum that does, and where nothing but units
follows up to the end of the statement: "the answer is 5 times 6, or 30" states nothing. Elsewhere the last value
counts. Values are numbers with thousands separators, decimals, fractions, mixed numbers and \frac; currency, units and
percent signs are left out, and what stands behind "not" is no value.
"""

from __future__ import annotations

import functools
import logging
import re
from dataclasses import dataclass

from sdft_exp.data.answers import LAST_NUMBER, NO_INTEGER, last_integer
from sdft_exp.tasks.rules import paper
from sdft_exp.tasks.rules.judgement import Judgement

# Why the score differs from `paper`'s: how `strict` reads one of the two texts.
DIFFERENCES = (
    "stated_answer",  # the value that the text states, not a later number
    "fraction",  # a fraction is one value, of which `paper` takes the last integer
    "decimals",  # a value with decimals counts, of which `paper` makes none
    "digits_joined",  # `paper` joins numbers across spaces and commas, or fails on a line break
    "sign",  # a dash, as in 12-5, is no minus sign; the typographic minus is one
    "digits_in_a_word",  # as in CO2 or 2.0.1: no number
    "no_integer_in_either",  # `paper` takes two texts without an integer for equal
    "percent",  # 50% is 50 and is one half too
    "negated",  # what stands behind "not" is no answer
)

_SPACE = r"[ \u00a0\u2009\u202f]"  # what parts thousands: plain, no-break and thin spaces
_GROUPS = rf"[0-9]{{1,3}}(?:(?:(?:,|\{{,\}})[0-9]{{3}})+|(?:{_SPACE}[0-9]{{3}})+)(?![0-9])"
_NUMBER = rf"(?:(?:{_GROUPS}|[0-9]+)(?:\.[0-9]+)?|\.[0-9]+)(?!\.?[0-9])"
_MINUS = "[-\u2212]"
_VALUE = re.compile(
    rf"""
    (?P<sign>(?<![\w)\]}}.]){_MINUS})? (?:\\?[$€£¥]\s?)?              # -$5, but not 12-5
    (?: \\[dt]?frac\s*\{{\s*(?P<minus>{_MINUS})?(?P<over>{_NUMBER})\s*\}}\s*\{{\s*(?P<under>{_NUMBER})\s*\}}
      | (?<![\w./])(?:(?P<whole>[0-9]+)\ )?(?P<upper>{_NUMBER})\s?/\s?(?P<lower>{_NUMBER})(?![\w/])
      | (?<![\w.])(?P<number>{_NUMBER}) )
    (?P<percent>\s?\\?%|\s+percent\b)?
    """,
    re.VERBOSE,
)
_STATED = re.compile(
    r"""
    (?: (?<![\w/])answers? (?:\s+(?:to|for|of)\b[^.,:=\n0-9]{0,60}?)? \s+(?:is|are|(?:will|would|should)\ be)\b\s*[:=]?
      | (?<![\w/])answers? \**\s*[:=]
      | \#{4}
      | (?P<boxed>\\boxed\s*\{) )\s*
    """,
    re.IGNORECASE | re.VERBOSE,
)
# What may stand between these words and the value.
_OPENING = re.compile(
    r"""
    (?: [\s*`"'“”‘’(\[{$~≈:=] | \\[(\[$] | \\(?:text|math)[a-z]*\s*\{
      | \b(?:about|approximately|around|roughly|exactly|just|only|simply|indeed|therefore|thus)\b
      | \b(?:equal\ to|a\ total\ of)\b )*
    """,
    re.IGNORECASE | re.VERBOSE,
)
# Where what is stated ends, and reasons or asides begin.
_END = re.compile(
    r"""[.!?;](?=[\s*_"'”’)\]}$`\\]|$) | \n | \(\s*[A-Za-z]
      | \b(?:because|since|as|where|with|when|if|given|assuming|not|instead|rather)\b""",
    re.VERBOSE,
)
# Where it may end, too: "18, with 3 left", "18 - see step 3", "18: 3 times 6", "18 (3 * 6)" but not "3 * (6 + 1)".
_PAUSE = re.compile(r",(?=\s|$)|[-–—]\s+(?=[A-Za-z])|(?<![-−+*×·/÷=])(?<!\sx)(?<!times)\s\(|(?<!\s):(?=\s|$)")
_PLACE = re.compile(r"\b(?:in|for|after|within|during)(?:\s+(?:the|all|these|those))?\s*\Z")
_LIST_MARK = re.compile(r"[.):][ \t]+\S")
_VARIABLE = re.compile(r"[A-Za-z]\s*=")
_NEGATION = re.compile(r"(?:\bnot|n['’]t)\s+[*`\"'(\[{$\\]*\Z", re.IGNORECASE)
_LONGEST = 60  # characters of a value handed to math-verify


@dataclass(frozen=True)
class Value:
    """A value as it stands in a text: `expression` for math-verify, where it stands, and how it is written."""

    expression: str
    start: int
    end: int
    stated: bool
    fraction: bool
    percent: bool


def number(prediction: str, reference: str, instruction: str = "") -> Judgement:
    """The stated values are equal, up to rounding at the sixth decimal (math-verify's default)."""
    expected, found = stated_value(reference), stated_value(prediction)
    right = expected is not None and found is not None and _same(expected, found)
    if right != bool(paper.integer(prediction, reference).score):
        return Judgement(float(right), _difference(prediction, found, reference, expected))
    if expected is None or found is None:
        return Judgement(0.0, "no_number" if found is None else "no_number_in_reference")
    return Judgement(float(right), "same_value" if right else "other_value")


def stated_value(text: str) -> Value | None:
    """The value that `text` gives as its answer, or None where it holds no number."""
    for mark in reversed(list(_STATED.finditer(text))):
        end = _closing_brace(text, mark.end()) if mark["boxed"] else _end(text, mark.end())
        match = _statement(text, mark, end)
        if match:
            return _read(match, stated=True)
    matches = _last_first(text)
    return _read(matches[0], stated=False) if matches else None


def _last_first(text: str) -> list[re.Match[str]]:
    """The values of a text from its last to its first, those behind "not" left out."""
    return [match for match in reversed(list(_VALUE.finditer(text))) if not _negated(text, match.start())]


def _negated(text: str, place: int) -> bool:
    return _NEGATION.search(text, max(0, place - _LONGEST), place) is not None


def _statement(text: str, mark: re.Match[str], end: int) -> re.Match[str] | None:
    """The value that is stated behind `mark` and before `end`; None where the words there state none."""
    begin = _behind(text, mark.end(), end)
    opens = _VALUE.match(text, begin, end)
    if opens is None and not _VARIABLE.match(text, begin, end):
        return None
    if opens and _ends(text, opens.end(), end) and not _numbers_a_list(text, mark, opens):
        return opens
    first, last = text.find("=", begin, end), text.rfind("=", begin, end)
    if last < 0:
        return None
    result = _VALUE.match(text, _behind(text, last + 1, end), end)
    if result and _ends(text, result.end(), end):
        return result
    return opens if opens and _ends(text, opens.end(), first) else None  # 18 = 3 * 6


def _behind(text: str, place: int, end: int) -> int:
    """Where a value must begin to stand directly at `place`."""
    match = _OPENING.match(text, place, end)
    return match.end() if match else place


def _ends(text: str, place: int, end: int) -> bool:
    """Whether a value that reaches to `place` ends what is stated: units may follow, and no other value.

    One that tells where or how long may: "7 apples in 3 bags."
    """
    pause = _PAUSE.search(text, place, end)
    other = _VALUE.search(text, place, pause.start() if pause else end)
    if other is None:
        return True
    alone = pause is None and _VALUE.search(text, other.end(), end) is None
    return alone and _PLACE.search(text, place, other.start()) is not None


def _numbers_a_list(text: str, mark: re.Match[str], value: re.Match[str]) -> bool:
    """Whether the value is the number of a step or a heading: "Here is the answer:\n1. Add up"."""
    fresh = mark[0].startswith("#") or "\n" in text[mark.start() : value.start()]
    return fresh and _LIST_MARK.match(text, value.end()) is not None


def _end(text: str, begin: int) -> int:
    match = _END.search(text, begin)
    return match.start() if match else len(text)


def _closing_brace(text: str, begin: int) -> int:
    """Where the brace before `begin` is closed, or the place where we stop looking."""
    depth, end = 1, min(len(text), begin + 4 * _LONGEST)
    for place in range(begin, end):
        depth += {"{": 1, "}": -1}.get(text[place], 0)
        if depth == 0:
            return place
    return end


def _read(match: re.Match[str], *, stated: bool) -> Value:
    parts = {name: _plain(text) for name, text in match.groupdict().items() if text is not None}
    if "over" in parts:
        expression = f"{parts['over']}/{parts['under']}"
    elif "upper" in parts:
        fraction = f"{parts['upper']}/{parts['lower']}"
        expression = f"({parts['whole']}+{fraction})" if "whole" in parts else fraction
    else:
        expression = parts["number"]
    if ("sign" in parts) != ("minus" in parts):
        expression = f"-{expression}"
    return Value(expression, match.start(), match.end(), stated, "/" in expression, "percent" in parts)


def _plain(number: str) -> str:
    """Without separators and leading zeros, which Python's grammar does not have."""
    digits = re.sub(rf"[,{{}}]|{_SPACE}", "", number)
    return re.sub(r"^0+(?=[0-9])", "", digits.replace(".", "0.", 1) if digits.startswith(".") else digits)


def _same(expected: Value, found: Value) -> bool:
    return _equal(expected.expression, found.expression) or _same_share(expected, found)


def _same_share(expected: Value, found: Value) -> bool:
    """Whether one says in percent what the other says as a number."""
    if expected.percent == found.percent:
        return False
    percent, plain = (expected, found) if expected.percent else (found, expected)
    return _equal(f"{percent.expression}/100", plain.expression)


@functools.lru_cache(maxsize=4096)
def _equal(expected: str, found: str) -> bool:
    if expected == found or max(len(expected), len(found)) > _LONGEST:
        return expected == found
    from math_verify import verify

    return bool(verify(_parsed(expected), _parsed(found), timeout_seconds=None))


@functools.lru_cache(maxsize=4096)
def _parsed(expression: str) -> list[object]:
    from math_verify import ExprExtractionConfig, parse

    # No time limit: it works by alarms, in the main thread alone, and expressions of this form are done at once.
    # The library warns of that at each call.
    logging.getLogger("math_verify").setLevel(logging.ERROR)
    return list(parse(expression, extraction_config=[ExprExtractionConfig()], parsing_timeout=None))


def _difference(prediction: str, found: Value | None, reference: str, expected: Value | None) -> str:
    """Why `paper` and `strict` differ: the first of the two texts that they read differently says."""
    if last_integer(prediction) == NO_INTEGER == last_integer(reference):
        return "no_integer_in_either"
    for text, value in ((prediction, found), (reference, expected)):
        why = _read_differently(text, value)
        if why is not None:
            return why
    return "percent"  # both read the same, so that only the two ways to take a percentage are left


def _read_differently(text: str, value: Value | None) -> str | None:
    """How the value of `text` differs from its last integer, in the words of `DIFFERENCES`; None where it does not."""
    integer = last_integer(text)
    if value is None:
        return None if integer == NO_INTEGER else _not_a_value(text)
    if integer is not None and integer != NO_INTEGER and _equal(value.expression, str(integer)):
        return None
    *_, published = LAST_NUMBER.finditer(text)
    if value.end <= published.start():
        return "stated_answer" if value.stated else _not_a_value(text)
    if value.fraction:
        return "fraction"
    if integer is None or re.search(r"[,\s]", published[0]):
        return "digits_joined"
    if "." in value.expression:
        return "decimals"
    return "sign" if value.expression.startswith("-") != published[0].startswith("-") else "digits_in_a_word"


def _not_a_value(text: str) -> str:
    """Why the last number of a text is none to us."""
    *_, last = LAST_NUMBER.finditer(text)
    negated = any(match.end() > last.start() for match in _VALUE.finditer(text))
    return "negated" if negated else "digits_in_a_word"
