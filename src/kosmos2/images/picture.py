"""A picture ready to be looked at and drawn on, and how large one may be."""

import hashlib
import io
from dataclasses import dataclass
from functools import cached_property

from PIL import Image

from kosmos2.errors import ConfigError, ImageError

JPEG_LONGEST_PX = 65_500  # what a JPEG file can hold


@dataclass(frozen=True, kw_only=True, slots=True)
class Limits:
    """How large a picture may be."""

    pixels: int = 40_000_000  # width times height
    bytes: int = 50 * 2**20  # of the file
    aspect: float = 200.0  # longer side over shorter side

    def __post_init__(self) -> None:
        for name in ("pixels", "bytes", "aspect"):
            if not getattr(self, name) >= 1:
                raise ConfigError(f"limits.{name} is {getattr(self, name)}; give 1 or more")


@dataclass(frozen=True, eq=False)
class Picture:
    """An upright RGB picture; equal pictures have equal pixels."""

    image: Image.Image
    name: str = "picture"
    rotated: int = 0  # degrees clockwise that the file asked for, and that have been done

    def __post_init__(self) -> None:
        if self.image.mode != "RGB":
            raise ImageError(f"{self.name} is {self.image.mode}, not RGB; use open_picture")

    @property
    def width(self) -> int:
        """In pixels, upright."""
        return self.image.width

    @property
    def height(self) -> int:
        """In pixels, upright."""
        return self.image.height

    @cached_property
    def digest(self) -> str:
        """SHA-256 of size, mode and pixels, in hexadecimal."""
        head = f"{self.width}x{self.height} {self.image.mode} ".encode()
        return hashlib.sha256(head + self.image.tobytes()).hexdigest()

    def jpeg(self) -> bytes:
        """The picture as a JPEG file, smaller only where JPEG could not hold it."""
        image = self.image
        if max(image.size) > JPEG_LONGEST_PX:
            image = image.copy()
            image.thumbnail((JPEG_LONGEST_PX, JPEG_LONGEST_PX))
        file = io.BytesIO()
        image.save(file, "JPEG", quality=92)
        return file.getvalue()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Picture) and self.digest == other.digest

    def __hash__(self) -> int:
        return hash(self.digest)

    def __repr__(self) -> str:
        return f"Picture({self.name!r}, {self.width} x {self.height})"
