"""The network with its throw-away heads, and what it is told about its mistakes.

A step's loss is a sum over all its rows, divided by what counts in all of them: so it is the same
whether the rows come as one batch, in micro-batches, or over several processes.

Shapes: R rows, N pictures, P vectors of the tower, L latents, T tokens, M tokens that count,
C cells, S cells a side, D text width, Q things that are counted.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from kosmos2.geometry import CELLS, SIDE
from kosmos2.images import MEAN, STD
from kosmos2.model import Network
from kosmos2.train import cells
from kosmos2.train.batches import IGNORED, Batch, visible
from kosmos2.train.contrastive import ContrastiveHead
from kosmos2.train.cost import costs
from kosmos2.train.dense import NOTHING, DenseHead, near
from kosmos2.train.recipe import Stage

# What a step counts, in this order: words and locations by weight, places of pictures and those of
# them with a thing on, rows, pictures.
WORDS, PLACES, PATCHES, PATCHES_THERE, LATENTS, LATENTS_THERE, ROWS, PICTURES = range(8)


@dataclass(slots=True)
class Report:
    """One step in numbers; micro-batches' reports add up to the step's."""

    loss: float = 0.0
    words: float | None = None  # cross-entropy of words and tags
    places: float | None = None  # cross-entropy of locations, against the softened truth if any
    patches_right: float | None = None  # share of things that the heads name right, 0 to 1
    latents_right: float | None = None
    contrast: float | None = None  # of pictures and texts
    norm: float | None = None  # of all gradients, before clipping
    kinds: dict[str, float] = field(default_factory=dict)  # cross-entropy by kind of lesson
    counts: dict[str, int] = field(default_factory=dict)  # tokens of each, until `settle`

    def __iadd__(self, other: Report) -> Report:
        self.loss += other.loss
        for name in ("words", "places", "patches_right", "latents_right", "contrast"):
            one, more = getattr(self, name), getattr(other, name)
            setattr(self, name, more if one is None else one if more is None else one + more)
        for kind, count in other.counts.items():
            self.kinds[kind] = self.kinds.get(kind, 0.0) + other.kinds[kind]
            self.counts[kind] = self.counts.get(kind, 0) + count
        return self

    def settle(self) -> Report:
        """The step's report, once all micro-batches are in: sums of kinds become means."""
        self.kinds = {kind: self.kinds[kind] / count for kind, count in self.counts.items()}
        self.counts = {}
        return self


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


def counted(batch: Batch) -> Float[Tensor, " Q"]:
    """What a batch counts; sums over micro-batches and processes are what a step counts."""
    count = torch.zeros(8)
    if batch.labels is not None and batch.corners is not None:
        counts = batch.labels != IGNORED
        placed = counts & (batch.corners[..., 0] >= 0)
        weights = counts.float() if batch.weights is None else batch.weights * counts
        count[PLACES] = weights[placed].sum()
        count[WORDS] = weights[counts & ~placed].sum()
    for names, all_, there in (
        (batch.patch_names, PATCHES, PATCHES_THERE),
        (batch.latent_names, LATENTS, LATENTS_THERE),
    ):
        if names is not None:
            count[all_] = (names != IGNORED).sum()
            count[there] = ((names != IGNORED) & (names != NOTHING)).sum()
    count[ROWS], count[PICTURES] = batch.rows, len(batch.pixels)
    return count


