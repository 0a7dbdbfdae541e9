"""Boxes and answers as other people's programs read them.

Every family of models writes a box in its own way, and each has parsers out there.

    numbers   one box as the numbers of a family, and back
    answers   a whole answer as the text that a family would write

`unit_of` says in words what the numbers mean, so that no reply leaves anybody guessing.
"""

from kosmos2.dialects.answers import DIALECTS, region, render, unit_of
from kosmos2.dialects.numbers import COORDINATES, box_from, coordinates

__all__ = ["COORDINATES", "DIALECTS", "box_from", "coordinates", "region", "render", "unit_of"]
