"""From whatever people hand in to a `Picture`: paths, bytes, PIL images, arrays.

Limits hold before any pixel is decoded, since a file of a few kilobytes can ask for gigabytes. Only
six formats are ever opened: Pillow knows forty-three, and one of those runs another program.
"""

import io
import os
import stat
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from kosmos2.errors import ImageError, MissingImageError
from kosmos2.images.colours import rgb
from kosmos2.images.damage import BOMBS, DAMAGE, FORMATS, fault_of, why_not
from kosmos2.images.picture import Limits, Picture
from kosmos2.images.upright import TURNED, orientation, told_before_loading, upright

NAME_LENGTH = 200  # characters of a name that a message repeats

Source = str | os.PathLike[str] | bytes | Image.Image | np.ndarray | Picture

_DEFAULT_LIMITS = Limits()


def open_picture(source: Source, limits: Limits = _DEFAULT_LIMITS) -> Picture:
    """Read a picture: first frame, turned upright, transparency on white, as RGB.

    Args:
        source: a path, a file's bytes, a PIL image, or an array of uint8 (H x W, H x W x 3 or 4).
            A `Picture` comes back as it is.
        limits: how large it may be.

    Raises:
        MissingImageError: there is no such file.
        ImageError: anything else that keeps it from being read.
    """
    if isinstance(source, Picture):
        return source
    if isinstance(source, str | os.PathLike):
        name = _short(os.fspath(source))
        return _decode(_read(Path(source), name, limits), name, limits)
    if isinstance(source, bytes | bytearray | memoryview):
        return _decode(bytes(source), "the picture", limits)
    if isinstance(source, Image.Image):
        name = _short(getattr(source, "filename", "")) or "the PIL image"
        return _finish(source, name, limits)
    if isinstance(source, np.ndarray):
        return _finish(_from_array(source), "the array", limits)
    raise ImageError(
        f"a {type(source).__name__} is no picture; "
        "give a path, a file's bytes, a PIL image or a uint8 array"
    )


def _read(path: Path, name: str, limits: Limits) -> bytes:
    if not name:
        raise MissingImageError("the path is empty; give a picture")
    if name.lower().startswith(("http://", "https://", "data:")):
        raise ImageError(f"{name} is an address, and nothing is fetched; give a file or its bytes")
    try:
        found = path.stat()
        if stat.S_ISDIR(found.st_mode):
            raise ImageError(f"{name} is a folder; give a picture in it")
        if not stat.S_ISREG(found.st_mode):
            raise ImageError(f"{name} is not an ordinary file; give a picture file or its bytes")
        _check_bytes(found.st_size, name, limits)
        with path.open("rb") as file:
            data = file.read(limits.bytes + 1)  # it may have grown meanwhile
    except (FileNotFoundError, NotADirectoryError) as error:
        raise MissingImageError(f"there is no file {name}; check the path") from error
    except OSError as error:
        raise ImageError(f"{name} cannot be read: {error.strerror}; check the path") from error
    except ImageError:
        raise
    except ValueError as error:  # a NUL in the path
        raise MissingImageError(f"{name!r} is no path; check it") from error
    return data


def _decode(data: bytes, name: str, limits: Limits) -> Picture:
    _check_bytes(len(data), name, limits)
    if not data:
        raise ImageError(f"{name} is empty; give a picture")
    try:
        image = Image.open(io.BytesIO(data), formats=FORMATS)
    except BOMBS as error:
        raise ImageError(
            f"{name} says that it is far larger than {limits.pixels:,} pixels, the limit; "
            "shrink it",
            fault="large",
        ) from error
    except DAMAGE as error:
        raise ImageError(f"{name} {why_not(data)}", fault=fault_of(data)) from error
    with image:
        plain, held, rotated = _plain(image, name, limits)
    del image  # a large one need not be there beside its turned copy
    return Picture(upright(plain, held), name, rotated)


def _finish(image: Image.Image, name: str, limits: Limits) -> Picture:
    plain, held, rotated = _plain(image, name, limits)
    return Picture(upright(plain, held), name, rotated)


def _plain(image: Image.Image, name: str, limits: Limits) -> tuple[Image.Image, int, int]:
    """The pixels as RGB, decoded once the header is within the limits, but not turned yet.

    With it, how the camera was held, and by how many degrees the file is turned in all.
    """
    _check_size(image.size, name, limits)
    try:
        told = told_before_loading(image)
        image.load()
        held = orientation(image, name)
        return rgb(image, name), held, TURNED.get(max(told, held), 0)
    except ImageError:
        raise
    except DAMAGE as error:
        raise ImageError(
            f"{name} is damaged or cut short, its pixels cannot be decoded; save or fetch it again"
        ) from error


def _from_array(array: np.ndarray) -> Image.Image:
    shape = " x ".join(map(str, array.shape))
    if array.dtype != np.uint8:
        way_out = (
            "give (array * 255).round().astype('uint8') if it goes from 0 to 1"
            if np.issubdtype(array.dtype, np.floating)
            else "scale it to 0-255 and give array.astype('uint8')"
        )
        raise ImageError(f"the array holds {array.dtype}, not uint8; {way_out}")
    if array.ndim == 3 and array.shape[-1] not in (3, 4) and array.shape[0] in (3, 4):
        raise ImageError(f"the array is {shape}; channels go last, give array.transpose(1, 2, 0)")
    if array.ndim == 4:
        raise ImageError(f"the array is {shape}, several pictures; give them one by one")
    if array.ndim != 2 and not (array.ndim == 3 and array.shape[-1] in (3, 4)):
        raise ImageError(f"the array is {shape}; give H x W, H x W x 3 or H x W x 4")
    if not array.size:
        raise ImageError(f"the array is {shape}, without a pixel; give a picture")
    return Image.fromarray(array.copy())  # an image would share the caller's memory


def _check_bytes(count: int, name: str, limits: Limits) -> None:
    if count > limits.bytes:
        raise ImageError(
            f"{name} has {count:,} bytes, the limit is {limits.bytes:,}; shrink the picture",
            fault="large",
        )


def _check_size(size: tuple[int, int], name: str, limits: Limits) -> None:
    width, height = size
    if not width or not height:
        raise ImageError(f"{name} is {width} x {height} pixels, empty; give a picture")
    if width * height > limits.pixels:
        raise ImageError(
            f"{name} is {width:,} x {height:,} pixels, the limit is {limits.pixels:,} in all; "
            "shrink it",
            fault="large",
        )
    if max(size) > limits.aspect * min(size):
        raise ImageError(
            f"{name} is {width:,} x {height:,} pixels, the limit is {limits.aspect:g} times as "
            "long as wide; crop it",
            fault="large",
        )


def _short(name: Any) -> str:
    text = os.fsdecode(name) if name else ""
    return text if len(text) <= NAME_LENGTH else f"{text[:NAME_LENGTH]}…"
