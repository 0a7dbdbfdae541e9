"""From a picture to the normalised numbers that the network looks at.

Letters: S side of the picture the network sees.
"""

import numpy as np
from jaxtyping import Float
from PIL import Image

from kosmos2.config import VisionConfig
from kosmos2.images.picture import Picture

# The colours CLIP was trained with, red green blue.
MEAN = (0.48145466, 0.4578275, 0.40821073)
STD = (0.26862954, 0.26130258, 0.27577711)


def to_pixels(picture: Picture, vision: VisionConfig) -> Float[np.ndarray, "3 S S"]:
    """What the network looks at: squashed to a square, so that fractions of it stay fractions.

    Each step rounds as the reference's does (CLIPImageProcessor on Pillow, with a square size).
    """
    side = vision.image_size
    square = picture.image.resize((side, side), Image.Resampling.BICUBIC)
    values = (np.asarray(square).astype(np.float64) * (1 / 255)).astype(np.float32)
    mean, std = np.array(MEAN, np.float32), np.array(STD, np.float32)
    return np.ascontiguousarray(((values - mean) / std).transpose(2, 0, 1))
