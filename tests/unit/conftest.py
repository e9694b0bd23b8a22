"""A random tiny Llama with a byte-level tokenizer, a random tiny encoder of sentences, and signals that stop."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from sdft_exp import stopping
from sdft_exp.models.identity import ModelRef

TEXTS = (
    "the cat sat on a mat and ate 12 fish. ### Instruction: Response: Below is an instruction that describes a task."
)
ENCODED = "the cat sat on a mat and ate fish i can not help with that sorry sure here is how to do it"


def write_tokenizer(folder: Path) -> int:
    """Byte-level BPE with <pad>, <s>, </s> as 0, 1, 2; returns its size."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.train_from_iterator(
        [TEXTS],
        trainers.BpeTrainer(
            vocab_size=320,
            special_tokens=["<pad>", "<s>", "</s>"],
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
            show_progress=False,
        ),
    )
    tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    tokenizer.save(str(folder / "tokenizer.json"))
    settings = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": "<s>",
        "eos_token": "</s>",
        "pad_token": "<pad>",
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    return tokenizer.get_vocab_size()


def write_llama(folder: Path, **changes: object) -> None:
    """A Llama with random weights, large enough that its texts are not all alike."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    settings: dict[str, object] = {
        "vocab_size": write_tokenizer(folder),
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 256,
        "initializer_range": 0.4,
        "pad_token_id": 0,
        "bos_token_id": 1,
        "eos_token_id": 2,
        "tie_word_embeddings": False,
    }
    LlamaForCausalLM(LlamaConfig(**(settings | changes))).save_pretrained(folder)


@pytest.fixture(scope="session")
def tiny_tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the tokenizer alone; no torch is imported."""
    folder = tmp_path_factory.mktemp("tiny_tokenizer")
    write_tokenizer(folder)
    return folder


@pytest.fixture(scope="session")
def tiny_llama(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a random tiny Llama with a context of 256 tokens."""
    folder = tmp_path_factory.mktemp("tiny_llama")
    write_llama(folder)
    return folder


@pytest.fixture(scope="session")
def tiny_wide_llama(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same with a context of 1,024 tokens, in which the paper's prompts fit."""
    folder = tmp_path_factory.mktemp("tiny_wide_llama")
    write_llama(folder, max_position_embeddings=1024)
    return folder


@pytest.fixture(scope="session")
def tiny_encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Its folder: a BERT with a vocabulary of words, which reads 16 tokens and gives vectors of 8."""
    import torch
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.models import Pooling, Transformer
    from transformers import BertConfig, BertModel, BertTokenizer

    source, folder = tmp_path_factory.mktemp("bert"), tmp_path_factory.mktemp("tiny_encoder")
    vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *dict.fromkeys(ENCODED.split()), ".", "!"]
    (source / "vocab.txt").write_text("\n".join(vocabulary) + "\n", encoding="utf-8")
    BertTokenizer(vocab={word: place for place, word in enumerate(vocabulary)}).save_pretrained(source)
    torch.manual_seed(0)
    BertModel(
        BertConfig(
            vocab_size=len(vocabulary),
            hidden_size=8,
            num_hidden_layers=2,
            num_attention_heads=2,
            intermediate_size=16,
            max_position_embeddings=32,
            initializer_range=0.5,
        )
    ).save_pretrained(source)
    transformer = Transformer(str(source), max_seq_length=16)
    model = SentenceTransformer(modules=[transformer, Pooling(8, "mean")], device="cpu")
    model.save(str(folder), create_model_card=False)
    return folder


def _ref(folder: Path) -> ModelRef:
    return ModelRef(
        digest=folder.name,
        prompt_format="alpaca",
        dtype="float32",
        path=str(folder),
        revision=None,
        trust_remote_code=False,
        device="cpu",
        threads=1,
    )


@pytest.fixture
def tiny_ref(tiny_llama: Path) -> ModelRef:
    """`tiny_llama` as stages know it."""
    return _ref(tiny_llama)


@pytest.fixture
def tiny_wide_ref(tiny_wide_llama: Path) -> ModelRef:
    """`tiny_wide_llama` as stages know it."""
    return _ref(tiny_wide_llama)


@pytest.fixture
def listening() -> Iterator[None]:
    """This process can be asked to stop, until the test is over."""
    before = {number: signal.getsignal(number) for number in stopping.SIGNALS}
    stopping.listen()
    yield
    stopping.listen()  # forgets that it was asked
    for number, handler in before.items():
        signal.signal(number, handler)
