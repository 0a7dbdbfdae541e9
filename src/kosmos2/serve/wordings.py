"""What plain words ask for: a caption, or something about boxes that stand among them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

_PICTURE = (
    r"(?:this|the|an?|my)? ?(?:attached |following )?(?:image|picture|photo|photograph|scene)"
)
_OF = rf"(?: (?:of|for) {_PICTURE})?"
_POLITE = r"(?:please )?(?:can you |could you )?(?:please )?"
_GIVE = r"(?:give|write|generate|provide|make|create)(?: me)?"
_DETAILED = re.compile(
    rf"{_POLITE}(?:(?:describe|caption|explain)(?: {_PICTURE})? in (?:great |more |full )?details?"
    rf"|(?:{_GIVE} )?(?:an? )?(?:detailed|long) (?:caption|description){_OF})"
)
_BRIEF = re.compile(
    rf"|(?:an?|the) (?:image|picture|photo) of"
    rf"|{_POLITE}(?:describe|caption)(?: {_PICTURE})?(?: briefly| in (?:a few words|one sentence))?"
    rf"|(?:{_POLITE}{_GIVE} )?(?:an? )?(?:(?:short|brief|image) )?(?:caption|description){_OF}"
    # The question that everybody's first example asks: it wants a caption, not one word.
    rf"|(?:what is|what's|what’s|whats) (?:shown )?in {_PICTURE}"
)
_EDGES = " \t\r\n.,:;!?\"'"

Kind = Literal["caption", "detailed"]


def captioning(text: str) -> Kind | None:
    """Whether the words ask what is in the picture, and for nothing else."""
    words = " ".join(text.lower().split()).strip(_EDGES)
    if len(words) > 100:
        return None
    if _DETAILED.fullmatch(words):
        return "detailed"
    return "caption" if _BRIEF.fullmatch(words) else None


@dataclass(frozen=True, slots=True)
class Bracket:
    """A phrase in brackets, and the boxes that stand behind it, if any do."""

    start: int
    end: int
    phrase: str
    boxes: tuple[tuple[float, ...], ...] | None


_BRACKET = re.compile(r"\[([^\[\]]+)\](?:\(box:([-+0-9.eE,;\s]+)\))?")


def brackets(text: str) -> list[Bracket]:
    """`[a cat]` and `[a cat](box:0.1,0.2,0.5,0.9)`, also with several boxes parted by `;`.

    Raises:
        ValueError: what should be a number is none.
    """
    return [
        Bracket(*found.span(), found[1], None if found[2] is None else _boxes(found[2]))
        for found in _BRACKET.finditer(text)
    ]


def _boxes(text: str) -> tuple[tuple[float, ...], ...]:
    return tuple(tuple(float(number) for number in box.split(",")) for box in text.split(";"))
