"""Boxes and words of any notation as spans: clipped to the picture, and refused when empty."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from kosmos2.data.sample import Span, Turn
from kosmos2.errors import DataError
from kosmos2.geometry import Box

TieRow = tuple[int, int, Box]  # first character, the one after the last, a box


def box_of(
    corners: Iterable[float],
    coords: str = "norm01",
    width_px: float | None = None,
    height_px: float | None = None,
    score: float | None = None,
) -> Box:
    """The part of a box that lies on the picture, in fractions.

    Raises:
        PromptError: nothing of it does, or it is no box.
    """
    if coords != "norm01":
        corners = Box.from_scaled(corners, coords, width_px, height_px).corners
    match corners:
        # Nearly all are as they should be, and there are many: the careful way says the same of
        # these, in twice the time.
        case [float(x1), float(y1), float(x2), float(y2)]:
            if 0 <= x1 < x2 <= 1 and 0 <= y1 < y2 <= 1:
                return Box(x1, y1, x2, y2, score)
    return Box(*Box.checked(corners).corners, score)


def tied(rows: Iterable[TieRow], *, expression: bool = True) -> tuple[Span, ...]:
    """Rows of the same characters are one span with several boxes; both in the order given."""
    together: dict[tuple[int, int], list[Box]] = {}
    for start, end, box in rows:
        together.setdefault((start, end), []).append(box)
    return tuple(
        Span(start, end, tuple(boxes), least_score(boxes), expression)
        for (start, end), boxes in together.items()
    )


def least_score(boxes: Iterable[Box]) -> float:
    """Of the least sure box; those without a score were drawn by people."""
    return min((1.0 if box.score is None else box.score for box in boxes), default=1.0)


def class_turns(found: Iterable[tuple[str, Box]]) -> tuple[Turn, ...]:
    """A turn for each class, in order of first appearance, its name tied to all its boxes."""
    by_class: dict[str, list[Box]] = {}
    for name, box in found:
        by_class.setdefault(name, []).append(box)
    return tuple(
        Turn(name, (Span(0, len(name), tuple(boxes), least_score(boxes)),))
        for name, boxes in by_class.items()
    )


def grit_spans(rows: Sequence[Sequence[float]], *, expression: bool) -> tuple[Span, ...]:
    """GRIT's [start, end, x1, y1, x2, y2, score], whose offsets are often floats."""
    return tied((_grit_tie(row) for row in rows), expression=expression)


def _grit_tie(row: Sequence[float]) -> TieRow:
    if len(row) not in (6, 7):
        raise DataError(f"a box row has start end x1 y1 x2 y2 score, not {len(row)} numbers")
    start, end = _whole(row[0]), _whole(row[1])
    return start, end, box_of(row[2:6], score=float(row[6]) if len(row) == 7 else None)


def _whole(value: Any) -> int:
    if value != int(value):
        raise DataError(f"{value!r} is no place in a text; offsets are whole numbers")
    return int(value)
