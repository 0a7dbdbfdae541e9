"""A picture as the server keeps it: what the network looks at, and no picture any more.

Letters: S side of the picture the network sees.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import UInt8

from kosmos2.errors import EngineError

PREPROCESSING = b"kosmos2 pixels 1\n"  # raise it when the same file gives other pixels


@dataclass(frozen=True, slots=True, eq=False)
class Decoded:
    """A picture that has been decoded, as far as an answer needs to know it."""

    width: int  # in pixels, upright
    height: int
    rotated: int  # degrees clockwise that the file's orientation asked for, and that were done
    digest: str
    pixels: UInt8[np.ndarray, "S S 3"] = field(repr=False)  # squashed, in the colours it has
    name: str = "the picture"

    def jpeg(self) -> bytes:
        """Not to be had: the server keeps no pictures."""
        raise EngineError(f"{self.name} was not kept; draw on the one that was sent")


def digest_of(data: bytes) -> str:
    """The name of what a file becomes: of its bytes alone, never of what it says of itself."""
    return hashlib.sha256(PREPROCESSING + data).hexdigest()
