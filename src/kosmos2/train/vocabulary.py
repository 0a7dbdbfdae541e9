"""The embedded model's own small vocabulary, in the layout of the released tokenizer.

Ids 0 to 3 are `<s> <pad> </s> <unk>` (the network needs padding at 1), then the pieces, `<mask>`,
the eleven tags and the 1,024 locations. A word of the scenes is one piece; any other is spelled.
"""

from __future__ import annotations

import string
from pathlib import Path

import tokenizers
from tokenizers import AddedToken, decoders, models, normalizers, pre_tokenizers

from kosmos2.geometry import CELLS
from kosmos2.markup import TAGS, cell_tag
from kosmos2.scenes.sentences import NUMBERS, RELATIONS
from kosmos2.scenes.stickers import NOUNS, plural

SPECIALS = ("<s>", "<pad>", "</s>", "<unk>")
SPACE = "▁"
_WORDS = """a an and the An The It is in image of shows Describe this detail Question Answer What
How many are there Is yes"""
_WORD_SCORE, _LETTER_SCORE = -5.0, -12.0  # a whole word always beats its letters


def pieces() -> list[tuple[str, float]]:
    """Every piece with its score, in id order after the four specials."""
    words = {*_WORDS.split(), *NUMBERS, *" ".join(RELATIONS).split()}
    words |= {form for noun in NOUNS for form in (noun, plural(noun))}
    letters = string.ascii_letters + string.digits + string.punctuation
    scored = [(SPACE, _LETTER_SCORE)]
    scored += [(SPACE + word, _WORD_SCORE) for word in sorted(words)]
    scored += [(letter, _LETTER_SCORE) for letter in letters]
    return scored


def build() -> tokenizers.Tokenizer:
    """The tokenizer itself."""
    vocabulary = [(special, 0.0) for special in SPECIALS] + pieces() + [("<mask>", 0.0)]
    built = tokenizers.Tokenizer(models.Unigram(vocabulary, unk_id=SPECIALS.index("<unk>")))
    built.normalizer = normalizers.Sequence([normalizers.Nmt(), normalizers.NFKC()])
    built.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.WhitespaceSplit(),
            pre_tokenizers.Metaspace(replacement=SPACE, prepend_scheme="always"),
        ]
    )
    built.decoder = decoders.Metaspace(replacement=SPACE, prepend_scheme="always")
    built.add_special_tokens([AddedToken(s, special=True, normalized=False) for s in SPECIALS])
    built.add_special_tokens([AddedToken("<mask>", lstrip=True, special=True, normalized=False)])
    tags = [*TAGS, *(cell_tag(cell) for cell in range(CELLS))]
    built.add_tokens([AddedToken(t, lstrip=True, special=False, normalized=False) for t in tags])
    return built


def save(folder: Path) -> None:
    """Write `tokenizer.json` into a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    build().save(str(folder / "tokenizer.json"))
