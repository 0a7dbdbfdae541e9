"""A head that is thrown away: each vector names the thing on its patch and says where it ends.

It stands in for the CLIP weights that the original starts from. Caption loss alone teaches a small
model next to nothing of the picture; with this head the tower, and then the latents, learn to see,
and hold what the decoder will need in a form it can copy: a name, and four edges as cells.

Shapes: N pictures, P places (patches or latents), K nouns and nothing, S cells a side, D width.
"""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from kosmos2.geometry import SIDE
from kosmos2.scenes.layout import Scene
from kosmos2.scenes.stickers import NOUNS

NOTHING = len(NOUNS)
_ENOUGH = 0.25  # of the smaller of place and thing must be shared to be called so
_INDEX = {noun: index for index, noun in enumerate(NOUNS)}


class DenseHead(nn.Module):
    """Linear, so that what it reads lies open for others to read."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.name = nn.Linear(width, len(NOUNS) + 1)
        self.edges = nn.Linear(width, 4 * SIDE)

    def loss(
        self,
        seen: Float[Tensor, "N P D"],
        names: Int[Tensor, "N P"],
        edges: Float[Tensor, "N P 4"],
        spread: float,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return naming loss, edge loss where there is a thing, and the share named right."""
        scores = self.name(seen).float()
        naming = F.cross_entropy(scores.flatten(0, 1), names.flatten())
        there = names != NOTHING
        logits = self.edges(seen[there]).float().unflatten(-1, (4, SIDE))
        placing = -(near(edges[there], spread) * logits.log_softmax(-1)).sum(-1).mean()
        right = (scores.argmax(-1) == names)[there].float().mean()
        return naming, placing, right


def near(places: Float[Tensor, ...], spread: float) -> Float[Tensor, "... S"]:
    """A bell over the cells around each place (in cells): being off by one is nearly right."""
    middles = torch.arange(SIDE, device=places.device) + 0.5
    away = (places[..., None] - middles) / spread
    return (-0.5 * away**2).softmax(-1)


def truth(scene: Scene, side: int) -> tuple[np.ndarray, np.ndarray]:
    """For each of side x side places the noun on it (int64) and its edges in cells (float32, 4)."""
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
        best[mine], names[mine] = share[mine], _INDEX[thing.noun]
        edges[mine] = np.array([box.x1, box.y1, box.x2, box.y2], dtype=np.float32) * SIDE
    return names, edges
