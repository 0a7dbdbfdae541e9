"""From the locations of one box to the box, its score, or what is wrong with them."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from kosmos2.geometry import CELLS, SIDE, Box, box_of
from kosmos2.markup.events import Problem

_SHOWN = 40  # locations that a problem quotes


@dataclass(frozen=True, slots=True)
class Location:
    """A location tag that was read."""

    at: int  # characters of markup before it
    cell: int
    logprob: float | None  # among the locations alone


def box_in(group: Sequence[Location], at: int) -> Box | list[Problem]:
    """The box of two locations; `at` is where the object stands, for a group without any.

    Its score is the geometric mean of the two probabilities.
    """
    at = group[0].at if group else at
    if len(group) != 2:
        cells = " ".join(str(found.cell) for found in group[:_SHOWN]) or "none"
        detail = f"a box takes 2 locations, here are {len(group)}: {cells}"
        return [Problem("odd_locations", at, detail)]
    unknown = [found for found in group if found.cell >= CELLS]
    if unknown:
        return [
            Problem("unknown_location", found.at, f"{found.cell} is beyond cell {CELLS - 1}")
            for found in unknown
        ]
    first, last = group
    if last.cell // SIDE < first.cell // SIDE or last.cell % SIDE < first.cell % SIDE:
        return [Problem("inverted_box", at, f"{last.cell} is left of or above {first.cell}")]
    if first.logprob is None or last.logprob is None:
        return box_of(first.cell, last.cell)
    return box_of(first.cell, last.cell, math.exp((first.logprob + last.logprob) / 2))
