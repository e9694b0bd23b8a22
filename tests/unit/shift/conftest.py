"""A random tiny encoder of sentence-transformers."""

from __future__ import annotations

from pathlib import Path

import pytest

WORDS = "the cat sat on a mat and ate fish i can not help with that sorry sure here is how to do it"


@pytest.fixture(scope="session")
def tiny_encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Its folder: a BERT with a vocabulary of words, which reads 16 tokens and gives vectors of 8."""
    import torch
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.models import Pooling, Transformer
    from transformers import BertConfig, BertModel, BertTokenizer

    source, folder = tmp_path_factory.mktemp("bert"), tmp_path_factory.mktemp("tiny_encoder")
    vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *dict.fromkeys(WORDS.split()), ".", "!"]
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
