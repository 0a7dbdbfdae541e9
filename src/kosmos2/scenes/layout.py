"""What is in a scene and where: a pure function of two numbers.

Nothing is drawn here. Positions are fractions of the (square) picture from its top left, so one
scene can be drawn at any size.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from kosmos2.errors import InputError
from kosmos2.geometry import Box
from kosmos2.scenes.backgrounds import FAMILIES
from kosmos2.scenes.stickers import NOUNS, outline

SMALLEST = 0.10  # longest side of a thing, in fractions of the picture's side
LARGEST = {1: 0.66, 2: 0.66, 3: 0.55, 4: 0.45, 5: 0.40}  # by the number of things
COUNT_ODDS = (0.20, 0.25, 0.25, 0.17, 0.13)  # of 1, 2, ... 5 things
MOST_ANGLE = 15.0  # degrees
MOST_COVERED = 0.25  # share of a thing's box under the boxes of later things

_TWINS = 0.35  # how often a noun appears more than once
_TRIPLETS = 0.25  # how often twins are three, where there is room
_APART = 0.5  # how often nothing touches anything
_TRIES = 12  # places to look at before a thing shrinks
_SHRINK = 0.85


@dataclass(frozen=True, slots=True)
class Thing:
    """One sticker in a scene; `box` is tight around what is visible of it when drawn alone."""

    noun: str
    box: Box
    flip: bool  # mirrored left to right, before it is turned
    angle: float  # degrees, counter-clockwise


@dataclass(frozen=True, slots=True)
class Scene:
    """Everything about a picture but its pixels; later things lie on top of earlier ones."""

    seed: int
    index: int
    things: tuple[Thing, ...]
    background: str  # a name in `backgrounds.FAMILIES`
    details: int  # seeds the background's own choices, the clutter and the light


def compose(seed: int, index: int) -> Scene:
    """Make up scene number `index` of the stream `seed`; the same two numbers, the same scene."""
    if seed < 0 or index < 0:
        raise InputError(f"scene {index} of seed {seed}: both must be zero or more")
    rng = np.random.Generator(np.random.PCG64(np.random.SeedSequence([seed, index])))
    count = 1 + int(rng.choice(len(COUNT_ODDS), p=COUNT_ODDS))
    nouns = _cast(rng, count)
    things = _place(rng, nouns)
    background = tuple(FAMILIES)[int(rng.integers(len(FAMILIES)))]
    return Scene(seed, index, things, background, int(rng.integers(2**31)))


@lru_cache(maxsize=4096)
def pose(noun: str, flip: bool, angle: float) -> tuple[float, float, float, float]:
    """Return the tight box (x1, y1, x2, y2) of a posed sticker, its middle at 0, in its pixels."""
    corners = outline(noun)
    x, y = (corners - (corners.min(axis=0) + corners.max(axis=0)) / 2).T
    if flip:
        x = -x
    cos, sin = np.cos(np.radians(angle)), np.sin(np.radians(angle))
    across, down = cos * x + sin * y, cos * y - sin * x  # y points down
    return float(across.min()), float(down.min()), float(across.max()), float(down.max())


def _cast(rng: np.random.Generator, count: int) -> list[str]:
    nouns = [NOUNS[i] for i in rng.choice(len(NOUNS), size=count, replace=False)]
    if count > 1 and rng.random() < _TWINS:
        copies = 3 if count > 2 and rng.random() < _TRIPLETS else 2
        nouns[1:copies] = [nouns[0]] * (copies - 1)
    return nouns


def _place(rng: np.random.Generator, nouns: Sequence[str]) -> tuple[Thing, ...]:
    """Find room for every noun, the largest first; who lies on top of whom is drawn by lot."""
    sides = np.sort(rng.uniform(SMALLEST, LARGEST[len(nouns)], len(nouns)))[::-1].tolist()
    ranks = rng.permutation(len(nouns)).tolist()
    order = rng.permutation(len(nouns)).tolist()
    covered = 0.0 if rng.random() < _APART else MOST_COVERED
    placed: dict[int, Thing] = {}  # by rank
    for side, rank, who in zip(sides, ranks, order):
        thing = _find_room(rng, nouns[who], side, rank, placed, covered)
        if thing is not None:
            placed[rank] = thing
    return tuple(placed[rank] for rank in sorted(placed))


def _find_room(
    rng: np.random.Generator,
    noun: str,
    side: float,
    rank: int,
    placed: dict[int, Thing],
    covered: float,
) -> Thing | None:
    """Try places, then smaller sizes; a thing without room anywhere stays out of the scene."""
    flip = bool(rng.random() < 0.5)
    angle = round(float(rng.uniform(-MOST_ANGLE, MOST_ANGLE)), 1)
    x1, y1, x2, y2 = pose(noun, flip, angle)
    while True:
        scale = side / max(x2 - x1, y2 - y1)
        width, height = (x2 - x1) * scale, (y2 - y1) * scale
        for u, v in rng.random((_TRIES, 2)).tolist():
            left, top = u * (1 - width), v * (1 - height)
            box = Box(left, top, left + width, top + height)
            if _fits(box, rank, placed, covered):
                return Thing(noun, box, flip, angle)
        if side == SMALLEST:
            return None
        side = max(SMALLEST, side * _SHRINK)


def _fits(box: Box, rank: int, placed: dict[int, Thing], most: float) -> bool:
    """Whether no box gets too much of itself covered; overlaps are added up, to be safe."""
    boxes = {**{r: thing.box for r, thing in placed.items()}, rank: box}
    for below, one in boxes.items():
        hidden = sum(_shared(one, other) for above, other in boxes.items() if above > below)
        if hidden > most * (one.x2 - one.x1) * (one.y2 - one.y1):
            return False
    return True


def _shared(a: Box, b: Box) -> float:
    width = min(a.x2, b.x2) - max(a.x1, b.x1)
    height = min(a.y2, b.y2) - max(a.y1, b.y1)
    return width * height if width > 0 and height > 0 else 0.0
