"""One box as the numbers that a family of models, or its parsers, would use for it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from difflib import get_close_matches

from kosmos2.errors import InputError, PromptError
from kosmos2.geometry import CELLS, Box, box_of, cells_of


@dataclass(frozen=True, slots=True)
class _Numbers:
    """Four numbers for a box: their unit, their order, and whether they are whole."""

    unit: str
    coords: str  # of kosmos2.geometry
    times: float = 1.0
    whole: bool = False
    rows_first: bool = False
    most: float | None = None

    def write(self, box: Box, width_px: float | None, height_px: float | None) -> list[float]:
        values = [value * self.times for value in box.scaled(self.coords, width_px, height_px)]
        if self.whole:
            values = [round(value) for value in values]
        if self.most is not None:
            values = [min(value, self.most) for value in values]
        return _swapped(values) if self.rows_first else values

    def read(self, values: Sequence[float], width_px: float | None, height_px: float | None) -> Box:
        plain = Box.from_scaled(values, "norm01")  # finite, and four of them
        corners = _swapped(plain.corners) if self.rows_first else plain.corners
        return Box.from_scaled(
            [value / self.times for value in corners], self.coords, width_px, height_px
        )


class _Cells:
    """Two numbers for a box: the cells of its upper-left and of its lower-right corner."""

    unit = "[first, last]: cells of 32 x 32, counted row by row from 0"

    def write(self, box: Box, width_px: float | None, height_px: float | None) -> list[float]:
        return list(cells_of(box))

    def read(self, values: Sequence[float], width_px: float | None, height_px: float | None) -> Box:
        cells = list(values)
        if len(cells) != 2 or not all(cell in range(CELLS) for cell in cells):
            raise PromptError(f"cells are {cells!r}; give two whole numbers from 0 to {CELLS - 1}")
        first, last = map(int, cells)
        return box_of(first, last)


_BY_COLUMN, _BY_ROW = "[x1, y1, x2, y2]", "[y1, x1, y2, x2]"
_NUMBERS: dict[str, _Numbers | _Cells] = {
    "norm01": _Numbers(f"{_BY_COLUMN} as fractions of the upright picture, 0 to 1", "norm01"),
    "px": _Numbers(f"{_BY_COLUMN} in pixels of the upright picture", "px"),
    "norm1000": _Numbers(
        f"{_BY_COLUMN} in thousandths of the upright picture, 0 to 1000", "norm1000"
    ),
    "percent": _Numbers(f"{_BY_COLUMN} in percent of the upright picture", "norm01", times=100),
    "cells": _Cells(),
    "qwen3": _Numbers(
        f"{_BY_COLUMN} in whole thousandths of the upright picture, 0 to 1000",
        "norm1000",
        whole=True,
    ),
    "qwen2.5": _Numbers(f"{_BY_COLUMN} in whole pixels of the upright picture", "px", whole=True),
    "gemini": _Numbers(
        f"{_BY_ROW} in whole thousandths of the upright picture, 0 to 1000",
        "norm1000",
        whole=True,
        rows_first=True,
    ),
    "paligemma": _Numbers(
        f"{_BY_ROW} in whole 1024ths of the upright picture, 0 to 1023",
        "norm01",
        times=1024,
        whole=True,
        rows_first=True,
        most=1023,
    ),
}
_ALSO = {"patch": "cells", "qwen": "qwen3"}

COORDINATES = (*_NUMBERS, *_ALSO)


def coordinates(
    box: Box, name: str, width_px: float | None = None, height_px: float | None = None
) -> list[float]:
    """The numbers that stand for a box: four, or two cells.

    Raises:
        InputError: no coordinates of that name, or pixels without the picture's size.
    """
    return numbers(name).write(box, width_px, height_px)


def box_from(
    values: Sequence[float],
    name: str,
    width_px: float | None = None,
    height_px: float | None = None,
) -> Box:
    """The inverse of `coordinates`, clamped to the picture.

    Raises:
        InputError: no coordinates of that name, or numbers that make no box.
    """
    return Box.checked(numbers(name).read(values, width_px, height_px))


def numbers(name: str) -> _Numbers | _Cells:
    """How the numbers of that name are written and read."""
    known = _NUMBERS.get(_ALSO.get(name, name))
    if known is None:
        raise InputError(unknown("kind of coordinates", name, COORDINATES))
    return known


def unknown(what: str, name: str, known: Sequence[str]) -> str:
    """What is said of a name that is not known, with the nearest that is."""
    near = get_close_matches(name, known, n=1)
    hint = f"did you mean {near[0]}?" if near else f"known: {', '.join(known)}"
    return f"there is no {what} called {name!r}; {hint}"


def _swapped(values: Sequence[float]) -> list[float]:
    """Columns before rows as rows before columns, and the other way round."""
    one, two, three, four = values
    return [two, one, four, three]
