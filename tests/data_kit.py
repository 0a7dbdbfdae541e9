"""What tests of training data lean on: a small tokenizer, a tiny network, samples by hand."""

from __future__ import annotations

import string
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache

import numpy as np

from kosmos2.config import Config
from kosmos2.data.mixture import Mixture
from kosmos2.data.prepared import Prepared
from kosmos2.data.rows import IGNORED, Row
from kosmos2.data.sample import Picture, Sample, Span, Turn
from kosmos2.data.tolerance import BadRow
from kosmos2.data.wording import Wording
from kosmos2.geometry import Box
from kosmos2.tokenizer import Tokenizer

DOG, CAT = Box(0.1, 0.2, 0.5, 0.6), Box(0.6, 0.1, 0.9, 0.9)
WORDS = (
    "a an and the An image of It is in What this This Describe object The Question Answer dog dogs "
    "cat cats two three cup field flowers left right hand where Where no fire"
)
LETTERS = string.ascii_letters + string.digits + string.punctuation


@cache
def tokenizer() -> Tokenizer:
    """Some words, some halves of words, and every letter."""
    pieces = [("▁", -12.0), ("og", -7.0), ("'s", -7.0), ("▁d", -7.0), ("▁hot", -6.0)]
    pieces += [(f"▁{word}", -5.0) for word in WORDS.split()]
    return Tokenizer.from_pieces([*pieces, *((letter, -12.0) for letter in LETTERS)])


@cache
def config() -> Config:
    tiny = Config.tiny(vocabulary=tokenizer().size)
    text = replace(tiny.text, positions=300, dropout=0.0, attention_dropout=0.0)
    return replace(tiny, text=text)


def picture(width: int = 60, height: int = 40, seed: int = 0) -> Picture:
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Picture(pixels)


def pair(text: str, *spans: Span, seen: Picture | None = None) -> Sample:
    return Sample("pairs:0", "pair", (Turn(text, spans),), (seen or picture(),))


def objects(seen: Picture | None = None, **boxes: Sequence[Box]) -> Sample:
    turns = (Turn(name, (Span(0, len(name), tuple(of)),)) for name, of in boxes.items())
    return Sample("objects:0", "objects", tuple(turns), (seen or picture(),))


@dataclass
class Shelf:
    """Samples as a reader; None is a row that cannot be read."""

    samples: Sequence[Sample | None]
    classes: tuple[str, ...] = ()
    name: str = "shelf"
    scattered: bool = True

    @property
    def blocks(self) -> tuple[int, ...]:
        return (len(self.samples),)

    def __len__(self) -> int:
        return len(self.samples)

    def read(self, row: int) -> Sample:
        sample = self.samples[row]
        if sample is None:
            raise BadRow(f"shelf:{row}", "torn out")
        return sample


def prepared(
    *samples: Sample | None, classes: Sequence[str] = (), seed: int = 5, **wording
) -> Prepared:
    mixture = Mixture([Shelf(samples, tuple(classes))], [1.0], seed=seed, shuffle=False)
    return Prepared(mixture, [Wording(**wording)], config(), tokenizer(), seed=seed)


def read(row: Row, segment: int) -> str:
    """What a lesson of a row says, as markup."""
    ids = row.ids[(row.segments == segment) & ~row.slots]
    return tokenizer().decode(ids.tolist(), skip_special=False)


def learnt(row: Row, segment: int) -> str:
    """What a lesson of a row is to foretell."""
    labels = row.labels[row.segments == segment]
    return tokenizer().decode(labels[labels != IGNORED].tolist())
