from __future__ import annotations

import pytest

from sdft_exp.shift.words import STYLE, first_tokens, is_style, words


def test_words_of_hand() -> None:
    said = "I can’t say: state-of-the-art GPT-4's 3 o'clock _snake_case_ won't ... 'quoted' été."
    assert words(said) == [
        *("i", "can't", "say", "state-of-the-art", "gpt-4's", "3", "o'clock", "snake", "case", "won't", "quoted", "été")
    ]
    assert words(" .\n!") == []


def test_a_words_first_token_is_the_piece_that_its_first_character_is_in() -> None:
    pieces = ["He", "llo", ",", " wor", "", "ld", " a b", "\n", "", "end"]
    assert first_tokens(pieces) == [(0, "hello"), (3, "world"), (6, "a"), (6, "b"), (9, "end")]
    assert first_tokens([]) == [] and first_tokens(["", "..."]) == []


@pytest.mark.parametrize("word", ["the", "however", "sorry", "isn't", "we're", "that's", "i'm", "they'd", "cannot"])
def test_style_words(word: str) -> None:
    assert is_style(word)


@pytest.mark.parametrize("word", ["cat", "cat's", "12", "paris", "n't", "fermentation", "été"])
def test_content_words(word: str) -> None:
    assert not is_style(word)


def test_the_list_holds_words_as_they_are_compared() -> None:
    assert all(words(word) == [word] for word in STYLE)
