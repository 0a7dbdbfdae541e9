"""What scenes are made of: who may appear, in what colours, how many, before what, in what light.

An edition of the embedded model is taught in a world of its own, and measured there. A world never
changes once a model has learnt it; the next edition gets another.
"""

from dataclasses import dataclass, replace

from kosmos2.errors import InputError
from kosmos2.scenes.backgrounds import FAMILIES
from kosmos2.scenes.stickers import NOUNS

MOST = 5  # of a kind; there are words to count so far


@dataclass(frozen=True, slots=True)
class World:
    """The rules by which scenes of one kind are made up."""

    name: str
    nouns: tuple[str, ...]
    families: tuple[str, ...]  # of backgrounds, equally often
    crowd_odds: tuple[float, ...]  # of 1, 2, ... things in a scene
    largest: tuple[float, ...]  # longest side of a thing among 1, 2, ... of them
    copies_odds: tuple[float, ...]  # of 2, 3, ... of a kind, where a kind is repeated
    photographs: float = 0.0  # share of scenes before a photograph, whatever the families
    coloured: bool = False  # whether things that are known by their shape come in any colour
    rough: bool = False  # whether the light and the camera are often poor

    @property
    def attributes(self) -> bool:
        """Whether colour, size and larger counts are told and asked."""
        return self.coloured


FIRST = World(
    name="first",
    nouns=NOUNS[:70],
    families=tuple(FAMILIES)[:14],
    crowd_odds=(0.20, 0.25, 0.25, 0.17, 0.13),
    largest=(0.66, 0.66, 0.55, 0.45, 0.40),
    copies_odds=(0.75, 0.25),
)
HELD_BACK: tuple[str, ...] = NOUNS[120:]  # drawn, but never taught: for fine-tuning
SECOND = World(
    name="second",
    nouns=NOUNS[:120],
    families=tuple(FAMILIES)[:14],
    crowd_odds=(0.18, 0.21, 0.21, 0.20, 0.20),
    largest=(0.66, 0.66, 0.55, 0.45, 0.40),
    copies_odds=(0.34, 0.25, 0.21, 0.20),
    photographs=0.3,
    coloured=True,
    rough=True,
)
NEW = replace(SECOND, name="new", nouns=HELD_BACK)
# The second's where it is hardest: nothing is larger than three tenths of the side. For training.
SMALL = replace(SECOND, name="small", largest=(0.3, 0.3, 0.3, 0.3, 0.3))
SHIPPED = SECOND  # what the embedded model was taught in
WORLDS: dict[str, World] = {world.name: world for world in (FIRST, SECOND, NEW, SMALL)}


def world_of(name: str) -> World:
    """The world of that name.

    Raises:
        InputError: there is none.
    """
    if name not in WORLDS:
        raise InputError(f"no world is called {name!r}; there are {', '.join(WORLDS)}")
    return WORLDS[name]
