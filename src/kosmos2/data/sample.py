"""What a row of any data set becomes: pictures, words, and which words are tied to which boxes.

A `Sample` is checked where it is built, so whatever comes later may trust it. Pictures stay files
until somebody looks at them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

import numpy as np
from PIL import Image

from kosmos2.errors import DataError, ImageError
from kosmos2.geometry import Box
from kosmos2.images import open_picture

Kind = Literal["pair", "objects", "dialogue", "interleaved", "text"]
KINDS: tuple[Kind, ...] = get_args(Kind)


@dataclass(frozen=True, slots=True)
class Picture:
    """A picture that is opened when it is needed: a file, a file's bytes, or pixels (H W 3)."""

    source: bytes | Path | np.ndarray
    name: str = ""  # for errors, where the source does not tell

    def open(self) -> Image.Image:
        """Upright, as RGB.

        Raises:
            DataError: it is not there, damaged or too large.
        """
        try:
            return open_picture(self.source).image
        except ImageError as error:
            raise DataError(f"{self.name}: {error}" if self.name else str(error)) from error


@dataclass(frozen=True, slots=True)
class Span:
    """Characters `start` to `end` of a turn's text, tied to boxes of the picture shown last.

    A box that came with a score of its own carries it; `score` is that of the least sure one.
    """

    start: int
    end: int
    boxes: tuple[Box, ...]
    score: float = 1.0
    expression: bool = True  # a referring expression; False: a noun chunk (GRIT lists both)


@dataclass(frozen=True, slots=True)
class Turn:
    """Words that are read, and learnt or not, after a picture or without one."""

    text: str
    spans: tuple[Span, ...] = ()
    learn: bool = True  # False: a question or an instruction, only read
    picture: int | None = None  # number of the picture shown just before these words


@dataclass(frozen=True, slots=True)
class Sample:
    """One row.

    Of kind
        "pair"         one turn, what is said about the only picture.
        "objects"      what a labelling export holds of its only picture: a turn for each class
                       that is there, text the bare class name ("dog"), one span over it with all
                       its boxes. No turns: somebody looked and nothing is there.
        "dialogue"     turns alternate between `learn` False and True, beginning with False.
        "interleaved"  pieces of text and pictures in the order of the document.
        "text"         words alone.

    In "pair" and "objects" the picture comes before all words and no turn names it; in the others
    a turn's `picture` says where each is shown.
    """

    name: str  # where it came from: "grit/00000.parquet:17", for errors
    kind: Kind
    turns: tuple[Turn, ...]
    pictures: tuple[Picture, ...] = ()
    weight: float = 1.0

    def __post_init__(self) -> None:
        fault = self._fault()
        if fault:
            raise DataError(f"{self.name}: {fault}")

    def _fault(self) -> str | None:
        """What is wrong with it, or None."""
        if self.kind not in KINDS:
            return f"no kind is called {self.kind!r}; choose one of {', '.join(KINDS)}"
        if not (math.isfinite(self.weight) and self.weight > 0):
            return f"weight {self.weight}; give a finite number above 0"
        if self.kind in ("pair", "objects") and len(self.pictures) != 1:
            return f"{len(self.pictures)} pictures in a sample of kind {self.kind}; give one"
        if self.kind == "text" and self.pictures:
            return "pictures in a sample of kind text; call it interleaved"
        if self.kind == "pair" and len(self.turns) != 1:
            return f"{len(self.turns)} turns in a pair; give one"
        if self.kind == "dialogue" and [t.learn for t in self.turns] != _alternating(self.turns):
            return "the turns of a dialogue alternate: read, learnt, read, learnt"
        if self.kind != "objects" and not any(turn.learn and turn.text for turn in self.turns):
            return "there is nothing to learn; give it words"
        for number, turn in enumerate(self.turns):
            fault = self._turn_fault(turn)
            if fault:
                return f"{fault} (turn {number})" if len(self.turns) > 1 else fault
        return None

    def _turn_fault(self, turn: Turn) -> str | None:
        if turn.picture is not None and not 0 <= turn.picture < len(self.pictures):
            return f"picture {turn.picture} of {len(self.pictures)}, counted from 0"
        if turn.spans and not self.pictures:
            return "boxes, but no picture that they lie on"
        for span in turn.spans:
            words = f"span {span.start} to {span.end}"
            if not 0 <= span.start < span.end <= len(turn.text):
                return f"{words} is empty or beyond the text's {len(turn.text)} characters"
            if not span.boxes:
                return f"{words} has no box"
            if not 0 <= span.score <= 1:
                return f"{words} has score {span.score}; give 0 to 1"
            for box in span.boxes:
                # Comparisons with NaN are false, so this refuses it as well.
                if not (0 <= box.x1 < box.x2 <= 1 and 0 <= box.y1 < box.y2 <= 1):
                    return f"{words} has box {box.corners}, empty or beyond the picture"
        return None


def _alternating(turns: tuple[Turn, ...]) -> list[bool]:
    return [bool(number % 2) for number in range(len(turns))]
