"""The network with its throw-away heads, and what it is told about its mistakes.

Shapes: N scenes, P patches, L latents, T tokens, M tokens that count, C cells, S cells a side.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kosmos2.geometry import CELLS, SIDE
from kosmos2.images import MEAN, STD
from kosmos2.model import Network
from kosmos2.train import cells
from kosmos2.train.batches import IGNORED, Batch, visible
from kosmos2.train.dense import DenseHead, near

SEEING = 0.5  # weight of the dense losses once all tasks are taught
PLACING = 3.0  # weight of a location beside a word: exact corners are what is learnt last


@dataclass(slots=True)
class Report:
    """One step in numbers: losses, and shares from 0 to 1."""

    loss: float
    patches_right: float
    latents_right: float
    words: float = 0.0  # cross-entropy of words and tags
    places: float = 0.0  # cross-entropy of locations, against the softened truth


def start(network: Network, generator: torch.Generator) -> None:
    """Fill a network to learn from nothing, with a connector that can be heard.

    The connector's features have length one, so with the usual small weights they would drown
    beside the latent queries, whose numbers have variance one: its first layer starts with variance
    one too.
    """
    network.initialise(generator)
    connector = network.connector
    attention = connector.attention
    with torch.no_grad():
        connector.project.weight.normal_(0.0, 1.0, generator=generator)
        for part in (attention.query, attention.key, attention.value, attention.out):
            part.weight.normal_(0.0, part.in_features**-0.5, generator=generator)


class Learner(nn.Module):
    """Everything that has gradients while training."""

    def __init__(self, network: Network) -> None:
        super().__init__()
        self.network = network
        self.patch_head = DenseHead(network.config.vision.width)
        self.latent_head = DenseHead(network.config.text.width)
        cells.share(network.decoder.words)

    def loss(self, batch: Batch, spread: float) -> tuple[Tensor, Report]:
        """What one batch costs, forgiving locations `spread` cells around the true one."""
        pixels = normalise(batch.pixels, self.network.config.vision.image_size)
        vision = self.network.vision
        seen = vision.last_norm(vision(pixels))
        latents = self.network.connector(seen)
        naming, placing, patches_right = self.patch_head.loss(
            seen[:, 1:], batch.patch_names, batch.patch_edges, spread
        )
        naming2, placing2, latents_right = self.latent_head.loss(
            latents, batch.latent_names, batch.latent_edges, spread
        )
        total = naming + naming2 + placing + placing2
        report = Report(0.0, float(patches_right), float(latents_right))
        if batch.ids is not None:
            words, places, share = self._telling(batch, latents, spread)
            total = SEEING * total + (1 - share) * words + PLACING * share * places
            report.words, report.places = float(words.detach()), float(places.detach())
        report.loss = float(total.detach())
        return total, report

    def _telling(
        self, batch: Batch, latents: Tensor, spread: float
    ) -> tuple[Tensor, Tensor, float]:
        """Cross-entropy of words and of locations, and the locations' share of the tokens."""
        assert batch.ids is not None
        assert batch.segments is not None
        assert batch.labels is not None
        assert batch.corners is not None
        hidden = self.network.read(
            batch.ids,
            latents=latents,
            slots=batch.slots,
            positions=batch.positions,
            visible=visible(batch.segments),
        )
        counts = batch.labels != IGNORED
        logs = self.network.decoder.logits(hidden[counts]).log_softmax(-1)
        labels, corners = batch.labels[counts], batch.corners[counts]
        placed = corners[:, 0] >= 0
        words = F.nll_loss(logs[~placed], labels[~placed])
        grid = logs[placed][:, -CELLS:].unflatten(-1, (SIDE, SIDE))
        across, down = near(corners[placed], spread).unbind(dim=1)
        places = -torch.einsum("mrc,mr,mc->m", grid, down, across).mean()
        return words, places, float(placed.float().mean())


def normalise(pixels: Tensor, size: int) -> Tensor:
    """From uint8 pictures (N S S 3) to what the tower reads (N 3 S S)."""
    assert pixels.shape[1:3] == (size, size)
    scaled = pixels.permute(0, 3, 1, 2).float() / 255
    return (scaled - torch.tensor(MEAN)[:, None, None]) / torch.tensor(STD)[:, None, None]
