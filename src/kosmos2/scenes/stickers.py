"""The cast of every scene: nouns, how English counts them, and the sticker each one wears.

The pictures are renderings of Noto Color Emoji (see `assets/stickers/NOTICE`), made once by
`scripts/make_stickers.py` and shipped, so that drawing a scene needs no font. Who of the cast
appears in a scene is the scene's `world`.
"""

from functools import cache
from importlib import resources

import numpy as np
from PIL import Image

from kosmos2.errors import InputError
from kosmos2.scenes.colours import painted

# Chosen to stay apart from one another at 16 pixels; the order is part of every scene's recipe, so
# newcomers come last: the cast of the first edition, of the second, and what neither was taught.
NOUNS: tuple[str, ...] = (
    "dog", "cat", "fish", "turtle", "elephant", "butterfly", "frog", "penguin", "owl", "octopus",
    "crab", "bee", "snake", "pig", "rabbit", "panda", "duck", "flamingo",
    "apple", "banana", "pizza", "hamburger", "donut", "cake", "watermelon", "pineapple", "carrot",
    "mushroom", "avocado", "pumpkin",
    "car", "bus", "train", "bicycle", "airplane", "rocket", "boat",
    "house", "tent", "chair", "ladder", "clock", "umbrella", "cup", "key", "book", "hammer",
    "bucket", "candle", "camera", "robot", "guitar", "drum", "hat", "shoe", "shirt", "crown",
    "diamond", "backpack", "gift", "balloon", "bell", "anchor", "magnet",
    "tree", "sunflower", "cactus", "rainbow", "snowman", "fire",

    "horse", "cow", "tiger", "lion", "monkey", "mouse", "giraffe", "zebra", "whale", "snail",
    "parrot", "swan", "sheep",
    "lemon", "pear", "cherry", "strawberry", "lollipop", "sandwich", "egg", "coconut", "cookie",
    "truck", "tractor", "motorcycle", "helicopter", "ship",
    "castle", "church", "sofa", "bed", "lamp", "television", "telephone", "laptop", "wrench",
    "pencil", "envelope", "globe", "lock", "axe", "trumpet", "ball", "trophy", "dress", "sock",
    "rose", "star", "heart", "flag",

    "fox", "ladybug", "dinosaur", "eggplant", "teapot", "skull", "moon", "kite", "volcano",
    "microphone",
)  # fmt: skip

VISIBLE = 64  # of 255: fainter pixels belong to no outline

# What English counts in a way of its own.
_PLURALS = {"fish": "fish", "sheep": "sheep", "mouse": "mice", "snowman": "snowmen"}


def plural(noun: str) -> str:
    """Return the noun as English counts several of it."""
    if noun in _PLURALS:
        return _PLURALS[noun]
    if noun.endswith(("s", "x", "z", "ch", "sh")):
        return noun + "es"
    if noun.endswith("y") and noun[-2:-1] not in "aeiou":
        return noun[:-1] + "ies"
    return noun + "s"


def article(noun: str) -> str:
    """Return "a" or "an", whichever the noun wants before it."""
    return "an" if noun[:1] in "aeiou" else "a"


@cache
def sticker(noun: str, colour: str | None = None) -> Image.Image:
    """Return the noun's picture (RGBA, nothing but the thing up to its edges). Do not change it."""
    if colour is not None:
        return painted(sticker(noun), colour)
    if noun not in NOUNS:
        raise InputError(
            f"no sticker for {noun!r}; the nouns are listed in kosmos2.scenes.stickers.NOUNS"
        )
    path = resources.files("kosmos2") / "assets" / "stickers" / f"{noun}.png"
    with path.open("rb") as file, Image.open(file) as picture:
        return picture.convert("RGBA")


@cache
def outline(noun: str) -> np.ndarray:
    """Return the corners of the sticker's convex hull, in its own pixels: float64 (corners, 2).

    Wherever the sticker is turned or scaled to, the extent of these corners is its tight box.
    """
    seen = np.asarray(sticker(noun).getchannel("A")) >= VISIBLE
    rows = np.flatnonzero(seen.any(axis=1))
    left = seen[rows].argmax(axis=1)
    right = seen.shape[1] - seen[rows, ::-1].argmax(axis=1)
    corners = np.concatenate(
        [np.stack([side, rows + down], axis=1) for side in (left, right) for down in (0, 1)]
    )
    return _hull(sorted({(int(x), int(y)) for x, y in corners}))


def _hull(points: list[tuple[int, int]]) -> np.ndarray:
    """Andrew's monotone chain over points already sorted."""

    def chain(points: list[tuple[int, int]]) -> list[tuple[int, int]]:
        kept: list[tuple[int, int]] = []
        for x, y in points:
            while len(kept) > 1:
                (ax, ay), (bx, by) = kept[-2:]
                if (bx - ax) * (y - ay) - (by - ay) * (x - ax) > 0:
                    break
                kept.pop()
            kept.append((x, y))
        return kept[:-1]

    return np.array(chain(points) + chain(points[::-1]), dtype=np.float64)
