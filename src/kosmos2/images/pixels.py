"""From a picture to the normalised numbers that the network looks at.

Letters: N pictures, S side of what the network sees.
"""

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image

from kosmos2.config import VisionConfig
from kosmos2.images.picture import Picture

# The colours CLIP was trained with, red green blue.
MEAN = (0.48145466, 0.4578275, 0.40821073)
STD = (0.26862954, 0.26130258, 0.27577711)

# Each step rounds as the reference's does (CLIPImageProcessor on Pillow, with a square size).
_SHARES = (np.arange(256, dtype=np.float64) * (1 / 255)).astype(np.float32)
_NORMALISED = np.array(
    [(_SHARES - np.float32(mean)) / np.float32(std) for mean, std in zip(MEAN, STD)]
)


def to_pixels(picture: Picture, vision: VisionConfig) -> Float[np.ndarray, "3 S S"]:
    """What the network looks at: squashed to a square, so that fractions of it stay fractions."""
    return normalised(squashed(picture, vision.image_size)[None])[0]


def squashed(picture: Picture, side: int) -> UInt8[np.ndarray, "S S 3"]:
    """The picture as a square of so many pixels a side, in the colours it has."""
    return np.asarray(picture.image.resize((side, side), Image.Resampling.BICUBIC))


def normalised(squares: UInt8[np.ndarray, "N S S 3"]) -> Float[np.ndarray, "N 3 S S"]:
    """Colours as the network has them; a byte has 256 values, so each is looked up."""
    pixels = np.empty((len(squares), 3, *squares.shape[1:3]), np.float32)
    for square, found in zip(squares, pixels):
        for colour, values, plane in zip(square.transpose(2, 0, 1), _NORMALISED, found):
            np.take(values, colour, out=plane, mode="clip")
    return pixels
