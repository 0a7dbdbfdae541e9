"""How a picture is brought to the network's size, and where its boxes are then.

squash   to a square, whatever the picture's proportions: as answers are given, and the default here
crop     the short side to size, then the middle: as the released weights were trained

Shapes: H W a picture's height and width in pixels, S side of what the network sees.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from PIL import Image

from kosmos2.data.sample import Span
from kosmos2.geometry import Box

Transform = Literal["squash", "crop"]
Place = Callable[[Box], Box | None]

LEFT_OVER = 0.2  # of a box's area must be in sight, or it is dropped
_SIDES = re.compile(r"(?<![^\W_])(left|right)(?=(?:most|hand|ward|wards|side)?(?![^\W_]))", re.I)
_OTHER = {"left": "right", "right": "left"}


@dataclass(frozen=True, eq=False, slots=True)
class Seen:
    """A picture as the network sees it, and where boxes of the whole picture are in it."""

    pixels: np.ndarray  # uint8 (S S 3)
    place: Place  # None: less than LEFT_OVER of the box is in sight


def see(
    picture: Image.Image, side_px: int, how: Transform = "squash", *, mirrored: bool = False
) -> Seen:
    """Bring an RGB picture to size."""
    if how == "squash":
        square = picture.resize((side_px, side_px), Image.Resampling.BICUBIC)
        left = top = 0.0
        across = down = 1.0
    else:
        width, height = _sizes(picture.width, picture.height, side_px)
        x, y = round((width - side_px) / 2), round((height - side_px) / 2)
        large = picture.resize((width, height), Image.Resampling.BICUBIC)
        square = large.crop((x, y, x + side_px, y + side_px))
        left, top, across, down = x / side_px, y / side_px, width / side_px, height / side_px
    if mirrored:
        square = square.transpose(Image.Transpose.FLIP_LEFT_RIGHT)

    def place(box: Box) -> Box | None:
        whole = (box.x2 - box.x1) * across * (box.y2 - box.y1) * down
        x1, x2 = _clipped(box.x1 * across - left), _clipped(box.x2 * across - left)
        y1, y2 = _clipped(box.y1 * down - top), _clipped(box.y2 * down - top)
        seen = (
            Box(1 - x2, y1, 1 - x1, y2, box.score) if mirrored else Box(x1, y1, x2, y2, box.score)
        )
        return seen if seen.area > 0 and seen.area >= LEFT_OVER * whole else None

    return Seen(np.asarray(square), place)


def has_sides(text: str) -> bool:
    """Whether a text says left or right, so that it is wrong of the mirrored picture."""
    return _SIDES.search(text) is not None


def with_sides_swapped(text: str, spans: Sequence[Span] = ()) -> tuple[str, tuple[Span, ...]]:
    """Left for right and right for left, the spans over the same words as before."""
    found = list(_SIDES.finditer(text))
    swapped = _SIDES.sub(lambda word: _cased(_OTHER[word[0].lower()], word[0]), text)

    def moved(at: int) -> int:
        longer = (1 if word[0].lower() == "left" else -1 for word in found if word.start() < at)
        return at + sum(longer)

    return swapped, tuple(
        replace(span, start=moved(span.start), end=moved(span.end)) for span in spans
    )


def _sizes(width: int, height: int, short: int) -> tuple[int, int]:
    """The size at which the shorter side is `short`, rounded as torchvision's Resize does."""
    if width <= height:
        return short, int(short * height / width)
    return int(short * width / height), short


def _clipped(edge: float) -> float:
    return min(max(edge, 0.0), 1.0)


def _cased(word: str, like: str) -> str:
    if like.isupper():
        return word.upper()
    return word.capitalize() if like[0].isupper() else word
