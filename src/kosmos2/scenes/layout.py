"""What is in a scene and where: a pure function of two numbers and a world.

Nothing is drawn here. Positions are fractions of the (square) picture from its top left, so one
scene can be drawn at any size.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np

from kosmos2.errors import InputError
from kosmos2.geometry import Box
from kosmos2.scenes.colours import COLOURED, COLOURS
from kosmos2.scenes.stickers import outline
from kosmos2.scenes.world import FIRST, World

SMALLEST = 0.10  # longest side of a thing, in fractions of the picture's side
MOST_ANGLE = 15.0  # degrees
MOST_COVERED = 0.25  # share of a thing's box under the boxes of later things

PHOTOGRAPH = "photograph"  # the background that is none of `backgrounds.FAMILIES`

_TWINS = 0.35  # how often a noun appears more than once
_CROWDED = 0.5  # the same, where counting is taught
_ONE_COLOUR = 0.3  # how often things of a kind have one colour
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
    colour: str | None = None  # a name in `colours.PALETTE`; None: as the sticker is


@dataclass(frozen=True, slots=True)
class Scene:
    """Everything about a picture but its pixels; later things lie on top of earlier ones."""

    seed: int
    index: int
    things: tuple[Thing, ...]
    background: str  # a name in `backgrounds.FAMILIES`, or PHOTOGRAPH
    details: int  # seeds the background's own choices, the clutter and the light
    world: World = FIRST


def compose(seed: int, index: int, world: World = FIRST) -> Scene:
    """Make up scene number `index` of the stream `seed`; the same two numbers, the same scene."""
    if seed < 0 or index < 0:
        raise InputError(f"scene {index} of seed {seed}: both must be zero or more")
    rng = np.random.Generator(np.random.PCG64(np.random.SeedSequence([seed, index])))
    count = 1 + int(rng.choice(len(world.crowd_odds), p=world.crowd_odds))
    nouns = _cast(rng, count, world)
    things = _place(rng, nouns, world.largest[count - 1])
    background = world.families[int(rng.integers(len(world.families)))]
    details = int(rng.integers(2**31))
    if world.coloured:
        things = _paint(rng, things)
    if world.photographs and rng.random() < world.photographs:
        background = PHOTOGRAPH
    return Scene(seed, index, things, background, details, world)


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


def _cast(rng: np.random.Generator, count: int, world: World) -> list[str]:
    distinct = min(count, len(world.nouns))
    nouns = [world.nouns[i] for i in rng.choice(len(world.nouns), size=distinct, replace=False)]
    nouns += nouns[:1] * (count - distinct)
    if count > 1 and rng.random() < (_CROWDED if world.attributes else _TWINS):
        copies = _copies(rng, count, world.copies_odds)
        nouns[1:copies] = [nouns[0]] * (copies - 1)
    return nouns


def _copies(rng: np.random.Generator, count: int, odds: Sequence[float]) -> int:
    """How many of a kind, of `count` things: the odds are those of 2, 3, ..., as far as they go."""
    left, most = 1.0, min(count, 1 + len(odds))
    for copies, chance in zip(range(2, most), odds):
        if rng.random() >= 1 - chance / left:
            return copies
        left -= chance
    return most


def _paint(rng: np.random.Generator, things: Sequence[Thing]) -> tuple[Thing, ...]:
    """Give a colour to all that are known by their shape."""
    alike = rng.random() < _ONE_COLOUR
    drawn = rng.integers(len(COLOURS), size=len(things)).tolist()
    painted = [
        replace(thing, colour=COLOURS[drawn[0 if alike else place]])
        if thing.noun in COLOURED
        else thing
        for place, thing in enumerate(things)
    ]
    return tuple(painted)


def _place(rng: np.random.Generator, nouns: Sequence[str], largest: float) -> tuple[Thing, ...]:
    """Find room for every noun, the largest first; who lies on top of whom is drawn by lot."""
    sides = np.sort(rng.uniform(SMALLEST, largest, len(nouns)))[::-1].tolist()
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
