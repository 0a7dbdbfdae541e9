"""The role that reads ids and puts out logits, remembering what it has read.

Shapes: B rows, T ids of a prompt, N pictures in all rows together, S picture side, L latents of a
picture, D text width, W vocabulary, R rows to go on with.
"""

from __future__ import annotations

from typing import Any, Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from kosmos2.config import Config
from kosmos2.model.cache import Cache


@runtime_checkable
class Inputs(Protocol):
    """A batch of prompts, padded on the left, as the processor makes it."""

    @property
    def ids(self) -> Int[Tensor, "B T"]:
        """What stands in the prompts: in a slot anything, in padding the id of padding."""

    @property
    def slots(self) -> Bool[Tensor, "B T"]:
        """Where latents go."""

    @property
    def keep(self) -> Bool[Tensor, "B T"]:
        """Where a prompt is, rather than padding."""

    @property
    def pixels(self) -> Float[Tensor, "N 3 S S"] | None:
        """The pictures, in the order of their slots."""


@runtime_checkable
class Network(Protocol):
    """What generation needs of the network."""

    @property
    def config(self) -> Config:
        """Its sizes."""

    def look(self, pixels: Float[Tensor, "N 3 S S"]) -> Float[Tensor, "N L D"]:
        """What the decoder sees of pictures."""

    def __call__(self, ids: Int[Tensor, "B T"], /, **how: Any) -> Float[Tensor, "B T W"]:
        """Logits; `how` is latents, slots, keep, cache and last."""


@runtime_checkable
class Decoder(Protocol):
    """Reads prompts, then one id of each row at a time."""

    def start(self, inputs: Inputs, latents: Float[Tensor, "N L D"] | None) -> Float[Tensor, "B W"]:
        """Read the prompts, and say what may come next in each row."""

    def step(self, ids: Int[Tensor, " B"]) -> Float[Tensor, "B W"]:
        """Read one more id of each row, and say what may come next."""

    def pick(self, rows: Int[Tensor, " R"]) -> None:
        """Go on with these of the rows, in this order; a row may be left out or taken twice."""


class Cached:
    """The network and its cache: nothing is read twice, and nothing is kept for gradients."""

    def __init__(self, network: Network) -> None:
        self.network = network
        self.cache = Cache()

    @torch.no_grad()
    def start(self, inputs: Inputs, latents: Float[Tensor, "N L D"] | None) -> Float[Tensor, "B W"]:
        """Look at the pictures, unless that was done before, and read the prompts."""
        self.device = inputs.ids.device
        if latents is None and inputs.pixels is not None:
            latents = self.network.look(inputs.pixels)
        logits = self.network(
            inputs.ids,
            latents=latents,
            slots=inputs.slots,
            keep=inputs.keep,
            cache=self.cache,
            last=True,
        )
        return logits[:, -1]

    @torch.no_grad()
    def step(self, ids: Int[Tensor, " B"]) -> Float[Tensor, "B W"]:
        """Read one id of each row."""
        return self.network(ids.to(self.device)[:, None], cache=self.cache, last=True)[:, -1]

    def pick(self, rows: Int[Tensor, " R"]) -> None:
        """Keep the memory of these rows."""
        self.cache.pick(rows.to(self.device))
