"""A text token by token, for pages and counts."""

from __future__ import annotations

from collections.abc import Sequence

from sdft_exp.data.encode import Encoder

_TORN = "\ufffd"  # the decoder's sign for bytes that are no character yet


def pieces(encoder: Encoder, ids: Sequence[int]) -> list[str]:
    """What each token adds to the text; joined they are the text of all, special tokens included.

    A character that several tokens make up stands with the last of them, and the others are empty.
    """
    found: list[str] = []
    # Decoded behind the piece before it: some tokenizers drop a space at the beginning of what they decode.
    before, begun = 0, 0
    for end in range(1, len(ids) + 1):
        known = encoder.text(ids[before:begun])
        text = encoder.text(ids[before:end])
        if text.endswith(_TORN) and end < len(ids):
            found.append("")
            continue
        found.append(text[len(known) :])
        before, begun = begun, end
    return found
