"""Words of a text, and whether one carries style or content. By rule and list: no model of a language has to be had.

A word is a run of letters and digits, apostrophes and hyphens inside it included, whatever its case. The paper counts
n-grams of spaCy's words, which splits contractions and counts marks; its models come from a hub of their own, and
what is counted here needs no parse.

Style words are English: the closed classes of the language (determiners, pronouns, prepositions, conjunctions,
auxiliaries, particles and negations, question words), and the discourse markers and safety disclaimers by which an
answer speaks of itself and to its reader, the kinds that Lin et al., 2023 (arXiv 2312.01552), find shifted most. All
else is content, numbers too.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

_WORD = re.compile(r"[^\W_]+(?:['’\-][^\W_]+)*")
_CONTRACTED = re.compile(r".+(?:n't|'re|'ve|'ll|'d|'m)")

_CLOSED_CLASSES = """
a an the this that these those each every either neither some any no all both half such another other others much many
more most few fewer little less least several enough own same one ones

i me my mine myself we us our ours ourselves you your yours yourself yourselves he him his himself she her hers
herself it its itself they them their theirs themselves someone somebody something anyone anybody anything everyone
everybody everything nobody nothing none

about above across after against along among around as at before behind below beneath beside besides between beyond by
despite down during except for from in inside into like near of off on onto out outside over past per since through
throughout till to toward towards under until up upon via with within without

and but or nor so yet because although though while whereas if unless whether than once when whenever where wherever

am is are was were be been being do does did done doing have has had having can could may might must shall should will
would ought cannot

not never only just also too very quite rather even still already again ever there then thus hence now here

what which who whom whose why how
"""
_DISCOURSE = """
hello hi hey welcome greetings thanks thank please sure certainly absolutely definitely indeed okay ok yes glad happy

however therefore moreover furthermore additionally overall finally firstly secondly thirdly lastly first second third
next instead otherwise meanwhile nevertheless nonetheless accordingly consequently similarly likewise specifically
generally typically usually often sometimes perhaps maybe possibly probably actually basically essentially simply
example examples instance conclusion summary following follows below above

note remember important importantly consider recommend suggest hope helps help assist assistance provide understand
understanding question questions answer ask let know feel further

sorry apologize apologise apologies apology unfortunately unable appropriate inappropriate ethical unethical illegal
harmful ai assistant
"""
STYLE = frozenset(f"{_CLOSED_CLASSES} {_DISCOURSE}".split())


def words(text: str) -> list[str]:
    """Its words, in lower case."""
    return [word for _, word in placed_words(text)]


def placed_words(text: str) -> list[tuple[int, str]]:
    """Its words, each with the place of its first character."""
    return [(found.start(), found[0].casefold().replace("’", "'")) for found in _WORD.finditer(text)]


def is_style(word: str) -> bool:
    """Whether a word, as `words` gives it, carries style; a contraction does."""
    if word in STYLE or _CONTRACTED.fullmatch(word):
        return True
    return word.endswith("'s") and word.removesuffix("'s") in STYLE


def first_tokens(text_pieces: Sequence[str]) -> list[tuple[int, str]]:
    """The words of a text that comes in pieces, each with the number of the piece that its first character is in."""
    found, piece, end = [], -1, 0
    for place, word in placed_words("".join(text_pieces)):
        while place >= end:
            piece += 1
            end += len(text_pieces[piece])
        found.append((piece, word))
    return found
