"""Where outlines and labels go, before anybody draws them.

Raster and vector drawings share this plan, so a PNG and an SVG of one answer look alike. All
numbers are pixels of the upright picture from its top left; a `Rect` is (left, top, right, bottom).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

from kosmos2.geometry import Box

Rect = tuple[float, float, float, float]

_WIDEST = 0.7  # of the picture's width: a longer label is shortened
_MOST_ROWS = 48  # how many rows of the picture a crowded label tries


class Marked(Protocol):
    """A phrase of the text with its places in the picture."""

    @property
    def phrase(self) -> str:
        """The words; empty for boxes that belong to none."""
        ...

    @property
    def start(self) -> int:
        """Where the phrase starts in the text."""
        ...

    @property
    def end(self) -> int:
        """Where it ends."""
        ...

    @property
    def boxes(self) -> Sequence[Box]:
        """Its places in the picture, in the order they were said."""
        ...


@dataclass(frozen=True, slots=True)
class Outline:
    """One box to outline."""

    entity: int  # its place among the entities, which decides its colour
    name: str
    score: float | None
    rect: Rect


@dataclass(frozen=True, slots=True)
class Label:
    """The words beside an outline, already shortened, and the ground they stand on."""

    outline: Outline
    text: str
    rect: Rect


def outlines(
    entities: Iterable[Marked], width_px: int, height_px: int, *, scores: bool = True
) -> list[Outline]:
    """Every box that can be drawn, corners in order and inside the picture."""
    found = []
    for index, entity in enumerate(entities):
        name = printable(entity.phrase)
        for box in entity.boxes:
            rect = _rect(box, width_px, height_px)
            if rect is not None:
                score = box.score if scores else None
                found.append(Outline(index, name, score, rect))
    return found


def large_first(found: Iterable[Outline]) -> list[Outline]:
    """The order to draw in: a small box stays on top, where a pointer can reach it."""
    return sorted(found, key=lambda outline: _area(outline.rect), reverse=True)


def printable(text: str) -> str:
    """One line without control characters and half characters, whatever the phrase holds."""
    clean = "".join(
        c if c.isprintable() or c.isspace() else "\N{REPLACEMENT CHARACTER}" for c in text
    )
    return " ".join(clean.split())


def line_px(width_px: int, height_px: int) -> float:
    """How wide an outline is on a picture of this size; it stays visible on a small one."""
    side = math.sqrt(width_px * height_px)
    return max(0.005 * side, min(2.0, 0.012 * side))


def letter_px(width_px: int, height_px: int) -> float:
    """How large letters are: to be read on a small picture, in proportion on a large one."""
    side = math.sqrt(width_px * height_px)
    return min(max(0.028 * side, min(12.0, 0.08 * side)), 0.4 * height_px)


def labels(
    found: Sequence[Outline],
    width_px: int,
    height_px: int,
    *,
    text_width: Callable[[str], float],
    row_px: float,
    pad_px: float,
) -> list[Label]:
    """A place for the label of every outline that has something to say.

    Labels prefer to stand on their box, keep inside the picture and do not cover each other while
    there is room. `text_width` measures letters, `row_px` is the height of a label.
    """
    widest = max(_WIDEST * width_px - 2 * pad_px, 0.0)
    placed: list[Label] = []
    for outline in found:
        text = _wording(outline, text_width, widest)
        if text:
            size = (text_width(text) + 2 * pad_px, row_px)
            taken = [label.rect for label in placed]
            smaller = [o.rect for o in found if _area(o.rect) < _area(outline.rect)]
            placed.append(
                Label(
                    outline, text, _place(outline.rect, size, taken, smaller, width_px, height_px)
                )
            )
    return placed


def _wording(outline: Outline, text_width: Callable[[str], float], widest: float) -> str:
    """'a snowman 0.83', with the phrase shortened until all of it fits; empty if nothing fits."""
    score = f"{outline.score:.2f}" if outline.score is not None else ""

    def wording(letters: int) -> str:
        name = outline.name
        if letters < len(name):
            name = name[:letters].rstrip() + "…"
        return f"{name} {score}".strip()

    if text_width(wording(len(outline.name))) <= widest:
        return wording(len(outline.name))
    fits, too_long = 0, len(outline.name)
    while too_long - fits > 1:
        middle = (fits + too_long) // 2
        if text_width(wording(middle)) <= widest:
            fits = middle
        else:
            too_long = middle
    if fits:
        return wording(fits)
    return score if text_width(score) <= widest else ""


def _place(
    rect: Rect,
    size: tuple[float, float],
    taken: Sequence[Rect],
    smaller: Sequence[Rect],
    width_px: int,
    height_px: int,
) -> Rect:
    """The first good place near the box; the least bad one where there is none."""
    left, top, right, bottom = rect
    wide, high = size

    def inside(x: float, y: float) -> Rect:
        x = max(0.0, min(x, width_px - wide))
        y = max(0.0, min(y, height_px - high))
        return x, y, x + wide, y + high

    def cost(spot: Rect) -> tuple[float, float]:
        return sum(_overlap(spot, t) for t in taken), sum(_overlap(spot, s) for s in smaller)

    near = [
        inside(x, y) for y in (top - high, top, bottom, bottom - high) for x in (left, right - wide)
    ]
    best = min(near, key=cost)
    if cost(best)[0] == 0:
        return best
    rows = min(_MOST_ROWS, int(height_px / high))
    far = [inside(x, row * high) for row in range(rows) for x in (left, right - wide)]
    far.sort(key=lambda spot: abs(spot[1] - top))
    free = (spot for spot in far if not any(_overlap(spot, t) for t in taken))
    return next(free, best)


def _rect(box: Box, width_px: int, height_px: int) -> Rect | None:
    corners = (box.x1, box.y1, box.x2, box.y2)
    if not all(math.isfinite(corner) for corner in corners):
        return None
    x1, y1, x2, y2 = (min(max(corner, 0.0), 1.0) for corner in corners)
    return (
        min(x1, x2) * width_px,
        min(y1, y2) * height_px,
        max(x1, x2) * width_px,
        max(y1, y2) * height_px,
    )


def _area(rect: Rect) -> float:
    return (rect[2] - rect[0]) * (rect[3] - rect[1])


def _overlap(one: Rect, other: Rect) -> float:
    wide = min(one[2], other[2]) - max(one[0], other[0])
    high = min(one[3], other[3]) - max(one[1], other[1])
    return max(wide, 0.0) * max(high, 0.0)
