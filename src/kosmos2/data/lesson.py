"""A lesson: one text to read and to learn, as parts that say what is words, tag, picture and link.

Whoever teaches (data sets here, scenes in their room) makes lessons; `encoding` makes ids of them.
"""

from __future__ import annotations

from dataclasses import dataclass

from kosmos2.geometry import Box
from kosmos2.prompts import Markup, PictureMark, Words


@dataclass(frozen=True, slots=True)
class Linked:
    """Words tied to boxes; without words, only the boxes are said."""

    words: str
    boxes: tuple[Box, ...]

    def __post_init__(self) -> None:
        assert self.boxes, "words without boxes are Words"


Part = Words | Markup | PictureMark | Linked


@dataclass(frozen=True, slots=True)
class Said:
    """What one side says; pictures in it are read even where its words are learnt."""

    parts: tuple[Part, ...]
    learn: bool


@dataclass(frozen=True, slots=True)
class Lesson:
    """What is read and said, in order.

    What is read is encoded as generation encodes a prompt, what is learnt as a model writes on:
    no space comes before words that begin with none. `</s>` is learnt after the last part, and at
    the end of each answer that something else to read follows, without standing there: there a
    server's prompt has none either.
    """

    said: tuple[Said, ...]
    task: str
    grounded: bool  # otherwise links to be learnt are plain words; what is read keeps its boxes
    weight: float = 1.0
