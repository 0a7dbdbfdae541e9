"""Where a phrase is: several boxes in the order of their probability, and a map of all of it.

Letters: L locations, K first corners that were followed up; the grid is SIDE x SIDE cells.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from kosmos2.engine.corners import Corners
from kosmos2.geometry import CELLS, SIDE, Box, box_of

TRIES = 16  # first corners that are followed up
NEAR = 1  # cells to either side that share in a refined corner; 2 and 3 give the same
CONSIDERED = 1024  # pairs of corners, the likeliest, among which different boxes are looked for

Map = tuple[tuple[float, ...], ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Located:
    """Where one phrase may be."""

    phrase: str
    boxes: tuple[Box, ...]  # different ones, the likeliest first, each with its score
    presence: float  # 0 to 1: how surely the model would tie the phrase to a box at all
    heat: Map  # for each cell, row by row, the probability that the box covers it

    def to_dict(self, coords: str = "norm01", width_px: int = 0, height_px: int = 0) -> Any:
        """Plain values, ready for JSON; `coords` is the unit of the boxes."""
        return {
            "phrase": self.phrase,
            "presence": self.presence,
            "boxes": [
                {"box": list(box.scaled(coords, width_px, height_px)), "score": box.score}
                for box in self.boxes
            ],
            "heat": [list(row) for row in self.heat],
            "coords": coords,
        }


def located(phrase: str, corners: Corners, *, best: int, refine: bool, overlap: float) -> Located:
    """What two corners' probabilities say, as boxes and a map."""
    return Located(
        phrase=phrase.strip(),
        boxes=_likeliest(corners, best, overlap, refine=refine),
        presence=corners.presence,
        heat=tuple(tuple(line) for line in heat(corners).tolist()),
    )


def _likeliest(corners: Corners, best: int, overlap: float, *, refine: bool) -> tuple[Box, ...]:
    """The best boxes.

    One that overlaps a likelier one by more than `overlap` is another wording of it, not another;
    so is one that does when edges are where the neighbouring cells pull them.
    """
    joint = corners.joint.flatten()
    likeliest = joint.topk(min(CONSIDERED, int((joint > 0).sum())))
    found: list[Box] = []
    cells: list[Box] = []
    for score, place in zip(likeliest.values.tolist(), likeliest.indices.tolist()):
        row, lower_right = divmod(place, CELLS)
        box = box_of(int(corners.tried[row]), lower_right, math.sqrt(score))
        if not new(box, cells, overlap):
            continue
        drawn = refined(box, corners, row, lower_right) if refine else box
        if new(drawn, found, overlap):
            found.append(drawn)
            cells.append(box)
        if len(found) == best:
            break
    return tuple(found)


def new(box: Box, likelier: Sequence[Box], overlap: float) -> bool:
    """Whether a box overlaps none of the likelier ones by more than that."""
    return all(box.iou(other) <= overlap for other in likelier)


def heat(corners: Corners) -> Float[Tensor, "SIDE SIDE"]:
    """The probability of each cell to be in the box, among the first corners that were tried."""
    total = torch.zeros(SIDE, SIDE)
    for first, chances in zip(corners.tried.tolist(), corners.joint):
        # A cell is covered by every box that ends at it, below it, or to the right of it.
        reach = chances.reshape(SIDE, SIDE).flip(0, 1).cumsum(0).cumsum(1).flip(0, 1)
        top, left = divmod(first, SIDE)
        total[top:, left:] += reach[top:, left:]
    return total / corners.joint.sum()


def refined(box: Box, corners: Corners, row: int, lower_right: int) -> Box:
    """The box with each edge moved within its cell and the next, as the probabilities weigh them.

    A location names one cell of 32; how sure the network was of the neighbours says on which side
    of that cell the edge lies.
    """
    upper = _pull(corners.first, int(corners.tried[row]))
    lower = _pull(corners.opposite[row], lower_right)
    shifts = (*upper, *lower)
    x1, y1, x2, y2 = (
        min(max(edge + shift / SIDE, 0.0), 1.0) for edge, shift in zip(box.corners, shifts)
    )
    if x2 <= x1 or y2 <= y1:
        return box
    return Box(x1, y1, x2, y2, box.score)


def _pull(chances: Float[Tensor, " L"], cell: int) -> tuple[float, float]:
    """How far the weight of the neighbourhood lies from a cell, in cells: across, down."""
    row, column = divmod(cell, SIDE)
    top, bottom = max(row - NEAR, 0), min(row + NEAR, SIDE - 1) + 1
    left, right = max(column - NEAR, 0), min(column + NEAR, SIDE - 1) + 1
    near = chances.reshape(SIDE, SIDE)[top:bottom, left:right]
    near = near / near.sum()
    across = float((near.sum(0) * torch.arange(left, right)).sum()) - column
    down = float((near.sum(1) * torch.arange(top, bottom)).sum()) - row
    return across, down
