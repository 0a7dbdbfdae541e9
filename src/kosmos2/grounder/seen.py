"""A picture that has been looked at: see once, ask many.

Shapes: L latents, D text width.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from jaxtyping import Float
from torch import Tensor

from kosmos2.images import Picture


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
