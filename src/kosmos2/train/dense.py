"""A head that is thrown away: each vector names the thing on its patch and says where it ends.

It stands in for the CLIP weights that the original starts from. Caption loss alone teaches a small
model next to nothing of the picture; with this head the tower, and then the latents, learn to see,
and hold what the decoder will need in a form it can copy: a name, four edges as cells, a colour,
and whether the middle of the thing lies here. Each thing has one middle, so middles can be counted.

Of a labelling export the boxes are known and taken to be all there are; its classes follow the
nouns.

Shapes: N pictures, P places (patches or latents), K nouns and nothing, S cells a side, D width.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from kosmos2.config import Config
from kosmos2.data.sample import Sample
from kosmos2.errors import RecipeError
from kosmos2.geometry import SIDE, Box
from kosmos2.scenes.colours import COLOURS
from kosmos2.scenes.layout import Scene
from kosmos2.scenes.stickers import NOUNS

NOTHING = len(NOUNS)
NAMES = NOTHING + 1
# A place's truth is one number: name + BASE x (middle + 2 x colour), colours counted from 1. So
# NOTHING is itself, without colour or middle.
BASE = 1024
MOST_CLASSES = BASE - NAMES  # of exports; what lies on a place of any further one is not told
_BESIDE = 0.5  # weight of colour and of middle beside the name
_SHARP = 0.02  # of a cell; a bell of no width at all would be 0/0
_ENOUGH = 0.25  # of the smaller of place and thing must be shared to be called so
_INDEX = {noun: index for index, noun in enumerate(NOUNS)}


class DenseHead(nn.Module):
    """Linear, so that what it reads lies open for others to read."""

    def __init__(self, width: int, classes: int = 0) -> None:
        super().__init__()
        self.name = nn.Linear(width, NAMES + classes)
        self.edges = nn.Linear(width, 4 * SIDE)
        self.colour = nn.Linear(width, len(COLOURS))
        self.middle = nn.Linear(width, 1)

    def begin_silent(self) -> None:
        """Say nothing at first, so that a new head does not shake what a network knows."""
        for layer in (self.name, self.edges, self.colour, self.middle):
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)

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
        bare = torch.where(known, names % BASE, names)
        naming = F.cross_entropy(scores.flatten(0, 1), bare.flatten(), reduction="sum")
        there = known & (bare != NOTHING)
        things, most = seen[there], there_count.clamp(min=1)
        logits = self.edges(things).float().unflatten(-1, (4, SIDE))
        each = -(near(edges[there], spread) * logits.log_softmax(-1)).sum(-1)
        more = names[there] // BASE
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
    """A bell over the cells around each place (in cells): being off by one is nearly right.

    Without spread, the cell itself; a place between two cells is in both.
    """
    middles = torch.arange(SIDE, device=places.device) + 0.5
    away = (places[..., None] - middles) / max(spread, _SHARP)
    return (-0.5 * away**2).softmax(-1)


class Marks:
    """What a labelled picture tells of its places, for rows that are learnt from.

    Args:
        config: of the network.
        classes: those of all exports that have no sticker, in the order of the head's names.
    """

    def __init__(self, config: Config, classes: Sequence[str]) -> None:
        self.sides = {"patch": config.vision.side, "latent": round(config.latents**0.5)}
        if self.sides["latent"] ** 2 != config.latents:
            raise RecipeError(
                f"heads = 'dense' lays latents out as a square, and there are {config.latents}; "
                "set stage.heads=none"
            )
        self.names = dict(_INDEX) | {name: NAMES + i for i, name in enumerate(classes)}

    def __call__(self, sample: Sample) -> dict[str, np.ndarray]:
        """The four columns of a row whose one picture is seen as the sample has it."""
        things = [
            (self.names[turn.text], box)
            for turn in sample.turns
            for span in turn.spans
            for box in span.boxes
            if turn.text in self.names
        ]
        columns: dict[str, np.ndarray] = {}
        for place, side in self.sides.items():
            columns[f"{place}_names"], columns[f"{place}_edges"] = marked(things, side)
        return columns


def extra(classes: Iterable[str]) -> tuple[str, ...]:
    """The classes that the head needs names for beside the nouns."""
    new = dict.fromkeys(name for name in classes if name not in _INDEX)
    return tuple(new)[:MOST_CLASSES]


def truth(scene: Scene, side: int) -> tuple[np.ndarray, np.ndarray]:
    """For each of side x side places what is on it (int64) and its edges in cells (float32, 4)."""
    things = []
    for thing in scene.things:
        colour = COLOURS.index(thing.colour) + 1 if thing.colour else 0
        things.append((_INDEX[thing.noun] + 2 * BASE * colour, thing.box))
    return marked(things, side)


def marked(things: Iterable[tuple[int, Box]], side: int) -> tuple[np.ndarray, np.ndarray]:
    """The same of codes and boxes; what comes later lies on top."""
    names = np.full(side * side, NOTHING, dtype=np.int64)
    edges = np.zeros((side * side, 4), dtype=np.float32)
    best = np.full(side * side, _ENOUGH)
    low = np.arange(side) / side
    for code, box in things:
        across = np.minimum(low + 1 / side, box.x2) - np.maximum(low, box.x1)
        down = np.minimum(low + 1 / side, box.y2) - np.maximum(low, box.y1)
        shared = (np.clip(down, 0, None)[:, None] * np.clip(across, 0, None)).ravel()
        share = shared / min(side**-2, (box.x2 - box.x1) * (box.y2 - box.y1))
        mine = share >= best  # what lies on top comes later, and wins when as much is shared
        best[mine], names[mine] = share[mine], code
        edges[mine] = np.array([box.x1, box.y1, box.x2, box.y2], dtype=np.float32) * SIDE
        column = min(int((box.x1 + box.x2) / 2 * side), side - 1)
        row = min(int((box.y1 + box.y2) / 2 * side), side - 1)
        if mine[row * side + column]:
            names[row * side + column] += BASE
    return names, edges
