"""Pictures as people have them, made into upright RGB, and RGB made into what the network looks at.

picture   Picture, and the Limits on one
opening   paths, bytes, PIL images and arrays to a Picture
damage    what is not opened, and what damaged files raise
upright   the camera's orientation undone
colours   any colour mode to RGB, transparency on white
pixels    a Picture to the network's numbers
"""

from kosmos2.images.opening import Source, open_picture
from kosmos2.images.picture import Limits, Picture
from kosmos2.images.pixels import MEAN, STD, normalised, squashed, to_pixels

__all__ = [
    "MEAN",
    "STD",
    "Limits",
    "Picture",
    "Source",
    "normalised",
    "open_picture",
    "squashed",
    "to_pixels",
]
