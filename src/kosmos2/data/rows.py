"""Rows as the network takes them: pictures, and lessons packed side by side after them.

Each lesson sees the pictures and itself, and its positions go on from the pictures', so it reads
exactly as if it were alone:

    ids        <s> <image> 4 5 6 </image>   An image of a dog </s>   <grounding> <phrase> a dog ...
    segments    0     0    0 0 0     0      1    1    1 1  1    1         2         2     2  2
    positions   2     3    4 5 6     7      8    9   10 11 12  13         8         9    10 11

Where a lesson is learnt from its first token on, that token follows from the last one before it,
which then cannot be shared: every lesson of the row begins with its own `</image>` (or `<s>`).

Shapes: N pictures, S pixels a side, T tokens of a row, P patches and L latents of a picture.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

import numpy as np

from kosmos2.config import Config
from kosmos2.data.encoding import NOWHERE, Tokens
from kosmos2.markup import IMAGE, IMAGE_END
from kosmos2.tokenizer import Tokenizer

IGNORED = -100  # a label that does not count
PICTURE, PADDING = 0, -1  # segments: what all lessons see, padding; lessons count from 1


@dataclass(frozen=True, eq=False, slots=True)
class Row:
    """One row of a batch; labels, corners and weights stand at the token that foretells them."""

    pixels: np.ndarray  # uint8 "N S S 3"; N may be 0
    ids: np.ndarray  # int64 "T"
    slots: np.ndarray  # bool "T": where latents go, in the order of the pictures
    segments: np.ndarray  # int64 "T"
    positions: np.ndarray  # int64 "T"
    labels: np.ndarray  # int64 "T", IGNORED where nothing is learnt
    corners: np.ndarray  # float32 "T 2", in cells; NOWHERE where the label is no location
    weights: np.ndarray  # float32 "T", of the label; 0 where nothing is learnt
    kinds: tuple[str, ...] = ()  # the task of each lesson: segment 1 is kinds[0]
    name: str = ""  # where it came from
    bad: tuple[Any, ...] = ()  # rows of the data that could not be read, and were replaced
    # What lies on each place of the one picture, where somebody knows (scenes do).
    patch_names: np.ndarray | None = None  # int64 "P"
    patch_edges: np.ndarray | None = None  # float32 "P 4"
    latent_names: np.ndarray | None = None  # int64 "L"
    latent_edges: np.ndarray | None = None  # float32 "L 4"


@runtime_checkable
class Rows(Protocol):
    """Rows by position, each a pure function of it: so resuming needs no more than a number."""

    def __len__(self) -> int:
        """How many there are."""
        ...

    def __getitem__(self, position: int) -> Row:
        """The row at a position."""
        ...


@dataclass(slots=True)
class _Columns:
    ids: list[int] = field(default_factory=list)
    slots: list[bool] = field(default_factory=list)
    segments: list[int] = field(default_factory=list)
    positions: list[int] = field(default_factory=list)
    labels: list[int] = field(default_factory=list)
    corners: list[tuple[float, float]] = field(default_factory=list)
    weights: list[float] = field(default_factory=list)

    def add(self, tokens: Tokens, segment: int, first: int, eos: int) -> None:
        """Append tokens; what each foretells is the one after it."""
        if not tokens.ids:
            return
        following = zip(tokens.ids[1:], tokens.learnt[1:], strict=True)
        labels = [*(id if learnt else IGNORED for id, learnt in following), IGNORED]
        for end in tokens.ends:
            labels[end] = eos
        said = zip(labels, [*tokens.corners[1:], NOWHERE], strict=True)
        self.ids += tokens.ids
        self.slots += tokens.slots
        self.segments += [segment] * len(tokens)
        self.positions += range(first, first + len(tokens))
        self.labels += labels
        self.corners += [NOWHERE if label == IGNORED else corner for label, corner in said]
        self.weights += [tokens.weight * (label != IGNORED) for label in labels]


def pack(
    pixels: np.ndarray,
    lessons: Sequence[Tokens],
    config: Config,
    tokenizer: Tokenizer,
    most_tokens: int,
    *,
    name: str = "",
    bad: tuple[Any, ...] = (),
) -> Row:
    """Put pictures and lessons into one row.

    Pictures come first, unless a lesson has places of its own for them.

    Args:
        pixels: the pictures, uint8 "N S S 3".
        lessons: what is taught; those that do not fit beside the ones before are left out.
        config: of the network.
        tokenizer: of the model.
        most_tokens: of all lessons together, pictures before them not counted.
        name: where the row comes from.
        bad: what could not be read on the way.
    """
    inside = any(any(tokens.slots) for tokens in lessons)
    shared = _opening(0 if inside else len(pixels), config, tokenizer)
    own = Tokens()
    if any(tokens.learnt[0] for tokens in lessons):
        own.words([shared.ids.pop()], False)
        for part in (shared.corners, shared.learnt, shared.slots):
            part.pop()
    columns, kinds, room = _Columns(), [], most_tokens
    start = config.text.pad + 1
    columns.add(shared, PICTURE, start, tokenizer.eos)
    for tokens in lessons:
        if len(tokens) > room:
            continue
        room -= len(tokens)
        kinds.append(tokens.task)
        columns.add(_after(own, tokens), len(kinds), start + len(shared), tokenizer.eos)
    assert sum(columns.slots) == len(pixels) * config.latents, "a picture needs its slots"
    return Row(
        pixels,
        np.array(columns.ids),
        np.array(columns.slots),
        np.array(columns.segments),
        np.array(columns.positions),
        np.array(columns.labels),
        np.array(columns.corners, dtype=np.float32),
        np.array(columns.weights, dtype=np.float32),
        kinds=tuple(kinds),
        name=name,
        bad=bad,
    )


def _opening(pictures: int, config: Config, tokenizer: Tokenizer) -> Tokens:
    """`<s>` and the pictures that stand before everything."""
    opening = Tokens()
    opening.words([tokenizer.bos], False)
    slots = [tokenizer.first_slot + i for i in range(config.latents)]
    for _ in range(pictures):
        opening.words([tokenizer.tag(IMAGE)], False)
        opening.add(slots, [NOWHERE] * len(slots), False, slots=True)
        opening.words([tokenizer.tag(IMAGE_END)], False)
    return opening


def _after(own: Tokens, tokens: Tokens) -> Tokens:
    """A lesson behind the token that it may not share."""
    return Tokens(
        own.ids + tokens.ids,
        own.corners + tokens.corners,
        own.learnt + tokens.learnt,
        own.slots + tokens.slots,
        [end + len(own) for end in tokens.ends],
        task=tokens.task,
        weight=tokens.weight,
    )
