"""Any colour mode as 8-bit RGB."""

from collections.abc import Callable

import numpy as np
from PIL import Image

from kosmos2.errors import ImageError

BAND = 2**20  # pixels converted at once where that takes several copies of them


def rgb(image: Image.Image, name: str) -> Image.Image:
    """Colours as seen on white paper; a new image that carries no notes of the old one."""
    plain = _converted(image, name)
    plain.info.clear()  # above all no EXIF: pictures are upright by now, and must not turn twice
    return plain


def _converted(image: Image.Image, name: str) -> Image.Image:
    mode = image.mode
    if mode.startswith("I"):
        return _by_bands(image, lambda band: _from_16_bit(np.asarray(band), name))
    if mode == "F":
        raise ImageError(
            f"{name} has floating-point pixels; scale them to 0-255 and convert to 8 bits"
        )
    if mode in ("RGBA", "RGBa", "LA", "La", "PA") or "transparency" in image.info:
        return _by_bands(image, _on_white)
    return image.copy() if mode == "RGB" else image.convert("RGB")


def _by_bands(image: Image.Image, convert: Callable[[Image.Image], Image.Image]) -> Image.Image:
    """What converting it whole would give, in a third of the memory."""
    width, height = image.size
    rows = max(BAND // max(width, 1), 1)
    seen = Image.new("RGB", image.size)
    for top in range(0, height, rows):
        band = image.crop((0, top, width, min(top + rows, height)))
        seen.paste(convert(band), (0, top))
    return seen


def _on_white(image: Image.Image) -> Image.Image:
    # The two premultiplied modes have one way out each.
    straight = image.convert("LA") if image.mode == "La" else image
    colours = straight.convert("RGBA")
    white = Image.new("RGBA", colours.size, "white")
    return Image.alpha_composite(white, colours).convert("RGB")


def _from_16_bit(values: np.ndarray, name: str) -> Image.Image:
    """Grey of 0 to 65535 as grey of 0 to 255; Pillow's own conversion would clip at 255."""
    if values.size and not 0 <= int(values.min()) <= int(values.max()) <= 65_535:
        raise ImageError(f"{name} has grey values beyond 16 bits; convert it to 8 bits")
    grey = (values.astype(np.uint32) + 128) // 257
    return Image.fromarray(grey.astype(np.uint8)).convert("RGB")
