"""Photographs behind the things: a part of one of a few, mirrored, and tinted where it is grey.

They are cut from public samples (see `assets/backgrounds/NOTICE`) and show none of the nouns whole.
"""

from functools import cache
from importlib import resources

import numpy as np
from PIL import Image

# Their order is part of every scene's recipe.
PHOTOGRAPHS: tuple[str, ...] = (
    "suit", "helmet", "wood", "table", "blur", "towers", "dusk", "launchpad", "galaxies",
    "deep_sky", "far_sky", "eye", "vessels", "bricks", "paving", "lawn", "meadow", "gravel",
    "stones", "field", "campus", "lake", "pavilion", "bushes", "sky",
)  # fmt: skip

_SMALLEST = 0.45  # share of a photograph's side that is shown at least
_GREY = 6.0  # of 255: channels that differ by less on average have no colour of their own


def photograph(rng: np.random.Generator, side_px: int) -> np.ndarray:
    """A part of a photograph."""
    whole, grey = _photograph(PHOTOGRAPHS[int(rng.integers(len(PHOTOGRAPHS)))])
    share, across, down, turned = rng.random(4)
    tint = rng.uniform(0.7, 1.25, 3).astype(np.float32)
    side = (_SMALLEST + (1 - _SMALLEST) * share) * whole.width
    left, top = across * (whole.width - side), down * (whole.height - side)
    part = whole.resize(
        (side_px, side_px), Image.Resampling.BICUBIC, (left, top, left + side, top + side)
    )
    if turned < 0.5:
        part = part.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    if grey:
        steps = np.arange(256, dtype=np.float32)
        part = part.point(np.clip(np.outer(tint, steps), 0, 255).astype(int).ravel().tolist())
    return np.asarray(part)


@cache
def _photograph(name: str) -> tuple[Image.Image, bool]:
    """The whole of it, and whether it is grey."""
    path = resources.files("kosmos2") / "assets" / "backgrounds" / f"{name}.jpg"
    with path.open("rb") as file, Image.open(file) as opened:
        picture = opened.convert("RGB")
    small = np.asarray(picture.resize((8, 8)), dtype=float)
    return picture, float(np.ptp(small, axis=2).mean()) < _GREY