class Learner(nn.Module):
    """Everything that has gradients while training."""

    def __init__(
        self,
        network: Network,
        heads: Sequence[str] = ("dense",),
        *,
        shared_cells: bool = True,
        classes: int = 0,
    ) -> None:
        super().__init__()
        self.network = network
        config = network.config
        if "dense" in heads:
            self.patch_head = DenseHead(config.vision.width, classes)
            self.latent_head = DenseHead(config.text.width, classes)
        if "contrastive" in heads:
            self.contrastive_head = ContrastiveHead(config.vision.width, config.text.width)
        if shared_cells:
            cells.share(network.decoder.words)

    def forward(
        self, batch: Batch, stage: Stage, spread: float, whole: Float[Tensor, " Q"]
    ) -> tuple[Tensor, Report]:
        """As `loss`, under the name that modules are called by."""
        return self.loss(batch, stage, spread, whole)

    def loss(
        self, batch: Batch, stage: Stage, spread: float, whole: Float[Tensor, " Q"]
    ) -> tuple[Tensor, Report]:
        """This batch's share of what its step costs, of which `whole` says how much counts.

        Locations `spread` cells around the true one are forgiven.
        """
        network, report = self.network, Report()
        seen = latents = None
        # Processes hold slices of each layer for each other: all of them look, or none.
        if whole[PICTURES] > 0:
            pixels = normalise(batch.pixels, network.config.vision.image_size)
            seen = network.vision.last_norm(network.vision(pixels))
            if stage.tell or stage.heads == "dense":
                latents = network.connector(seen)
        total = torch.zeros((), device=batch.pixels.device)
        if stage.heads == "dense" and batch.patch_names is not None:
            assert seen is not None
            assert latents is not None
            total = self._seeing(batch, seen, latents, spread, whole, report)
        elif stage.heads == "contrastive":
            contrast = self._contrast(batch, seen) * (batch.rows / whole[ROWS])
            report.contrast, total = float(contrast.detach()), contrast
        if stage.tell:
            words, places = self._telling(batch, latents, spread, whole, report)
            share = whole[PLACES] / (whole[WORDS] + whole[PLACES])
            total = (
                stage.see_weight * total + (1 - share) * words + stage.place_weight * share * places
            )
        report.loss = float(total.detach())
        return total, report

    def _seeing(
        self,
        batch: Batch,
        seen: Float[Tensor, "N P V"],
        latents: Float[Tensor, "N L D"],
        spread: float,
        whole: Float[Tensor, " Q"],
        report: Report,
    ) -> Tensor:
        """What naming and placing of patches and of latents cost."""
        assert batch.patch_names is not None
        assert batch.patch_edges is not None
        assert batch.latent_names is not None
        assert batch.latent_edges is not None
        naming, placing, right = self.patch_head.loss(
            seen[:, 1:], batch.patch_names, batch.patch_edges, spread,
            whole[PATCHES], whole[PATCHES_THERE],
        )  # fmt: skip
        naming2, placing2, right2 = self.latent_head.loss(
            latents, batch.latent_names, batch.latent_edges, spread,
            whole[LATENTS], whole[LATENTS_THERE],
        )  # fmt: skip
        report.patches_right, report.latents_right = float(right), float(right2)
        return naming + naming2 + placing + placing2

    def _telling(
        self,
        batch: Batch,
        latents: Tensor | None,
        spread: float,
        whole: Float[Tensor, " Q"],
        report: Report,
    ) -> tuple[Tensor, Tensor]:
        """Cross-entropy of words and of locations."""
        assert batch.ids is not None
        assert batch.segments is not None
        assert batch.labels is not None
        assert batch.corners is not None
        # One lesson a row is plainly causal, padding comes last, and attention has a faster way.
        several = int(batch.segments.max()) > 1
        counts = batch.labels != IGNORED
        with self.network.decoder.one_gradient():
            hidden = self.network.read(
                batch.ids,
                latents=latents,
                slots=batch.slots,
                positions=batch.positions,
                visible=visible(batch.segments) if several else None,
                wanted=counts,
            )
            scores = self.network.decoder.logits(hidden)
        labels, corners = batch.labels[counts], batch.corners[counts]
        placed = corners[:, 0] >= 0
        weights = torch.ones(()) if batch.weights is None else batch.weights[counts]
        weights = weights.to(scores.device).expand(len(labels))
        if spread > 0:
            logs = scores.log_softmax(-1)
            each = F.nll_loss(logs, labels, reduction="none")
            grid = logs[placed][:, -CELLS:].unflatten(-1, (SIDE, SIDE))
            across, down = near(corners[placed], spread).unbind(dim=1)
            with torch.autocast(logs.device.type, enabled=False):  # sums of hundreds of numbers
                forgiven = -torch.einsum("mrc,mr,mc->m", grid, down, across)
        else:
            each = costs(scores, labels)
            forgiven = each[placed]
        words = (each * weights)[~placed].sum()
        places = (forgiven * weights[placed]).sum()
        words = words / whole[WORDS].clamp(min=1)
        places = places / whole[PLACES].clamp(min=1)
        report.words, report.places = float(words.detach()), float(places.detach())
        _by_kind(batch, each.detach(), report)
        return words, places

    def _contrast(self, batch: Batch, seen: Tensor | None) -> Tensor:
        """How badly pictures and their texts find each other; each text is read without seeing."""
        assert seen is not None
        assert batch.ids is not None
        assert batch.segments is not None
        assert batch.slots is not None
        first = batch.segments == 1  # of several lessons, the first
        same = batch.segments[:, :, None] == batch.segments[:, None, :]
        alone = torch.eye(first.shape[1], dtype=torch.bool, device=first.device)
        words = same & visible(batch.segments) & ~batch.slots[:, None, :] | alone
        hidden = self.network.read(batch.ids, positions=batch.positions, visible=words)
        places = torch.arange(first.shape[1], device=first.device)
        last = (first * places).argmax(dim=1)
        return self.contrastive_head.loss(seen[:, 0], hidden[torch.arange(len(last)), last])


def normalise(pixels: Tensor, size: int) -> Tensor:
    """From uint8 pictures (N S S 3) to what the tower reads (N 3 S S)."""
    assert pixels.shape[1:3] == (size, size)
    scaled = pixels.permute(0, 3, 1, 2).float() / 255
    mean, std = (torch.tensor(one, device=pixels.device)[:, None, None] for one in (MEAN, STD))
    return (scaled - mean) / std


def _by_kind(batch: Batch, each: Float[Tensor, " M"], report: Report) -> None:
    """Sort what each token cost by the kind of its lesson."""
    assert batch.labels is not None
    assert batch.segments is not None
    names = sorted({kind for kinds in batch.kinds for kind in kinds})
    if not names:
        return
    widest = max(map(len, batch.kinds))
    table = torch.tensor(
        [[*map(names.index, kinds), *[0] * (widest - len(kinds))] for kinds in batch.kinds],
        device=each.device,
    )
    counts = batch.labels != IGNORED
    row, _ = counts.nonzero(as_tuple=True)
    kind = table[row, (batch.segments[counts] - 1).clamp(min=0)]
    sums = torch.zeros(len(names), device=each.device).index_add_(0, kind, each).tolist()
    tokens = kind.bincount(minlength=len(names)).tolist()
    report.kinds = {name: one for name, one, count in zip(names, sums, tokens) if count}
    report.counts = {name: count for name, count in zip(names, tokens) if count}
