"""Query, key and value in one product: they read the same vectors, so one call does for three.

The three layers stay where they are, and are stored as ever; each is some rows of a larger matrix.

Shapes: N outputs of one layer, K inputs, M rows of activations.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol, runtime_checkable

import torch
from jaxtyping import Shaped
from torch import Tensor

from kosmos2.model.layers import Attention
from kosmos2.model.network import Network


@runtime_checkable
class Multiplying(Protocol):
    """Packed weights, and what they are for."""

    shape: tuple[int, ...]
    dtype: torch.dtype

    def product(self, x: Tensor, /) -> Tensor:
        """The sums of all products."""
        ...

    def plain(self) -> Tensor:
        """The weights in their usual order."""
        ...


@runtime_checkable
class Joinable(Protocol):
    """A layer that can have its weights among those of others."""

    packed: Any  # Multiplying, or None
    bias: Any
    together: Callable[[Tensor], Tensor] | None

    def pack_with(self, layers: Sequence[Any], /) -> Any:
        """The weights of all of these, one after the other."""
        ...

    def answer(self, x: Tensor, packed: Any, bias: Tensor | None, /) -> Tensor:
        """What the layer would say if it had these weights."""
        ...

    def unsettle(self) -> None:
        """Back to plain weights."""
        ...

    def settle(self) -> None:
        """Pack the weights."""
        ...


class Part:
    """Some rows of packed weights."""

    def __init__(self, whole: Multiplying, rows: slice) -> None:
        self.shape = (rows.stop - rows.start, whole.shape[1])
        self.dtype = whole.dtype
        self._whole, self._rows = whole, rows

    def product(self, x: Shaped[Tensor, "*any K"], bias: Tensor | None = None) -> Tensor:
        """The sums of these rows' products."""
        sums = self._whole.product(x)[..., self._rows]
        return sums if bias is None else sums + bias

    def plain(self) -> Shaped[Tensor, "N K"]:
        """These rows in their usual order."""
        return self._whole.plain()[self._rows].contiguous()

    def __deepcopy__(self, memo: object) -> Part:
        return self


def join(network: Network) -> None:
    """Make one matrix of three wherever vectors ask each other; nothing else changes."""
    for attention in network.modules():
        if not isinstance(attention, Attention) or attention is network.connector.attention:
            continue
        layers: list[Any] = [attention.query, attention.key, attention.value]
        first = layers[0]
        if len({type(layer) for layer in layers}) > 1 or not isinstance(first, Joinable):
            continue
        if any(layer.packed is None or layer.bias is None for layer in layers):
            continue
        whole = first.pack_with(layers)
        bias = torch.cat([layer.bias.detach() for layer in layers])
        start = 0
        for layer in layers:
            rows = slice(start, start + layer.packed.shape[0])
            layer.packed, start = Part(whole, rows), rows.stop
        first.together = lambda x, ask=first, whole=whole, bias=bias: ask.answer(x, whole, bias)


def separate(attention: Attention) -> None:
    """The inverse of `join`, for one: its layers answer one by one again, each by itself."""
    for layer in (attention.query, attention.key, attention.value):
        if isinstance(layer, Joinable) and isinstance(layer.packed, Part):
            layer.unsettle()
            layer.settle()
