"""Texts to token ids: prompts for generation, and examples with the loss on the answers alone.

On the `tokenizers` library alone, so that the planner can count tokens without importing torch. Pieces are encoded one
by one (prompt, answer, next prompt, ...), as LLaMA-Factory did for the authors, so that what is generated from and what
is trained on begin with the very same ids.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sdft_exp.data.chat_template import render_pairs
from sdft_exp.data.templates import FORMATS, TEMPLATES, conversation, end_text, fill
from sdft_exp.data.tokenizer_files import TokenizerFiles, read_tokenizer, tokenizer_folder
from sdft_exp.errors import ConfigError, DataError

IGNORED = -100  # torch's cross entropy leaves these labels out
# A model without a chat template is asked in this format.
DEFAULT_FORMAT = "alpaca"
History = Sequence[Sequence[str]]


@dataclass(frozen=True)
class Example:
    """One row as it is trained on. `labels` has the length of `input_ids` and is -100 off the answers."""

    input_ids: list[int]
    labels: list[int]
    truncated: bool

    @property
    def supervised(self) -> int:
        """How many tokens carry loss."""
        return sum(label != IGNORED for label in self.labels)


@dataclass(frozen=True)
class _Pair:
    """A user turn as fed and the answer to it; `literal` texts hold no special tokens, whatever they look like."""

    prompt: str
    answer: str
    literal: bool  # of the prompt
    answer_literal: bool


class Encoder:
    """The tokenizer of one model and the tokens that begin, end and pad its texts.

    Attributes:
        bos_id: the token that the tokenizer puts first, or None if it puts none.
        eos_ids: every token that ends an answer, those of FORMATS that the tokenizer has included; its own first.
        pad_id: for padding only; the end token where the tokenizer names none.
        chat_template: Jinja source, or None.
    """

    def __init__(self, files: TokenizerFiles):
        files.tokenizer.no_padding()
        files.tokenizer.no_truncation()
        self._tokenizer = files.tokenizer
        self._special = files.special
        formats = [files.tokenizer.token_to_id(frame.end) for frame in FORMATS.values() if frame.end]
        self.eos_ids = list(dict.fromkeys([*files.eos_ids, *(end for end in formats if end is not None)]))
        self.pad_id = self.eos_ids[0] if files.pad_id is None else files.pad_id
        self.bos_id = files.tokenizer.token_to_id(files.special["bos_token"]) if files.adds_bos else None
        self.chat_template = files.chat_template

    @classmethod
    def from_folder(cls, folder: str | Path) -> Encoder:
        """The encoder of a model's folder: see `read_tokenizer`, also for what it raises."""
        return cls(read_tokenizer(Path(folder)))

    def prompt(
        self,
        template: str,
        prompt_format: str,
        instruction: str,
        history: History = (),
        reference: str = "",
    ) -> list[int]:
        """The ids that the model is to continue: one BOS if the tokenizer puts one, no end after the last turn."""
        pairs = self._pairs(template, prompt_format, instruction, history, reference, None)
        ids = self._encode_pairs([pairs], self._end_id(template, prompt_format))[0]
        return [token for prompt, answer in ids[:-1] for token in (*prompt, *answer)] + ids[-1][0]

    def example(self, template: str, prompt_format: str, row: Mapping[str, Any], cutoff: int) -> Example:
        """One row ("instruction", "history", "response") as it is trained on: see `examples`."""
        return self.examples(template, prompt_format, [row], cutoff)[0]

    def examples(
        self, template: str, prompt_format: str, rows: Sequence[Mapping[str, Any]], cutoff: int
    ) -> list[Example]:
        """Rows as they are trained on, in their order, encoded in one batch.

        Every turn's answer and its end token carry loss, as in LLaMA-Factory; prompts do not. Rows of more than
        `cutoff` tokens are cut by LLaMA-Factory's rule: see `_fit`.
        """
        pairs = [
            self._pairs(template, prompt_format, row["instruction"], row.get("history") or (), "", row["response"])
            for row in rows
        ]
        encoded = self._encode_pairs(pairs, self._end_id(template, prompt_format))
        return [_assemble(row, cutoff) for row in encoded]

    def check(self, example: Example, name: str) -> None:
        """What must hold before step 0, for the sample called `name`.

        Raises:
            DataError: a doubled BOS, no supervised token, or no end token at the end. A truncated answer has lost its
                end; it is not taught one, since it would learn to stop in the middle of a sentence.
        """
        ids, labels = example.input_ids, example.labels
        if self.bos_id is not None and self.bos_id not in self.eos_ids and ids[:2] == [self.bos_id] * 2:
            raise DataError(f"{name}: begins with two BOS tokens; set model.prompt_format to a format that adds none")
        if not example.supervised:
            raise DataError(f"{name}: no token carries loss; raise dataset.cutoff, or take the row out")
        if not example.truncated and labels[-1] not in self.eos_ids:
            raise DataError(
                f"{name}: does not end with an end token; set model.prompt_format to the model's own format"
            )

    def decode(self, ids: Sequence[int]) -> str:
        """The text of `ids` without special tokens."""
        return str(self._tokenizer.decode(list(ids), skip_special_tokens=True))

    def text(self, ids: Sequence[int]) -> str:
        """The text of `ids` with special tokens, for showing them."""
        return str(self._tokenizer.decode(list(ids), skip_special_tokens=False))

    def reads(self, text: str) -> list[int]:
        """The ids of `text` as a server or a library of others' reads it: one BOS if there is one, special tokens
        recognised wherever they stand."""
        self._tokenizer.encode_special_tokens = False
        ids = list(self._tokenizer.encode(text).ids)
        return ids if self.bos_id is None or ids[:1] == [self.bos_id] else [self.bos_id, *ids]

    def _pairs(
        self,
        template: str,
        prompt_format: str,
        instruction: str,
        history: History,
        reference: str,
        response: str | None,
    ) -> list[_Pair]:
        plain = TEMPLATES[template].form == "plain"
        if prompt_format == "auto" and not plain and self.chat_template is not None:
            words = TEMPLATES[template]
            told: list[tuple[str, str, str | None]] = [(str(asked), str(said), str(said)) for asked, said in history]
            rendered = render_pairs(
                self.chat_template,
                self._special,
                system=words.system,
                turns=[
                    (fill(words.user, instruction=question, reference=shown), answer)
                    for question, shown, answer in [*told, (instruction, reference, response)]
                ],
                prefix=fill(words.prefix, instruction=instruction, reference=reference),
                ends=[str(self._tokenizer.id_to_token(end)) for end in self.eos_ids],
            )
            return [_Pair(prompt, answer, literal=False, answer_literal=False) for prompt, answer in rendered]
        named = DEFAULT_FORMAT if prompt_format == "auto" else prompt_format
        turns = conversation(
            template,
            named,
            instruction,
            reference=reference,
            history=tuple((str(question), str(answer)) for question, answer in history),
        )
        # A `<s>` in somebody's HTML is text; only frames with special tokens of their own must be read as such.
        literal = plain or not FORMATS[named].end
        return [_Pair(turn.prompt, turn.answer or response or "", literal, answer_literal=True) for turn in turns]

    def _end_id(self, template: str, prompt_format: str) -> int:
        if prompt_format == "auto":
            return self.eos_ids[0]
        text = end_text(template, prompt_format)
        if not text:
            return self.eos_ids[0]
        end = self._tokenizer.token_to_id(text)
        if end is None:
            raise ConfigError(f"model.prompt_format={prompt_format}: this model's tokenizer has no token {text}")
        return int(end)

    def _encode_pairs(self, rows: Sequence[Sequence[_Pair]], end: int) -> list[list[tuple[list[int], list[int]]]]:
        """(prompt ids, answer ids with their end token) of every turn of every row; the first prompt has the BOS."""
        flat = [pair for row in rows for pair in row]
        prompts = self._ids([(pair.prompt, pair.literal) for pair in flat])
        answers = self._ids([(pair.answer, pair.answer_literal) for pair in flat])
        self._continue(flat, prompts, answers)
        encoded = iter(zip(flat, prompts, answers, strict=True))
        result = []
        for row in rows:
            turns: list[tuple[list[int], list[int]]] = []
            for _ in row:
                pair, prompt, answer = next(encoded)
                rendered = not pair.answer_literal  # by the chat template: BOS and end token are in the text
                first = [self.bos_id] if not turns and self.bos_id is not None and not rendered else []
                ended = rendered and answer and answer[-1] in self.eos_ids
                turns.append((first + prompt, answer if ended else [*answer, end]))
            result.append(turns)
        return result

    def _continue(self, flat: Sequence[_Pair], prompts: Sequence[list[int]], answers: list[list[int]]) -> None:
        """Give answers that a chat template wrote the ids that they have behind their prompt.

        Such an answer brings its own space ("[/INST] two"), to which a sentencepiece tokenizer would add its dummy
        prefix if it were encoded alone, and no model writes both. Where a token reaches across the seam the answer
        stays encoded alone: what is trained on begins with what is generated from.
        """
        places = [place for place, pair in enumerate(flat) if pair.answer and not pair.answer_literal]
        wholes = self._ids([(flat[place].prompt + flat[place].answer, False) for place in places])
        for place, whole in zip(places, wholes, strict=True):
            length = len(prompts[place])
            if whole[:length] == prompts[place]:
                answers[place] = whole[length:]

    def _ids(self, texts: Sequence[tuple[str, bool]]) -> list[list[int]]:
        result: list[list[int]] = [[]] * len(texts)
        for literal in (True, False):
            places = [place for place, text in enumerate(texts) if text[1] is literal]
            self._tokenizer.encode_special_tokens = literal
            batch = self._tokenizer.encode_batch_fast([texts[place][0] for place in places], add_special_tokens=False)
            for place, encoding in zip(places, batch, strict=True):
                result[place] = list(encoding.ids)
        return result


