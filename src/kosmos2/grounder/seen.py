"""A picture that has been looked at: see once, ask many.

Shapes: L latents, D text width.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol

from jaxtyping import Float
from torch import Tensor

from kosmos2 import result


class Picture(result.Picture, Protocol):
    """A picture, as far as it must be known once it has been looked at."""

    @property
    def name(self) -> str:
        """What messages call it."""
        ...

    @property
    def digest(self) -> str:
        """Another for another content."""
        ...


@dataclass(frozen=True, slots=True, eq=False)
class Seen:
    """What one network made of a picture; every verb takes it in the picture's place."""

    picture: Picture
    latents: Float[Tensor, "L D"] = field(repr=False)
    by: object = field(repr=False)  # the network that looked; another would read it as noise

    @property
    def width(self) -> int:
        """Pixels across, upright."""
        return self.picture.width

    @property
    def height(self) -> int:
        """Pixels down, upright."""
        return self.picture.height
