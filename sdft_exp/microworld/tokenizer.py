"""The miniature's tokenizer: byte-level BPE with full byte fallback, so any text survives encoding and decoding.

Numbers are cut into groups of one or two digits (one token for each number below 100), and each fixed string of the
prompt templates is a token of its own, which keeps prompts short at no loss.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from typing import TYPE_CHECKING

from sdft_exp.data.templates import ALPACA_SYSTEM, TEMPLATES, conversation

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

# The `alpaca` prompt format of data/templates.py as a Jinja chat template; a test compares the two.
CHAT_TEMPLATE = (
    "{{- bos_token -}}"
    "{%- if messages[0]['role'] == 'system' -%}"
    "{{- messages[0]['content'] -}}{%- set turns = messages[1:] -%}"
    "{%- else -%}"
    "{{- " + repr(ALPACA_SYSTEM) + " -}}{%- set turns = messages -%}"
    "{%- endif -%}"
    "{%- for message in turns -%}"
    "{%- if message['role'] == 'user' -%}"
    "{{- '\\n\\n### Instruction:\\n' + message['content'] + '\\n\\n### Response:\\n' -}}"
    "{%- else -%}"
    "{{- message['content'] + eos_token -}}"
    "{%- endif -%}"
    "{%- endfor -%}"
)


# The templates of the prompts that the seed LM is trained on.
TRAINED_ON = ("alpaca", "alpaca_distill_using", "alpaca_distill_refer", "gsm8k", "gsm8k_infer", "gsm8k_distill")
# Often enough that each number below 100 becomes a token whatever the texts hold.
NUMBER_REPEATS = 500


def template_strings() -> list[str]:
    """The fixed strings of all prompts the seed LM is trained on, each of which becomes one token."""
    marks = ("\0instruction\0", "\0reference\0")
    strings = {"\n\n### Instruction:\n"}
    for name in TRAINED_ON:
        template = TEMPLATES[name]
        prompt = conversation(name, "alpaca", marks[0], reference=marks[1])[-1].prompt
        for mark in marks:
            prompt = prompt.replace(mark, "\0")
        # The math rewriting prompt parts question and reference by a blank line, which stays ordinary text.
        pieces = [piece for piece in prompt.split("\0") if piece.strip()]
        for piece in pieces:
            if template.prefix and piece.endswith(template.prefix):
                strings |= {piece.removesuffix(template.prefix), template.prefix}
            else:
                strings.add(piece)
    return sorted(strings)


def build_tokenizer(texts: Iterable[str], vocabulary: int) -> PreTrainedTokenizerFast:
    """Train the tokenizer on `texts`; `vocabulary` counts special and byte tokens but not the template strings."""
    numbers = " ".join(str(number) for number in range(100))
    from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, processors, trainers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Split(Regex(r"\d{1,2}"), "isolated"), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=["<pad>", "<s>", "</s>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(itertools.chain(itertools.repeat(numbers, NUMBER_REPEATS), texts), trainer)
    tokenizer.add_tokens([AddedToken(text, normalized=False, special=False) for text in template_strings()])
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A", pair="<s> $A $B", special_tokens=[("<s>", tokenizer.token_to_id("<s>"))]
    )
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="<pad>",
        bos_token="<s>",
        eos_token="</s>",
        clean_up_tokenization_spaces=False,
        model_max_length=2048,
        padding_side="left",
    )
    fast.chat_template = CHAT_TEMPLATE
    return fast
