"""Pictures as the reference takes them: one or many, PIL, arrays, tensors or paths, made into RGB.

PIL images stay as they lie: who opened them has turned them, or wants boxes of them unturned. A
path is opened by us, upright. Transparency is seen on white.

Letters: H W rows and columns of a picture, C its channels (3 where it was made RGB).
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from jaxtyping import Shaped
from PIL import Image

from kosmos2.errors import ImageError
from kosmos2.images import open_picture
from kosmos2.images.colours import rgb
from kosmos2.images.damage import DAMAGE

CHANNELS = (1, 3, 4)
SWAPPED = "pictures come first: processor(images, text), or name both arguments"


def flattened(images: Any) -> list[Any]:
    """One picture, a list, a list of lists, or a 4-dimensional array, as a list.

    Raises:
        ImageError: pictures beside lists, or lists within lists within lists.
    """
    if not isinstance(images, list | tuple):
        return list(images) if getattr(images, "ndim", 0) == 4 else [images]
    lists = [isinstance(part, list | tuple) for part in images]
    if any(lists) and not all(lists):
        raise ImageError("images has pictures beside lists; give one list, or a list of lists")
    if any(isinstance(picture, list | tuple) for part in images if any(lists) for picture in part):
        raise ImageError("images has lists in lists in a list; give one list, or a list of lists")
    return [picture for part in images for picture in (part if any(lists) else flattened(part))]


def channels_last(
    picture: Any, *, convert_rgb: bool = True, layout: str | None = None
) -> Shaped[np.ndarray, "H W C"]:
    """One picture as an array.

    Args:
        picture: a PIL image, an array or tensor of 3 dimensions, or a path.
        convert_rgb: make grey and transparent pictures RGB. Otherwise they are refused.
        layout: `channels_first` or `channels_last` of an array; None looks for 1, 3 or 4 channels.

    Raises:
        ImageError: no picture, or none that can become RGB.
    """
    if isinstance(picture, str | os.PathLike):
        picture = _opened(picture)
    if isinstance(picture, Image.Image):
        return _from_image(picture, convert_rgb)
    if isinstance(picture, torch.Tensor):
        try:
            picture = picture.numpy(force=True)
        except (TypeError, RuntimeError) as error:  # bfloat16, sparse, ...
            raise ImageError(
                f"a {picture.dtype} tensor makes no picture; give uint8 of 0 to 255"
            ) from error
    if not isinstance(picture, np.ndarray):
        raise ImageError(
            f"a {type(picture).__name__} is no picture; give a PIL image, an array, a tensor or "
            "a path, or a list of them"
        )
    return _from_array(picture, convert_rgb, layout)


def _opened(path: str | os.PathLike[str]) -> Image.Image:
    try:
        return open_picture(path).image
    except ImageError as error:
        name = os.fspath(path)
        if isinstance(path, str) and (" " in name or "<" in name):
            raise type(error)(f"{error}; {SWAPPED}") from error
        raise


def _from_image(image: Image.Image, convert_rgb: bool) -> np.ndarray:
    if not all(image.size):
        raise ImageError(f"the PIL image is {image.width} x {image.height} pixels; give a picture")
    if not convert_rgb and image.mode != "RGB":
        raise ImageError(f"the PIL image is {image.mode}, not RGB; leave do_convert_rgb on")
    return _sound(lambda: np.array(rgb(image, "the PIL image")))


def _sound(read: Callable[[], np.ndarray]) -> np.ndarray:
    """What is read, if the file behind it is whole: Pillow decodes when pixels are wanted."""
    try:
        return read()
    except ImageError:
        raise
    except DAMAGE as error:
        raise ImageError(f"the PIL image cannot be decoded ({error}); fetch it again") from error


def _from_array(array: np.ndarray, convert_rgb: bool, layout: str | None) -> np.ndarray:
    shape = " x ".join(map(str, array.shape)) or "a single number"
    if array.ndim != 3 or not array.size:
        raise ImageError(f"an array is {shape}; give H x W x 3, 3 x H x W, or a PIL image")
    if array.dtype.kind not in "uif":
        raise ImageError(f"an array holds {array.dtype}; give uint8 of 0 to 255")
    if layout is None:
        found = [axis for axis in (0, 2) if array.shape[axis] in CHANNELS]
        if not found:
            raise ImageError(f"an array is {shape}, without channels; give H x W x 3")
        layout = "channels_last" if found[0] else "channels_first"
    values = array if layout == "channels_last" else np.moveaxis(array, 0, -1)
    count = values.shape[-1]
    if count not in CHANNELS or (not convert_rgb and count != 3):
        raise ImageError(f"an array of {shape} has {count} channels; give 3, red green blue")
    if count == 1:
        return np.repeat(values, 3, axis=-1)
    return _on_white(values) if count == 4 else values


def _on_white(values: np.ndarray) -> np.ndarray:
    """The fourth channel says how much is seen; rounded as by the reference."""
    whole = values.dtype.kind in "ui"
    if not whole and not (values.min() >= 0 and values.max() <= 1):
        raise ImageError("an array of floats with transparency goes beyond 0 to 1; give uint8")
    white = 255 if whole else 1.0
    seen = values[..., 3:] / white
    mixed = seen * values[..., :3] + (1 - seen) * white
    return (np.round(mixed) if whole else mixed).astype(values.dtype)
