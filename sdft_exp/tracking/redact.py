"""Keeps secrets out of what is written: by a key's name, by a value's look, and by what the environment holds."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

HIDDEN = "[redacted]"

_NAME = r"(?:(?:api|access|private)_?key|token|secret|password|passwd|passphrase|credentials?|authorization)"
# `batch_tokens` and `tokenizer` are no secrets: the word has to end there.
_SECRET_NAME = re.compile(
    rf"(?:^|[._\-]|(?-i:(?<=[a-z])(?=[A-Z]))){_NAME}(?:$|[._\-])|[._\-]key$",
    re.IGNORECASE,
)
_LOOKS_SECRET = re.compile(
    r"\b(?:hf_|sk-|ghp_|github_pat_|glpat-|xox[abp]-|wandb_v1_|AKIA)[A-Za-z0-9_\-]{12,}"  # well-known issuers
    r"|\b[0-9a-f]{40}\b(?=$|[\s,;\"'])"  # a W&B key: forty hexadecimal digits
)
_ASSIGNED = re.compile(rf"((?:^|[\s.+_\-]){_NAME}=)(?!\[redacted\])[^\s,;]+", re.IGNORECASE)
_IN_URL = re.compile(r"(?<=://)[^/\s:@]+:[^/\s@]+(?=@)")
_COMMITS = ("revision", "commit")  # of a hub repository: forty hexadecimal digits, and no secret
_ADDRESS = re.compile(r"[a-z_]+/[0-9a-f]{64}")  # of an artifact: what stands under `token_shift/gsm8k` is no secret
_SHORTEST = 8  # a shorter value in the environment (`1`, `true`) would redact ordinary words


def redact(value: Any, environment: Mapping[str, str] | None = None) -> Any:
    """`value` (plain dicts, lists and scalars) with every secret replaced by `[redacted]`.

    A string is a secret under a key named like one, when it looks like a known kind of key, or where it holds the value
    of a variable of `environment` that is named like one.
    """
    return _redact(value, secret_values(environment or {}))


def secret_values(environment: Mapping[str, str]) -> tuple[str, ...]:
    """The values of the variables that are named like secrets, longest first."""
    found = {text for name, text in environment.items() if len(text) >= _SHORTEST and _SECRET_NAME.search(name)}
    return tuple(sorted(found, key=lambda text: (-len(text), text)))


def _redact(value: Any, known: tuple[str, ...], name: str = "") -> Any:
    if isinstance(value, Mapping):
        return {
            _text(str(key), known): HIDDEN if _is_secret(str(key), part) else _redact(part, known, str(key))
            for key, part in value.items()
        }
    if isinstance(value, list | tuple):
        return type(value)(_redact(part, known, name) for part in value)
    if isinstance(value, str):
        return value if name.rpartition(".")[2] in _COMMITS else _text(value, known)
    return value


def _is_secret(name: str, value: Any) -> bool:
    if not isinstance(value, str) or value == "" or _ADDRESS.fullmatch(value):
        return False
    return _SECRET_NAME.search(name) is not None


def _text(text: str, known: tuple[str, ...]) -> str:
    for secret in known:
        text = text.replace(secret, HIDDEN)
    text = _LOOKS_SECRET.sub(HIDDEN, _IN_URL.sub(HIDDEN, text))
    return _ASSIGNED.sub(rf"\1{HIDDEN}", text)
