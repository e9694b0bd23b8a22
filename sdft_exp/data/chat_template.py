"""A tokenizer's own chat template, rendered as `transformers` renders it: Jinja in a sandbox.

One difference, on purpose: `strftime_now` is not defined, so that a prompt never depends on the day (templates that
print the date test for it and fall back to a fixed one).
"""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping, Sequence
from typing import Any, NoReturn

import jinja2
import jinja2.ext
import jinja2.nodes
import jinja2.parser
import jinja2.sandbox

from sdft_exp.errors import ConfigError

# Stands for an answer that is to be written, so that templates which strip answers leave the prefix's last space.
_UNWRITTEN = "\ue000"


class _GenerationBlock(jinja2.ext.Extension):
    """`{% generation %}` marks the assistant's words for transformers; what it encloses is all that matters here."""

    tags = {"generation"}  # noqa: RUF012 - Jinja reads the class attribute

    def parse(self, parser: jinja2.parser.Parser) -> list[jinja2.nodes.Node]:
        next(parser.stream)
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)


def _raise_exception(message: str) -> NoReturn:
    raise jinja2.TemplateError(message)


def _tojson(value: Any, indent: int | None = None, **_: Any) -> str:
    return json.dumps(value, ensure_ascii=False, indent=indent)  # Jinja's own escapes HTML


@functools.lru_cache(maxsize=8)
def _compile(source: str) -> jinja2.Template:
    environment = jinja2.sandbox.ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[_GenerationBlock, jinja2.ext.loopcontrols]
    )
    environment.filters["tojson"] = _tojson
    environment.globals["raise_exception"] = _raise_exception
    try:
        return environment.from_string(source)
    except jinja2.TemplateError as error:
        raise ConfigError(f"model.prompt_format=auto: the chat template is broken ({error}); name a format") from None


def render(source: str, special: Mapping[str, str], messages: Sequence[Mapping[str, str]], opens: bool) -> str:
    """The text of `messages`; with `opens`, up to where the assistant is to begin.

    A template that knows no system role gets the system's words in front of the first user turn.

    Raises:
        ConfigError: the template refuses these messages.
    """
    try:
        return _render(source, special, messages, opens)
    except jinja2.TemplateError as error:
        if messages[0]["role"] == "system":
            first = {"role": "user", "content": f"{messages[0]['content']}\n\n{messages[1]['content']}"}
            return render(source, special, [first, *messages[2:]], opens)
        raise ConfigError(f"model.prompt_format=auto: the chat template refuses: {error}; name a format") from None


def _render(source: str, special: Mapping[str, str], messages: Sequence[Mapping[str, str]], opens: bool) -> str:
    return _compile(source).render(messages=list(messages), add_generation_prompt=opens, **special)


def render_pairs(
    source: str,
    special: Mapping[str, str],
    *,
    system: str,
    turns: Sequence[tuple[str, str | None]],
    prefix: str,
    ends: Sequence[str],
) -> list[tuple[str, str]]:
    """(prompt text, answer text with its end token) of every turn; joined they are the rendered conversation.

    Args:
        system: "" for none.
        turns: (question, answer) pairs; None stands for the answer that is to be written, which is made to begin with
            `prefix`.
        ends: the texts of the tokens that can end an answer; what the template writes after one belongs to the next
            prompt.

    Raises:
        ConfigError: the template writes earlier turns anew when a turn is added, so that answers cannot be found.
    """
    messages: list[dict[str, str]] = [{"role": "system", "content": system}] if system else []
    pairs = []
    done = ""
    for question, answer in turns:
        messages.append({"role": "user", "content": question})
        opened = render(source, special, messages, opens=True)
        messages.append({"role": "assistant", "content": prefix + _UNWRITTEN if answer is None else answer})
        closed = render(source, special, messages, opens=False)
        if not (opened.startswith(done) and closed.startswith(opened)):
            raise ConfigError(
                "model.prompt_format=auto: this chat template rewrites earlier turns, so answers cannot be told from "
                "prompts; name a format, or write one (sdft_exp/data/templates.py)"
            )
        prompt, reply = opened[len(done) :], closed[len(opened) :]
        if answer is None:
            pairs.append((prompt + reply.partition(_UNWRITTEN)[0] if prefix else prompt, ""))
            break
        last = max((reply.rfind(end) + len(end) for end in ends if end in reply), default=len(reply))
        done = opened + reply[:last]
        pairs.append((prompt, reply[:last]))
    return pairs
