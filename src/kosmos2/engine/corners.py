"""Where a phrase is, as probabilities: all places at once instead of the likeliest two.

Shapes: B prompts (one), L locations, K first corners that are followed up, W vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from kosmos2.engine.decoder import Cached, Decoder, Inputs, Network
from kosmos2.engine.grammar import Tags
from kosmos2.model.cache import Cache


@dataclass(frozen=True, slots=True)
class _Part:
    """Some of the tokens of prompts."""

    ids: Int[Tensor, "B T"]
    slots: Bool[Tensor, "B T"]
    keep: Bool[Tensor, "B T"]
    pixels: None = None


@dataclass(frozen=True, slots=True)
class Corners:
    """What the network thinks of the two corners of a box, among the locations alone."""

    presence: float  # of the tag that begins an object, among all words
    first: Float[Tensor, " L"]  # probability of each upper-left corner
    tried: Int[Tensor, " K"]  # the likeliest of them, best first, counted from 0
    opposite: Float[Tensor, "K L"]  # for each of these, of the lower-right one

    @property
    def joint(self) -> Float[Tensor, "K L"]:
        """Probability of each pair."""
        return self.first[self.tried][:, None] * self.opposite


class After(Cached):
    """Goes on from a beginning that was read before, which stays as it is for the next.

    Prompts begin alike: the first tokens of one are not read again.
    """

    def __init__(self, network: Network, beginning: Cache) -> None:
        super().__init__(network)
        self.cache = beginning.copy()

    def start(self, inputs: Inputs, latents: Float[Tensor, "N L D"] | None) -> Float[Tensor, "B W"]:
        """Read the rest of the prompts."""
        read = self.cache.length
        rest = _Part(inputs.ids[:, read:], inputs.slots[:, read:], inputs.keep[:, read:])
        return super().start(rest, None)


@torch.no_grad()
def read_beginning(
    network: Network, inputs: Inputs, latents: Float[Tensor, "N L D"] | None, length: int
) -> Cache:
    """What the network remembers of a prompt's first tokens, latents and all."""
    reader = Cached(network)
    ids, slots, keep = inputs.ids, inputs.slots, inputs.keep
    reader.start(_Part(ids[:, :length], slots[:, :length], keep[:, :length]), latents)
    return reader.cache


@torch.no_grad()
def read_corners(
    network: Network,
    inputs: Inputs,
    *,
    tags: Tags,
    latents: Float[Tensor, "N L D"] | None = None,
    tries: int = 16,
    decoder: Callable[[Network], Decoder] = Cached,
) -> Corners:
    """Read one prompt that ends in a phrase, then its object, then `tries` first corners at once.

    Opposite corners above or to the left have no probability.
    """
    reader = decoder(network)
    object_tag = torch.tensor([tags.object])
    presence = reader.start(inputs, latents).float().softmax(-1)[0, tags.object]
    places = slice(tags.locations.start, tags.locations.stop)
    first = reader.step(object_tag)[0, places].float().softmax(-1).cpu()
    tried = first.topk(min(tries, len(first))).indices
    reader.pick(torch.zeros(len(tried), dtype=torch.long))
    scores = reader.step(tried + tags.locations.start)[:, places].float().cpu()
    cells = torch.arange(len(first))
    above = cells // tags.columns < (tried // tags.columns)[:, None]
    left = cells % tags.columns < (tried % tags.columns)[:, None]
    opposite = scores.masked_fill(above | left, -torch.inf).softmax(-1)
    return Corners(float(presence), first, tried, opposite)
