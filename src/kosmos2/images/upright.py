"""Cameras write down how they were held; here pictures are turned accordingly."""

import logging

from PIL import Image

from kosmos2.images.damage import DAMAGE

log = logging.getLogger(__name__)

ORIENTATION = 0x0112  # the EXIF tag; its values are undone thus:
UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def upright(image: Image.Image, name: str) -> Image.Image:
    """The picture as it was seen, by the orientation in its EXIF data."""
    try:
        turn = UPRIGHT.get(image.getexif().get(ORIENTATION, 1))
    except DAMAGE as error:  # the pixels are there: a broken note about them is no reason to refuse
        log.warning("%s: unreadable EXIF (%s), taken as upright", name, type(error).__name__)
        return image
    return image if turn is None else image.transpose(turn)
