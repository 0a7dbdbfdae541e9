"""A head that is thrown away: each vector names the thing on its patch and says where it ends.

It stands in for the CLIP weights that the original starts from. Caption loss alone teaches a small
model next to nothing of the picture; with this head the tower, and then the latents, learn to see,
and hold what the decoder will need in a form it can copy: a name, four edges as cells, a colour,
and whether the middle of the thing lies here. Each thing has one middle, so middles can be counted.

Shapes: N pictures, P places (patches or latents), K nouns and nothing, S cells a side, D width.
"""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from kosmos2.geometry import SIDE
from kosmos2.scenes.colours import COLOURS
from kosmos2.scenes.layout import Scene
from kosmos2.scenes.stickers import NOUNS

NOTHING = len(NOUNS)
NAMES = NOTHING + 1
# A place's truth is one number: name + NAMES x (middle + 2 x colour), colours counted from 1. So
# NOTHING is itself, without colour or middle.
_BESIDE = 0.5  # weight of colour and of middle beside the name
_ENOUGH = 0.25  # of the smaller of place and thing must be shared to be called so
_INDEX = {noun: index for index, noun in enumerate(NOUNS)}


class DenseHead(nn.Module):
    """Linear, so that what it reads lies open for others to read."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.name = nn.Linear(width, NAMES)
        self.edges = nn.Linear(width, 4 * SIDE)
        self.colour = nn.Linear(width, len(COLOURS))
        self.middle = nn.Linear(width, 1)

    def loss(
        self,
        seen: Float[Tensor, "N P D"],
        names: Int[Tensor, "N P"],
        edges: Float[Tensor, "N P 4"],
        spread: float,
        count: Float[Tensor, ""],
        there_count: Float[Tensor, ""],
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return naming loss, edge loss where there is a thing, and the share named right.

        Each is a share of the whole step's, of which `count` places are known, and on
        `there_count` is a thing. Naming includes colour and middle.
        """
        scores = self.name(seen).float()
        known = names >= 0
        bare = torch.where(known, names % NAMES, names)
        naming = F.cross_entropy(scores.flatten(0, 1), bare.flatten(), reduction="sum")
        there = known & (bare != NOTHING)
        things, most = seen[there], there_count.clamp(min=1)
        logits = self.edges(things).float().unflatten(-1, (4, SIDE))
        each = -(near(edges[there], spread) * logits.log_softmax(-1)).sum(-1)
        more = names[there] // NAMES
        middle = F.binary_cross_entropy_with_logits(
            self.middle(things).float()[:, 0], (more % 2).float(), reduction="sum"
        )
        colour = F.cross_entropy(
            self.colour(things).float(), more // 2 - 1, ignore_index=-1, reduction="sum"
        )
        right = (scores.argmax(-1) == bare)[there].float().sum() / most
        beside = _BESIDE * (middle + colour) / most
        return naming / count.clamp(min=1) + beside, each.sum() / (4 * most), right


def near(places: Float[Tensor, ...], spread: float) -> Float[Tensor, "... S"]:
    """A bell over the cells around each place (in cells): being off by one is nearly right."""
    middles = torch.arange(SIDE, device=places.device) + 0.5
    away = (places[..., None] - middles) / spread
    return (-0.5 * away**2).softmax(-1)


def truth(scene: Scene, side: int) -> tuple[np.ndarray, np.ndarray]:
    """For each of side x side places what is on it (int64) and its edges in cells (float32, 4)."""
    names = np.full(side * side, NOTHING, dtype=np.int64)
    edges = np.zeros((side * side, 4), dtype=np.float32)
    best = np.full(side * side, _ENOUGH)
    low = np.arange(side) / side
    for thing in scene.things:
        box = thing.box
        across = np.minimum(low + 1 / side, box.x2) - np.maximum(low, box.x1)
        down = np.minimum(low + 1 / side, box.y2) - np.maximum(low, box.y1)
        shared = (np.clip(down, 0, None)[:, None] * np.clip(across, 0, None)).ravel()
        share = shared / min(side**-2, (box.x2 - box.x1) * (box.y2 - box.y1))
        mine = share >= best  # what lies on top comes later, and wins when as much is shared
        colour = COLOURS.index(thing.colour) + 1 if thing.colour else 0
        best[mine], names[mine] = share[mine], _INDEX[thing.noun] + 2 * NAMES * colour
        edges[mine] = np.array([box.x1, box.y1, box.x2, box.y2], dtype=np.float32) * SIDE
        column, row = int((box.x1 + box.x2) / 2 * side), int((box.y1 + box.y2) / 2 * side)
        if mine[row * side + column]:
            names[row * side + column] += NAMES
    return names, edges
