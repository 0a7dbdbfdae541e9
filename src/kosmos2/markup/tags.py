"""The literal tags, and a scanner that finds them in text that arrives in pieces."""

import re
from typing import NamedTuple

from kosmos2.errors import PromptError
from kosmos2.geometry import CELLS

DOC_END = "</doc>"
IMAGE = "<image>"
IMAGE_END = "</image>"
CHUNK_END = "</chunk>"
LINE_END = "</line>"
PHRASE = "<phrase>"
PHRASE_END = "</phrase>"
OBJECT = "<object>"
OBJECT_END = "</object>"
DELIMITER = "</delimiter_of_multi_objects/>"
GROUNDING = "<grounding>"

# In the order of their ids.
TAGS = (
    DOC_END,
    IMAGE,
    IMAGE_END,
    CHUNK_END,
    LINE_END,
    PHRASE,
    PHRASE_END,
    OBJECT,
    OBJECT_END,
    DELIMITER,
    GROUNDING,
)
SPECIALS = ("<s>", "<pad>", "</s>", "<unk>", "<mask>")
FRAME = frozenset((GROUNDING, "<s>", "</s>", "<pad>"))  # around a text, with nothing to say in it

_LITERALS = (*TAGS, *SPECIALS)
_LOCATION = "<patch_index_"
# Eight digits are far more than any index: the bound keeps what a stream holds back small.
TAG = re.compile("|".join(map(re.escape, _LITERALS)) + f"|{_LOCATION}[0-9]{{1,8}}>")

_LONGEST = max(map(len, _LITERALS))
_BEGUN = frozenset(tag[:length] for tag in _LITERALS for length in range(1, len(tag)))
_LOCATION_BEGUN = re.compile(f"{_LOCATION}[0-9]{{0,8}}")


def cell_tag(cell: int) -> str:
    """The location tag of a cell: `<patch_index_0044>` is cell 44."""
    if not 0 <= cell < CELLS:
        raise PromptError(f"no cell {cell}; cells go from 0 to {CELLS - 1}")
    return f"{_LOCATION}{cell:04d}>"


def location(tag: str) -> int | None:
    """The number in a location tag, which need not be a cell; None for any other tag."""
    return int(tag[len(_LOCATION) : -1]) if tag.startswith(_LOCATION) else None


class Lexeme(NamedTuple):
    """A tag, or the words between two tags."""

    at: int  # characters of markup before it
    text: str
    is_tag: bool


class Scanner:
    """Splits a stream into words and tags, wherever it was cut.

    Only the beginning of a tag is ever held back, so words come out at once. No tag has a `<`
    inside, so the last `<` alone decides, and a piece costs time in its own length only.
    """

    def __init__(self) -> None:
        self._held = ""
        self.at = 0  # characters of markup before what is held

    def feed(self, piece: str) -> list[Lexeme]:
        """The words and tags that are now certain."""
        text = self._held + piece
        certain = _certain(text)
        found = self._split(text, certain)
        self._held, self.at = text[certain:], self.at + certain
        return found

    def close(self) -> list[Lexeme]:
        """What was held back: without more to come, the beginning of a tag is words."""
        found = self._split(self._held, len(self._held))
        self._held, self.at = "", self.at + len(self._held)
        return found

    def _split(self, text: str, stop: int) -> list[Lexeme]:
        found: list[Lexeme] = []
        done = 0
        for tag in TAG.finditer(text, 0, stop):
            if tag.start() > done:
                found.append(Lexeme(self.at + done, text[done : tag.start()], False))
            found.append(Lexeme(self.at + tag.start(), tag[0], True))
            done = tag.end()
        if stop > done:
            found.append(Lexeme(self.at + done, text[done:stop], False))
        return found


def _certain(text: str) -> int:
    """How much of the text cannot be the beginning of an unfinished tag."""
    start = text.rfind("<", max(0, len(text) - _LONGEST + 1))
    if start < 0:
        return len(text)
    tail = text[start:]
    begun = tail in _BEGUN or _LOCATION.startswith(tail) or _LOCATION_BEGUN.fullmatch(tail)
    return start if begun else len(text)
