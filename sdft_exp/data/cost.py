"""How many tokens a data set and its prompts hold, for the plan: counted where rows and tokenizer are here, else
estimated; and whether they fit, where they must."""

from __future__ import annotations

import functools
from dataclasses import dataclass

from sdft_exp.config import RunConfig
from sdft_exp.data.encode import DEFAULT_FORMAT, Encoder, load_encoder
from sdft_exp.data.rows import RowSource, load_rows
from sdft_exp.data.templates import FORMATS, conversation
from sdft_exp.errors import ConfigError, DataError
from sdft_exp.stage import Cost

COUNTED = 2000  # rows; of more, every n-th is counted and the sum scaled, so that planning stays quick
# Characters a Llama-2 token of English: 3.9 to 4.4 in openfunctions, alpaca, dolly and lima, the words of the templates
# 3.6 to 4.1; 2.9 in the digits of gsm8k and the code of humaneval.
CHARACTERS = 3.9
# Llama-3 takes 0.83 to 0.87 of Llama-2's tokens for those six.
LARGE_VOCABULARY, DENSER = 100_000, 0.85
_NO_CUTOFF = 1 << 31


@dataclass(frozen=True)
class Tokens:
    """Tokens of a data set's rows in one form.

    Attributes:
        total: of all rows, uncut.
        cut: of all rows, each cut to dataset.cutoff.
        longest: of one row, cut; where the rows are not here, the cutoff.
        rough: they are estimated.
    """

    total: int
    cut: int
    longest: int
    rough: bool


def row_cost(source: RowSource, config: RunConfig) -> Cost:
    """Rows, and tokens of prompt and response in the training template, uncut; None where nothing tells them.

    Raises:
        DataError: see `load_rows`; with dataset.overlong=error, a row that is longer than the cutoff.
    """
    tokens = row_tokens(source, config)
    samples = len(load_rows(source)) if source.is_local else source.expected
    return Cost(samples) if tokens is None else Cost(samples, tokens.total, rough=tokens.rough)


def row_tokens(source: RowSource, config: RunConfig) -> Tokens | None:
    """Of prompt and response in the training template.

    Raises:
        DataError: see `row_cost`.
    """
    dataset, model = config.dataset, config.model
    encoder = _encoder(model.path, model.revision)
    if encoder is not None and source.is_local:
        limit = dataset.cutoff if dataset.overlong == "error" else None
        return _counted(source, dataset.templates.train, model.prompt_format, encoder, dataset.cutoff, limit)
    return _estimated(source, config, dataset.templates.train)


def prompt_tokens(source: RowSource, config: RunConfig) -> Tokens | None:
    """Of the prompts of distillation, which show the response."""
    model = config.model
    encoder = _encoder(model.path, model.revision)
    if encoder is not None and source.is_local:
        return _counted_prompts(source, config.distill_template, model.prompt_format, encoder)
    return _estimated(source, config, config.distill_template)


def question_tokens(config: RunConfig, template: str | None, tokens: float | None) -> float | None:
    """Of a question of `tokens` tokens on average, in its template; None where nothing tells its length."""
    if tokens is None:
        return None
    words = 0.0 if template is None else _template_tokens(template, config.model.prompt_format)
    return _dense(config) * (tokens + words)


def _encoder(path: str, revision: str | None) -> Encoder | None:
    try:
        return load_encoder(path, revision, download=False)
    except ConfigError:  # a hub model that is not here yet, or one whose own stage will say what is wrong
        return None


def _estimated(source: RowSource, config: RunConfig, template: str) -> Tokens | None:
    """By the rows' characters, or by the data set's recorded mean, and the words of the template."""
    if source.is_local:
        rows = load_rows(source)
        count = len(rows)
        texts = sum(
            len(row["instruction"]) + len(row["response"]) + sum(len(text) for turn in row["history"] for text in turn)
            for row in rows
        )
        mean = texts / count / CHARACTERS
    elif source.expected is None or config.dataset.row_tokens is None:
        return None
    else:
        count, mean = source.expected, config.dataset.row_tokens
    mean = _dense(config) * (mean + _template_tokens(template, config.model.prompt_format))
    cutoff = config.dataset.cutoff
    return Tokens(round(count * mean), round(count * min(mean, cutoff)), cutoff, rough=True)


def _template_tokens(template: str, prompt_format: str) -> float:
    known = prompt_format if prompt_format in FORMATS else DEFAULT_FORMAT
    (turn,) = conversation(template, known, "")
    return len(turn.prompt) / CHARACTERS


def _dense(config: RunConfig) -> float:
    shape = config.model.shape
    return DENSER if shape is not None and shape.vocabulary > LARGE_VOCABULARY else 1.0


@functools.lru_cache(maxsize=16)
def _counted(
    source: RowSource, template: str, prompt_format: str, encoder: Encoder, cutoff: int, limit: int | None
) -> Tokens:
    rows = load_rows(source)
    step = 1 if limit else -(-len(rows) // COUNTED)
    counted = rows[::step]
    examples = encoder.examples(template, prompt_format, counted, _NO_CUTOFF)
    lengths = [len(example.input_ids) for example in examples]
    for row, length in zip(counted, lengths, strict=True):
        if limit is not None and length > limit:
            raise DataError(
                f"{source.place}:{row['line']}: row {row['id']} has {length} tokens, dataset.cutoff={limit}; "
                "raise it, shorten the row, or set dataset.overlong=truncate"
            )
    return _scaled(lengths, len(rows), cutoff)


@functools.lru_cache(maxsize=16)
def _counted_prompts(source: RowSource, template: str, prompt_format: str, encoder: Encoder) -> Tokens:
    rows = load_rows(source)
    counted = rows[:: -(-len(rows) // COUNTED)]
    prompts = [
        encoder.prompt(template, prompt_format, row["instruction"], history=row["history"], reference=row["response"])
        for row in counted
    ]
    return _scaled([len(prompt) for prompt in prompts], len(rows), _NO_CUTOFF)


def _scaled(lengths: list[int], rows: int, cutoff: int) -> Tokens:
    """Of all `rows`, by the lengths of all or some of them."""
    scale = rows / len(lengths)
    cut = [min(length, cutoff) for length in lengths]
    return Tokens(round(sum(lengths) * scale), round(sum(cut) * scale), max(cut), rough=len(lengths) < rows)
