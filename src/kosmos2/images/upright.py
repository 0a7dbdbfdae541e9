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
# Degrees clockwise; 2, 4, 5 and 7 show a mirror image after that.
TURNED = {3: 180, 4: 180, 5: 90, 6: 90, 7: 270, 8: 270}


def orientation(image: Image.Image, name: str) -> int:
    """How the camera was held, by the EXIF data; 1 is upright."""
    try:
        return _known(image.getexif().get(ORIENTATION))
    except DAMAGE as error:  # the pixels are there: a broken note about them is no reason to refuse
        log.warning("%s: unreadable EXIF (%s), taken as upright", name, type(error).__name__)
        return 1


def told_before_loading(image: Image.Image) -> int:
    """What a TIFF says: Pillow turns it while it loads the pixels, and takes the note away."""
    return _known(getattr(image, "tag_v2", {}).get(ORIENTATION))


def upright(image: Image.Image, held: int) -> Image.Image:
    """The picture as it was seen."""
    return image.transpose(UPRIGHT[held]) if held in UPRIGHT else image


def _known(held: object) -> int:
    return held if isinstance(held, int) and held in UPRIGHT else 1
