"""The embedded model's own small vocabulary, in the layout of the released tokenizer.

Ids 0 to 3 are `<s> <pad> </s> <unk>` (the network needs padding at 1), then the pieces, `<mask>`,
the eleven tags and the 1,024 locations. A word of the scenes is one piece; any other is spelled.
Nouns that are held back have their pieces too, as a larger vocabulary would.
"""

from __future__ import annotations

import string

from kosmos2.scenes.colours import COLOURS
from kosmos2.scenes.sentences import NUMBERS, RELATIONS
from kosmos2.scenes.stickers import NOUNS, plural
from kosmos2.tokenizer import Tokenizer

SPACE = "▁"
_WORDS = """a an and the An The It is in image of shows Describe this detail Question Answer What
How many are there Is yes color colour large small largest smallest one"""
_WORD_SCORE, _LETTER_SCORE = -5.0, -12.0  # a whole word always beats its letters


def pieces() -> list[tuple[str, float]]:
    """Every piece with its score, in id order after the four specials."""
    words = {*_WORDS.split(), *NUMBERS, *COLOURS, *" ".join(RELATIONS).split()}
    words |= {form for noun in NOUNS for form in (noun, plural(noun))}
    letters = string.ascii_letters + string.digits + string.punctuation
    scored = [(SPACE, _LETTER_SCORE)]
    scored += [(SPACE + word, _WORD_SCORE) for word in sorted(words)]
    scored += [(letter, _LETTER_SCORE) for letter in letters]
    return scored


def build() -> Tokenizer:
    """The tokenizer itself."""
    return Tokenizer.from_pieces(pieces())
