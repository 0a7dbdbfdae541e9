"""What is done to a picture before the network looks: resize, crop, rescale, normalise.

Every step rounds as the reference's does on Pillow. Resizing is done in 8 bits, so floats go there
and back.

Letters: H W rows and columns of a picture, S T those the network looks at.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from numbers import Real
from typing import Any

import numpy as np
from jaxtyping import Shaped
from PIL import Image

from kosmos2.errors import ConfigError, ImageError
from kosmos2.hf.notices import once
from kosmos2.images import MEAN, STD

SIDE = 224
FACTOR = 1 / 255
SQUARE = {"height": SIDE, "width": SIDE}

Size = dict[str, int]


@dataclass(frozen=True, kw_only=True)
class Steps:
    """The settings of the reference's image processor that decide about pixels."""

    do_resize: bool = True
    size: Any = None  # height and width, or shortest_edge; None is a square of 224
    resample: int = Image.Resampling.BICUBIC
    do_center_crop: bool = True
    crop_size: Any = None
    do_rescale: bool = True
    rescale_factor: float = FACTOR
    do_normalize: bool = True
    image_mean: float | Sequence[float] = MEAN
    image_std: float | Sequence[float] = STD
    do_convert_rgb: bool = True

    def __post_init__(self) -> None:
        # An int is the shorter edge to resize to, but a square to crop to.
        keep = object.__setattr__
        keep(self, "size", _size("size", self.size, "shortest_edge"))
        keep(self, "crop_size", _size("crop_size", self.crop_size, "height"))
        if "shortest_edge" in self.crop_size:
            raise ConfigError(f"crop_size is {self.crop_size}; give height and width")
        try:
            keep(self, "resample", int(Image.Resampling(self.resample)))
        except ValueError as error:
            raise ConfigError(
                f"resample is {self.resample!r}; give 3 for bicubic, or another of PIL's filters"
            ) from error
        if not _number(self.rescale_factor):
            raise ConfigError(f"rescale_factor is {self.rescale_factor!r}; give 1/255, or a number")
        for name in ("image_mean", "image_std"):
            keep(self, name, _colours(name, getattr(self, name)))
        if "shortest_edge" in self.size and self.do_resize:
            once(
                "size has a shortest_edge, so the sides of a picture are cut off, and boxes are no "
                'fractions of it any more; give size={"height": 224, "width": 224}'
            )

    def pixels(self, values: Shaped[np.ndarray, "H W 3"]) -> Shaped[np.ndarray, "3 S T"]:
        """What the network looks at.

        Raises:
            ImageError: numbers that are no colours, or would be scaled twice.
        """
        self._check(values)
        if self.do_resize:
            values = self._resized(values)
        if self.do_center_crop:
            values = _cropped(values, self.crop_size["height"], self.crop_size["width"])
        if self.do_rescale:
            values = (values.astype(np.float64) * self.rescale_factor).astype(np.float32)
        if self.do_normalize:
            values = values if values.dtype.kind == "f" else values.astype(np.float32)
            mean, std = (np.array(c, values.dtype) for c in (self.image_mean, self.image_std))
            values = (values - mean) / std
        return np.ascontiguousarray(values.transpose(2, 0, 1))

    def _check(self, values: np.ndarray) -> None:
        """Refuse numbers that are no colours, and those that would be scaled twice."""
        if values.dtype == np.uint8:
            return
        low, high = values.min(), values.max()
        floats = values.dtype.kind == "f"
        if floats and self.do_rescale and low >= 0 and 0 < high <= 1:
            raise ImageError(
                "an array of floats goes from 0 to 1 and would be divided by 255 once more; "
                "give (array * 255).astype('uint8'), or say do_rescale=False"
            )
        if not self.do_resize:
            return
        if not (low >= 0 and high <= 255):  # also where one is no number
            raise ImageError(
                f"an array goes from {low} to {high}; give uint8 of 0 to 255. "
                "Was it normalised already? Then leave the processor out"
            )
        if floats and high > 1 and not np.allclose(values, values.astype(int)):
            raise ImageError(
                "an array has broken numbers above 1; give array.round().astype('uint8')"
            )

    def _resized(self, values: np.ndarray) -> np.ndarray:
        height, width = self._target(*values.shape[:2])
        fractions = values.dtype.kind == "f" and not np.allclose(values, values.astype(int))
        if fractions:
            values = (values.astype(np.float64) * 255).astype(np.float32)
        image = Image.fromarray(values.astype(np.uint8))
        resized = np.array(image.resize((width, height), Image.Resampling(self.resample)))
        return (resized.astype(np.float64) * FACTOR).astype(np.float32) if fractions else resized

    def _target(self, height: int, width: int) -> tuple[int, int]:
        if "shortest_edge" not in self.size:
            return self.size["height"], self.size["width"]
        edge = self.size["shortest_edge"]
        longer = int(edge * max(height, width) / min(height, width))
        return (edge, longer) if height <= width else (longer, edge)


def _cropped(values: np.ndarray, height: int, width: int) -> np.ndarray:
    """The middle, with black around it where the picture is smaller; halves as in the reference."""
    rows, columns = values.shape[:2]
    top, left = (rows - height) // 2, (columns - width) // 2
    if top >= 0 and left >= 0:
        return values[top : top + height, left : left + width]
    tall, wide = max(height, rows), max(width, columns)
    above, beside = math.ceil((tall - rows) / 2), math.ceil((wide - columns) / 2)
    canvas = np.zeros((tall, wide, values.shape[2]), values.dtype)
    canvas[above : above + rows, beside : beside + columns] = values
    top, left = top + above, left + beside
    return canvas[max(0, top) : top + height, max(0, left) : left + width]


def _size(name: str, given: Any, of_int: str) -> Size:
    """Height and width, or a shortest edge, from the ways to write them."""
    if given is None:
        return dict(SQUARE)
    if isinstance(given, int):
        given = {of_int: given} if of_int == "shortest_edge" else dict.fromkeys(SQUARE, given)
    elif isinstance(given, list | tuple) and len(given) == 2:
        given = {"height": given[0], "width": given[1]}
    elif not isinstance(given, Mapping) and hasattr(given, "keys"):
        given = dict(given)  # the reference's own class
    if isinstance(given, Mapping):
        given = {key: value for key, value in given.items() if value is not None}
        sides = list(given.values())
        right = all(isinstance(side, int) and side > 0 for side in sides)
        if right and set(given) in ({"height", "width"}, {"shortest_edge"}):
            return given
    raise ConfigError(f'{name} is {given!r}; give {{"height": 224, "width": 224}}')


def _colours(name: str, given: Any) -> tuple[float, ...]:
    """One number for each of red, green and blue."""
    if _number(given):
        given = (given,) * 3
    if not isinstance(given, list | tuple) or len(given) != 3 or not all(map(_number, given)):
        raise ConfigError(f"{name} is {given!r}; give three numbers: red, green, blue")
    return tuple(given)


def _number(value: Any) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool) and math.isfinite(value)
