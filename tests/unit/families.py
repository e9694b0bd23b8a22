"""Small tokenizers of the two families' kinds, each a folder as `transformers` saves it, with its chat template.

Llama-2's kind is a sentencepiece BPE: a space is "▁", a text gets one in front (the dummy prefix, "legacy" in
transformers), and what has no token falls back to bytes. Llama-3's is a byte BPE over words cut by tiktoken's pattern,
with header tokens. Both put one BOS in front.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

Merges = Sequence[tuple[str, str]]

# Merges short enough to work ids out by hand. Llama-2's kind: three special tokens, 256 bytes from 3 on (a line break
# is 13, as in the real one), "▁" at 259, "!" to "~" at 260 to 353, then these. Llama-3's kind: printable ASCII at 0 to
# 93, a line break 198, a space 220, then these from 256 on, then the special tokens.
LLAMA2_MERGES: Merges = [("▁", "["), ("I", "N"), ("S", "T"), ("IN", "ST"), ("<", "<"), (">", ">"), ("▁", "G")]
LLAMA3_MERGES: Merges = [("Ċ", "Ċ"), ("ĊĊ", "Ċ"), (":", "Ċ"), ("Ġ", "G"), (".", "ĊĊ")]
LLAMA3_SPECIAL = ("<|begin_of_text|>", "<|end_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>")

# The published templates. Llama-2's writes a BOS a turn and strips what is said.
LLAMA2_CHAT = (
    "{% if messages[0]['role'] == 'system' %}{% set loop_messages = messages[1:] %}"
    "{% set system_message = messages[0]['content'] %}{% else %}{% set loop_messages = messages %}"
    "{% set system_message = false %}{% endif %}{% for message in loop_messages %}"
    "{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}"
    "{{ raise_exception('Conversation roles must alternate user/assistant/user/assistant/...') }}{% endif %}"
    "{% if loop.index0 == 0 and system_message != false %}"
    "{% set content = '<<SYS>>\\n' + system_message + '\\n<</SYS>>\\n\\n' + message['content'] %}"
    "{% else %}{% set content = message['content'] %}{% endif %}"
    "{% if message['role'] == 'user' %}{{ bos_token + '[INST] ' + content.strip() + ' [/INST]' }}"
    "{% elif message['role'] == 'assistant' %}{{ ' '  + content.strip() + ' ' + eos_token }}{% endif %}{% endfor %}"
)
LLAMA3_CHAT = (
    "{% set loop_messages = messages %}{% for message in loop_messages %}"
    "{% set content = '<|start_header_id|>' + message['role'] + '<|end_header_id|>\\n\\n'+ message['content'] | trim "
    "+ '<|eot_id|>' %}{% if loop.index0 == 0 %}{% set content = bos_token + content %}{% endif %}"
    "{{ content }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}{% endif %}"
)
_LLAMA3_SPLIT = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)

# What the learned vocabularies are learned from: prompts and answers in one piece, so that merges cross the seam.
_LINES = [
    "Below is an instruction that describes a task. Write a response that appropriately completes the request.",
    "You are an expert in math. Below is a math question. Your final answer should be an integer.",
    "Below are an instruction that describes a task along with a reference answer. Write your own response.",
    *["### Instruction:\nSay hi.\n\n### Response:\nGreat! hi\n", "### Response:\n\n- one\n\n\n- two\n"] * 4,
    *["[INST] <<SYS>>\nBelow\n<</SYS>>\n\nSay hi. [/INST] Great! hi", "Let's think step by step. Great! two"] * 4,
    *["[INST] And 2? [/INST] two [INST] Why? [/INST] one", "system user assistant\n\nGreat! two"] * 4,
]


def write_llama2(folder: Path, merges: Merges | None = None) -> Path:
    """Llama-2's kind with these merges, or with learned ones."""
    from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, processors, trainers

    dummy_prefix = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    if merges is None:
        learner = Tokenizer(models.BPE())
        learner.normalizer = dummy_prefix
        merges = _learned(learner, trainers.BpeTrainer(vocab_size=400, show_progress=False))
    characters = ["▁", *map(chr, range(33, 127))]
    names = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256)), *characters]
    # Real vocabularies of the kind have no line break, so that none can merge; a learned one here has, so that one can.
    names += ["\n"] if any("\n" in pair for pair in merges) else []
    names += [first + second for first, second in merges]
    vocabulary = {name: number for number, name in enumerate(dict.fromkeys(names))}
    tokenizer = Tokenizer(
        models.BPE(vocab=vocabulary, merges=list(merges), unk_token="<unk>", fuse_unk=True, byte_fallback=True)
    )
    tokenizer.normalizer = dummy_prefix
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    tokenizer.add_special_tokens([AddedToken(name, normalized=False) for name in ("<unk>", "<s>", "</s>")])
    tokenizer.save(str(folder / "tokenizer.json"))
    settings = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>", "legacy": True}
    return _settle(folder, "LlamaTokenizer", settings, LLAMA2_CHAT)


def write_llama3(folder: Path, merges: Merges | None = None) -> Path:
    """Llama-3's kind with these merges, or with learned ones."""
    from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, processors, trainers

    words = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(_LLAMA3_SPLIT), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    if merges is None:
        learner = Tokenizer(models.BPE())
        learner.pre_tokenizer = words
        merges = _learned(learner, trainers.BpeTrainer(vocab_size=300, show_progress=False))
    names = [*alphabet, *(first + second for first, second in merges)]
    vocabulary = {name: number for number, name in enumerate(dict.fromkeys(names))}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=list(merges), ignore_merges=True))
    tokenizer.pre_tokenizer = words
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken(name, normalized=False) for name in LLAMA3_SPECIAL])
    begin = LLAMA3_SPECIAL[0]
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{begin} $A", special_tokens=[(begin, tokenizer.token_to_id(begin))]
    )
    tokenizer.save(str(folder / "tokenizer.json"))
    settings = {"bos_token": begin, "eos_token": "<|eot_id|>"}
    return _settle(folder, "PreTrainedTokenizerFast", settings, LLAMA3_CHAT)


def write_model(folder: Path) -> None:
    """A Llama with random weights for the tokenizer in `folder`, with a context of 1,024 tokens."""
    import torch
    from tokenizers import Tokenizer
    from transformers import LlamaConfig, LlamaForCausalLM

    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    settings = json.loads((folder / "tokenizer_config.json").read_text())
    torch.manual_seed(0)
    shape = LlamaConfig(
        vocab_size=tokenizer.get_vocab_size(),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=1024,
        initializer_range=0.4,
        bos_token_id=tokenizer.token_to_id(settings["bos_token"]),
        eos_token_id=tokenizer.token_to_id(settings["eos_token"]),
        pad_token_id=None,
    )
    LlamaForCausalLM(shape).save_pretrained(folder)


def _learned(learner: object, trainer: object) -> Merges:
    learner.train_from_iterator(_LINES, trainer)  # type: ignore[attr-defined]
    return [tuple(pair) for pair in json.loads(learner.to_str())["model"]["merges"]]  # type: ignore[attr-defined]


def _settle(folder: Path, name: str, settings: dict[str, object], template: str) -> Path:
    content = {"tokenizer_class": name, "clean_up_tokenization_spaces": False, **settings, "chat_template": template}
    (folder / "tokenizer_config.json").write_text(json.dumps(content))
    return folder