def _assemble(turns: Sequence[tuple[list[int], list[int]]], cutoff: int) -> Example:
    whole = sum(len(prompt) + len(answer) for prompt, answer in turns)
    ids: list[int] = []
    labels: list[int] = []
    for prompt, answer in turns:
        if len(ids) >= cutoff:
            break
        prompt, answer = _fit(prompt, answer, cutoff - len(ids))
        ids += prompt + answer
        labels += [IGNORED] * len(prompt) + answer
    return Example(ids, labels, truncated=len(ids) < whole)


def _fit(prompt: list[int], answer: list[int], room: int) -> tuple[list[int], list[int]]:
    """LLaMA-Factory's `infer_max_len` (commit 162ce42): both are cut on the right, in proportion to their lengths, and
    one token of the answer stays at least. Turns that begin beyond the cutoff are dropped by the caller."""
    for_answer = max(room * len(answer) // (len(prompt) + len(answer)), 1)
    return prompt[: room - for_answer], answer[:for_answer]


@functools.lru_cache(maxsize=4)
def load_encoder(path: str, revision: str | None = None, *, download: bool = True) -> Encoder:
    """The encoder of a model (see `tokenizer_folder`), kept for the process."""
    return Encoder.from_folder(tokenizer_folder(path, revision, download=download))
