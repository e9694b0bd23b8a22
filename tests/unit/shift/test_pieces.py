from __future__ import annotations

from pathlib import Path

import pytest

from sdft_exp.data.encode import Encoder
from sdft_exp.shift.pieces import pieces
from tests.unit import families


@pytest.mark.parametrize("write", [families.write_llama2, families.write_llama3])
@pytest.mark.parametrize("text", ["Great! two words", "naïve 東京 🙂 end", "a\n\n- b  c", "- one\n"])
def test_joined_they_are_the_text(tmp_path: Path, write: object, text: str) -> None:
    encoder = Encoder.from_folder(write(tmp_path))  # type: ignore[operator]
    ids = [*encoder.reads(text), encoder.eos_ids[0]]
    found = pieces(encoder, ids)
    assert len(found) == len(ids)
    assert "".join(found) == encoder.text(ids)


def test_of_a_character_of_several_tokens_the_last_has_it(tiny_tokenizer: Path) -> None:
    encoder = Encoder.from_folder(tiny_tokenizer)
    ids = encoder.reads("a é on")[1:]
    assert pieces(encoder, ids) == ["a", " ", "", "é", " on"]
    assert pieces(encoder, ids[:3])[-1] == "\ufffd"  # it ends within one
    assert pieces(encoder, []) == []
