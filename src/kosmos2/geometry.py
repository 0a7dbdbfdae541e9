"""Boxes on a picture, and the 32 x 32 cells by which text can name them.

A box is four fractions of the picture from its top left. A cell is one place of the grid, counted
row by row; a box in text is the cell of its upper-left corner and the cell of its lower-right one.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from numbers import Rational, Real
from typing import Self

from kosmos2.errors import PromptError

SIDE = 32  # cells along each side of the picture
CELLS = SIDE * SIDE
COORDS = ("norm01", "px", "norm1000")  # fractions, pixels, thousandths

Corners = tuple[float, float, float, float]


@dataclass(frozen=True, slots=True)
class Box:
    """A rectangle in fractions of the picture, and how sure the model was of it.

    Nothing is checked here, so that whatever a model wrote can be held and shown; `checked` is
    for input.
    """

    x1: float
    y1: float
    x2: float
    y2: float
    score: float | None = None  # 0 to 1: geometric mean of the two location probabilities

    @classmethod
    def checked(cls, values: "Box | Iterable[float]") -> Self:
        """A box that somebody handed in, clamped to the picture.

        Raises:
            PromptError: Not four finite numbers, or nothing left inside the picture.
        """
        score = values.score if isinstance(values, Box) else None
        given = _numbers(values)
        x1, y1, x2, y2 = (min(max(value, 0.0), 1.0) for value in given)
        for axis, low, high, first, last in (
            ("x", x1, x2, *given[::2]),
            ("y", y1, y2, *given[1::2]),
        ):
            if high > low:
                continue
            fault = (
                f"inverted ({axis}2 is less than {axis}1)"
                if last < first
                else f"empty ({axis}2 equals {axis}1)"
                if last == first
                else f"outside the picture ({axis}1 to {axis}2 misses 0 to 1)"
            )
            raise PromptError(
                f"box {given} is {fault}; give x1 y1 x2 y2 as fractions of the picture "
                "from its top left, or convert with Box.from_scaled"
            )
        return cls(x1, y1, x2, y2, score)

    @classmethod
    def from_scaled(
        cls,
        values: Iterable[float],
        coords: str,
        width_px: float | None = None,
        height_px: float | None = None,
    ) -> Self:
        """A box in another unit as fractions: the inverse of `scaled`, equally trusting.

        Raises:
            PromptError: Not four finite numbers, an unknown unit, or pixels without a picture size.
        """
        across, down = _units(coords, width_px, height_px)
        x1, y1, x2, y2 = _numbers(values)
        return cls(x1 / across, y1 / down, x2 / across, y2 / down)

    def scaled(
        self, coords: str, width_px: float | None = None, height_px: float | None = None
    ) -> Corners:
        """The corners as fractions ("norm01"), pixels ("px") or thousandths ("norm1000")."""
        across, down = _units(coords, width_px, height_px)
        return self.x1 * across, self.y1 * down, self.x2 * across, self.y2 * down

    @property
    def corners(self) -> Corners:
        """The four fractions without the score."""
        return self.x1, self.y1, self.x2, self.y2

    @property
    def area(self) -> float:
        """Share of the picture that is covered; an inverted box covers nothing."""
        return max(self.x2 - self.x1, 0.0) * max(self.y2 - self.y1, 0.0)

    def shared(self, other: "Box") -> float:
        """Share of the picture that both boxes cover."""
        return Box(
            max(self.x1, other.x1),
            max(self.y1, other.y1),
            min(self.x2, other.x2),
            min(self.y2, other.y2),
        ).area

    def iou(self, other: "Box") -> float:
        """Intersection over union, 0 where neither box covers anything."""
        shared = self.shared(other)
        union = self.area + other.area - shared
        return shared / union if union > 0 else 0.0


def cells_of(box: Box) -> tuple[int, int]:
    """The cells of the upper-left and of the lower-right corner.

    An edge on a grid line belongs to the cell inside the box. The box is checked and clamped
    first: without that, a corner outside the picture would spill into the next row.
    """
    x1, y1, x2, y2 = Box.checked(box).corners
    # ceil(x * 32 - 1), but exact for an x so small that subtracting 1 would lose it.
    right, bottom = math.ceil(x2 * SIDE) - 1, math.ceil(y2 * SIDE) - 1
    return math.floor(y1 * SIDE) * SIDE + math.floor(x1 * SIDE), bottom * SIDE + right


def box_of(upper_left: int, lower_right: int, score: float | None = None) -> Box:
    """The box that two cells stand for, whatever their order and range.

    Corners are the centres of the two cells. Two cells in one row or column would then enclose
    nothing, so there the box reaches to the outer edges of both.
    """
    top, left = divmod(upper_left, SIDE)
    bottom, right = divmod(lower_right, SIDE)
    near, far = (0.0, 1.0) if top == bottom or left == right else (0.5, 0.5)
    return Box(
        (left + near) / SIDE,
        (top + near) / SIDE,
        (right + far) / SIDE,
        (bottom + far) / SIDE,
        score,
    )


def _numbers(values: Box | Iterable[float]) -> Corners:
    """Four finite numbers of any real type, or an error that names the odd one."""
    if isinstance(values, Box):
        values = values.corners
    if isinstance(values, str | bytes) or not isinstance(values, Iterable):
        raise PromptError(f"a box is four numbers x1 y1 x2 y2, not {values!r}")
    given = list(values)
    if len(given) != 4:
        raise PromptError(f"a box is four numbers x1 y1 x2 y2, not {len(given)}: {given!r}")
    for name, value in zip(("x1", "y1", "x2", "y2"), given):
        # Comparing with infinity, not converting: a huge integer has no float.
        if (
            not isinstance(value, Real)
            or isinstance(value, bool)
            or not -math.inf < value < math.inf
        ):
            raise PromptError(f"{name} of box {given!r} is {value!r}; give a finite number")
    x1, y1, x2, y2 = map(_float, given)
    return x1, y1, x2, y2


def _float(value: float) -> float:
    # Integers and fractions can be larger than any float.
    return float(min(max(value, -1e300), 1e300)) if isinstance(value, Rational) else float(value)


def _units(coords: str, width_px: float | None, height_px: float | None) -> tuple[float, float]:
    """How many units of `coords` the picture is wide and high."""
    if coords == "norm01":
        return 1.0, 1.0
    if coords == "norm1000":
        return 1000.0, 1000.0
    if coords != "px":
        raise PromptError(
            f"no coordinates are called {coords!r}; choose one of {', '.join(COORDS)}"
        )
    if not width_px or not height_px or width_px < 0 or height_px < 0:
        raise PromptError(
            f"pixel coordinates need the picture's size, not {width_px} x {height_px}; "
            "pass width_px and height_px, or use norm01"
        )
    return float(width_px), float(height_px)
