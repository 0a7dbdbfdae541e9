"""What happens to pictures on their way: squeezed into a small JPEG, or out of focus."""

from __future__ import annotations

import io
from collections.abc import Callable

import numpy as np
from PIL import Image, ImageFilter

QUALITY = 30  # of the JPEG
RADIUS = 0.006  # of the blur, as a share of the side


def squeezed(picture: np.ndarray) -> np.ndarray:
    """The picture after a JPEG of poor quality: uint8 (S, S, 3)."""
    file = io.BytesIO()
    Image.fromarray(picture).save(file, "JPEG", quality=QUALITY)
    return np.array(Image.open(file))


def blurred(picture: np.ndarray) -> np.ndarray:
    """The picture out of focus: uint8 (S, S, 3)."""
    radius = RADIUS * picture.shape[1]
    return np.array(Image.fromarray(picture).filter(ImageFilter.GaussianBlur(radius)))


SPOILT: dict[str, Callable[[np.ndarray], np.ndarray]] = {"jpeg": squeezed, "blur": blurred}
