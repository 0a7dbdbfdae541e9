"""The drawing helper of the model card over our own drawing: same name, inputs and outcome.

What it gives back is the card's: an array of blue, green, red (as OpenCV has it). Colours are not
drawn by lot, labels keep clear of each other, and no OpenCV is needed. Pictures are turned as the
processor turns them (a file is seen upright, a PIL image as it lies), so that its boxes fit.

Letters: H height and W width of the picture.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, UInt8
from PIL import Image
from torch import Tensor

from kosmos2.drawing import draw
from kosmos2.errors import ImageError, InputError, PromptError
from kosmos2.geometry import Box
from kosmos2.hf.notices import once
from kosmos2.images import MEAN, STD, Picture, open_picture
from kosmos2.images.colours import rgb
from kosmos2.images.damage import DAMAGE
from kosmos2.markup import Entity

ENTITY = "(name, (start, end), [(x1, y1, x2, y2), ...])"


def draw_entity_boxes_on_image(
    image: Image.Image | str | os.PathLike[str] | Float[Tensor, "3 H W"],
    entities: Sequence[tuple[str, tuple[int, int], Sequence[Sequence[float]]]],
    show: bool = False,
    save_path: str | os.PathLike[str] | None = None,
) -> UInt8[np.ndarray, "H W 3"]:
    """The picture with the boxes of the entities and their names on it, as blue, green, red.

    Args:
        image: A PIL image, a path, or one picture of `pixel_values`, whose normalisation is undone.
        entities: As `post_process_generation` gives them; none leave the picture as it is.
        show: Whether to open it in a viewer as well.
        save_path: Where to write it as well; the ending says the format.

    Raises:
        InputError: no picture, no such entities, or a place where nothing can be written.
    """
    picture = Picture(_picture(image))
    found = [_entity(entity, place) for place, entity in enumerate(_listed(entities))]
    drawn = draw(picture, found) if found else picture.image
    if save_path:
        _save(drawn, Path(save_path))
    if show:
        drawn.show()
    return np.ascontiguousarray(np.asarray(drawn)[:, :, ::-1])


def _picture(image: Any) -> Image.Image:
    """Any accepted input as RGB."""
    if isinstance(image, Tensor):
        return _from_pixels(image)
    if isinstance(image, Image.Image):
        return _rgb(image)
    if isinstance(image, str | os.PathLike):
        return open_picture(image).image
    way_out = "give a PIL image, a path, or one picture of pixel_values"
    if isinstance(image, np.ndarray):
        # Its colours may be red first or blue first, as those of our own result are.
        way_out = "an array does not say which colour is first; give Image.fromarray(its RGB)"
    raise ImageError(f"a {type(image).__name__} is no picture here; {way_out}")


def _rgb(image: Image.Image) -> Image.Image:
    name = os.fspath(getattr(image, "filename", "")) or "the PIL image"
    try:
        return rgb(image, name)
    except ImageError:
        raise
    except DAMAGE as error:
        raise ImageError(f"{name} is damaged or cut short; save or fetch it again") from error


def _from_pixels(pixels: Tensor) -> Image.Image:
    """The picture that the network saw, from the numbers it was given."""
    shape = " x ".join(map(str, pixels.shape))
    if pixels.ndim == 4:
        raise ImageError(f"the tensor is {shape}, a batch; give one picture: pixel_values[0]")
    if pixels.ndim != 3 or pixels.shape[0] != 3 or not pixels.numel():
        raise ImageError(f"the tensor is {shape}; give one picture of pixel_values, 3 x H x W")
    if not pixels.is_floating_point():
        raise ImageError(
            f"the tensor holds {pixels.dtype}, and normalised numbers are floats; "
            "give Image.fromarray(tensor.permute(1, 2, 0).numpy()) if these are colours"
        )
    values = pixels.detach().to("cpu", torch.float64)
    if not torch.isfinite(values).all():
        raise ImageError("the tensor holds numbers that are not finite; give pixel_values[0]")
    mean, std = (torch.tensor(given, dtype=values.dtype)[:, None, None] for given in (MEAN, STD))
    colours = ((values * std + mean) * 255).round().clamp(0, 255).to(torch.uint8)
    return Image.fromarray(colours.permute(1, 2, 0).contiguous().numpy())


def _listed(entities: Any) -> list[Any]:
    if isinstance(entities, tuple) and len(entities) == 2 and isinstance(entities[0], str):
        raise PromptError(
            "entities are a pair of text and entities; "
            "give the second: text, entities = processor.post_process_generation(...)"
        )
    if isinstance(entities, str) or not isinstance(entities, Sequence):
        raise PromptError(
            f"entities are a {type(entities).__name__}; give a list of tuples {ENTITY}"
        )
    return list(entities)


def _entity(given: Any, place: int) -> Entity:
    try:
        name, (start, end), boxes = given
        boxes = list(boxes)
    except (TypeError, ValueError) as error:
        raise PromptError(f"entity {place} is {given!r}; give {ENTITY}") from error
    if not isinstance(name, str):
        raise PromptError(f"entity {place} is called {name!r}; its name is a text")
    return Entity(name, start, end, tuple(_box(box, place, name) for box in boxes))


def _box(given: Any, place: int, name: str) -> Box:
    try:
        # Checks that these are four finite numbers, and nothing else: a model may invert a box.
        box = Box.from_scaled(given, "norm01")
    except PromptError as error:
        raise PromptError(f"entity {place}, {name!r}: {error}") from error
    if not all(0 <= edge <= 1 for edge in box.corners):
        once(
            f"box {box.corners} reaches out of the picture and is cut at its edge; boxes are "
            "fractions: divide pixels by width and height"
        )
    return box


def _save(drawn: Image.Image, path: Path) -> None:
    if not path.parent.is_dir():
        raise InputError(f"there is no folder {str(path.parent)!r}; make it first")
    try:
        drawn.save(path)
    except ValueError as error:  # an ending that Pillow does not know
        raise InputError(
            f"a picture cannot be saved as {path.name!r}; end the name in .png or .jpg"
        ) from error
