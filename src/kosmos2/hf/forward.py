"""One pass through the network, with everything that somebody may want to see of it.

Shapes: N pictures, Y by X pixels, L latents of a picture, P tower vectors, V vision width, B rows,
T new tokens, D text width, H heads.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from kosmos2.hf.arguments import IGNORED, check_pixels
from kosmos2.hf.notices import once
from kosmos2.hf.outputs import BaseModelOutputWithPooling
from kosmos2.model import Cache, Network
from kosmos2.model.decoder import positions_of


@dataclass(frozen=True, kw_only=True, slots=True)
class Wishes:
    """What to bring back besides the result, and how to compute attention."""

    hidden_states: bool = False
    attentions: bool = False
    plainly: bool = False  # attention the plain way even where nobody asks for its weights


@dataclass(frozen=True, slots=True)
class Seen:
    """What came of pictures; the last two only if they were looked at just now."""

    latents: Float[Tensor, "N L D"] | None = None
    projection: Float[Tensor, "N H L P+L"] | None = None
    tower: BaseModelOutputWithPooling | None = None

    def features(self) -> BaseModelOutputWithPooling:
        """What the tower put out, with the latents in place of the class vector."""
        assert self.tower is not None
        tower = self.tower
        return BaseModelOutputWithPooling(
            tower.last_hidden_state,
            self.latents,
            tower.hidden_states,
            tower.attentions,
            self.projection,
        )


@dataclass(frozen=True, slots=True)
class Heard:
    """What came of tokens."""

    last: Float[Tensor, "B T D"]
    hidden_states: tuple[Tensor, ...] | None
    attentions: tuple[Tensor, ...] | None
    cache: Cache | None


def look(
    network: Network, pixels: Float[Tensor, "N 3 Y X"], wishes: Wishes, *, interpolate: bool = False
) -> Seen:
    """`Network.look`, organ by organ.

    Raises:
        ImageError: pixels that the tower cannot read.
    """
    check_pixels(pixels, network.config.vision, interpolate=interpolate)
    watched, weights = _lists(wishes)
    vectors = network.vision(pixels, watched, attentions=weights, interpolate=interpolate)
    normed = network.vision.last_norm(vectors)
    projection: list[Tensor] = []  # one small layer: always the plain way, so always there
    latents = network.connector(normed, attentions=projection)
    tower = BaseModelOutputWithPooling(vectors, normed[:, 0], *_wished(wishes, watched, weights))
    return Seen(latents, projection[0], tower)


def read(
    network: Network,
    ids: Int[Tensor, "B T"] | None,
    embedded: Float[Tensor, "B T D"] | None,
    wishes: Wishes,
    *,
    cache: Cache | None,
    **how: Tensor | None,
) -> Heard:
    """`Network.read`; `how` is latents, slots, keep and positions."""
    watched, weights = _lists(wishes)
    last = network.read(
        ids, embedded=embedded, cache=cache, watch=watched, attentions=weights, **how
    )
    return Heard(last, *_wished(wishes, watched, weights), cache)


def padded_positions(
    ids: Int[Tensor, "B T"] | None, embedded: Float[Tensor, "B T D"] | None, past: int, pad: int
) -> Int[Tensor, "B T"]:
    """Where the reference's version 5 believes new tokens to be: padding remembered counts too."""
    if ids is not None:
        real = ids != pad
    else:
        assert embedded is not None
        real = torch.ones(embedded.shape[:2], dtype=torch.bool, device=embedded.device)
    return positions_of(real, real.new_full((len(real),), past, dtype=torch.long), pad)


def loss_of(
    logits: Float[Tensor, "B T W"], labels: Int[Tensor, "B T"], items: int | Tensor | None
) -> Float[Tensor, ""]:
    """Cross-entropy of each token given those before it: their mean, or their sum over `items`.

    `items` is for batches that are read in parts: the number of labels that count in all of them.
    """
    # The last has nothing to expect; leaving it out of the scores instead would copy them all.
    expected = F.pad(labels[:, 1:].to(logits.device), (0, 1), value=IGNORED).flatten()
    if not bool((expected != IGNORED).any()):
        once(f"no label counts, so the loss is nothing: all but the first are {IGNORED}")
    scores = logits.float().flatten(0, 1)
    if items is None:
        return F.cross_entropy(scores, expected)
    total = F.cross_entropy(scores, expected, reduction="sum")
    return total / (items.to(total.device) if isinstance(items, Tensor) else items)


def _lists(wishes: Wishes) -> tuple[list[Tensor] | None, list[Tensor] | None]:
    """Where the network puts what it is to bring back."""
    plainly = wishes.attentions or wishes.plainly
    return ([] if wishes.hidden_states else None), ([] if plainly else None)


def _wished(
    wishes: Wishes, watched: list[Tensor] | None, weights: list[Tensor] | None
) -> tuple[tuple[Tensor, ...] | None, tuple[Tensor, ...] | None]:
    attentions = tuple(weights) if weights is not None and wishes.attentions else None
    return (None if watched is None else tuple(watched)), attentions
