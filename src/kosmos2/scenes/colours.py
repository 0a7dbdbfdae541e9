"""Named colours, and things painted in them.

Some stickers are mostly of one hue and known by their shape: a car is a car in any colour. Their
pixels of that hue are painted in a named one, light and shade kept; glass, tyres and shine stay.
"""

import numpy as np
from PIL import Image

# Far enough apart to be told in bad light too (a test measures it).
PALETTE: dict[str, tuple[int, int, int]] = {
    "red": (216, 32, 36),
    "orange": (250, 132, 12),
    "yellow": (252, 222, 40),
    "green": (42, 156, 62),
    "blue": (24, 84, 220),
    "purple": (142, 48, 178),
    "pink": (255, 138, 198),
}
COLOURS: tuple[str, ...] = tuple(PALETTE)

COLOURED: frozenset[str] = frozenset({
    "apple", "backpack", "balloon", "bell", "boat", "book", "bucket", "car", "chair",
    "dress", "fish", "flag", "gift", "guitar", "heart", "key", "lock", "pencil",
    "shoe", "sofa", "star", "telephone", "tent", "truck", "umbrella",
})  # fmt: skip

_REACH = 34.0  # of 256: hues so far from the commonest are painted too, beyond that ever less
_PALE = 40.0, 100.0  # saturation from which a pixel is of its hue at all, and from which wholly
_LIGHT = 1.45  # how much lighter than usual a pixel is drawn at most


def painted(sticker: Image.Image, colour: str) -> Image.Image:
    """A sticker whose own hue has become the named colour (RGBA)."""
    opacity = np.asarray(sticker.getchannel("A"))
    rgb = np.asarray(sticker.convert("RGB"), dtype=np.float32)
    hue, saturation, value = np.moveaxis(
        np.asarray(sticker.convert("RGB").convert("HSV"), dtype=np.float32), 2, 0
    )
    low, high = _PALE
    pure = np.clip((saturation - low) / (high - low), 0, 1) * (opacity > 0) * (value > 40)
    away = np.abs((hue - _commonest(hue, pure) + 128) % 256 - 128)
    share = (pure * np.clip(2 - away / _REACH, 0, 1))[:, :, None]
    usual = np.median(value[share[:, :, 0] > 0.5])
    shade = np.clip(value / usual, 0, _LIGHT)[:, :, None]
    tint = np.array(PALETTE[colour], dtype=np.float32)
    lit = np.where(shade <= 1, tint * shade, tint + (255 - tint) * (shade - 1))
    mixed = rgb + share * (lit - rgb)
    return Image.fromarray(
        np.dstack([mixed.round().clip(0, 255).astype(np.uint8), opacity]), mode="RGBA"
    )


def _commonest(hue: np.ndarray, weight: np.ndarray) -> float:
    """The hue (of 256) that most pixels have or nearly have."""
    counts = np.bincount(hue.astype(int).ravel(), weights=weight.ravel(), minlength=256)
    around = sum(np.roll(counts, shift) for shift in range(-12, 13))
    return float(np.argmax(around))
