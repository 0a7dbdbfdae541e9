"""Float32 matrices in the order that oneDNN multiplies fastest with: the same numbers, to answer.

A product with few rows is then as quick as memory is, and one with many is quicker too
(benchmarks/float_order.py). The plain order is given up, since both would be twice the memory; only
the words keep it as well, for looking them up. What is packed cannot learn.

Shapes: M rows of activations, K inputs, N outputs, W words, D text width.
"""

from __future__ import annotations

import functools
import logging
from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float, Float32
from torch import Tensor, nn

from kosmos2.model.joined import join
from kosmos2.model.network import Network
from kosmos2.model.product import Linear
from kosmos2.model.quantised.frozen import Frozen, Packing
from kosmos2.model.quantised.network import matrices
from kosmos2.model.words import Words

log = logging.getLogger(__name__)

ROWS = 64  # for which the order is chosen; it is as good for one row and for hundreds
WAY_OUT = (
    "packed weights have no gradients and cannot be trained; load the network with "
    "kosmos2.weights.load.load_network, which leaves them as they are"
)


def can_pack(device: torch.device, dtype: torch.dtype) -> bool:
    """Whether weights can be packed there."""
    return device.type == "cpu" and dtype == torch.float32 and _multiplies()


def pack(network: Network) -> Network:
    """Pack every matrix of a network, in place, if that is possible; it can then only answer."""
    if can_pack(network.device, network.dtype):
        for name in matrices(network):
            settle(network, name)
        join(network)
        network.requires_grad_(False)
    return network.eval()


def settle(network: Network, name: str) -> None:
    """Pack one matrix whose weights are there."""
    module = network.get_submodule(name)
    if isinstance(module, nn.Linear) and type(module) in (nn.Linear, Linear):
        network.set_submodule(name, PackedLinear(module))
    elif type(module) is Words:
        network.set_submodule(name, PackedWords(module))


class Reordered:
    """A matrix in oneDNN's order; it cannot change."""

    def __init__(self, weight: Float32[Tensor, "N K"]) -> None:
        self.shape, self.dtype = tuple(weight.shape), weight.dtype
        self._weight = torch.ops.mkldnn._reorder_linear_weight(weight.detach().contiguous(), ROWS)

    def product(
        self, x: Float32[Tensor, "*any K"], bias: Float32[Tensor, " N"] | None = None
    ) -> Float32[Tensor, "*any N"]:
        """As `F.linear`, without gradients."""
        return torch.ops.mkldnn._linear_pointwise(x, self._weight, bias, "none", [], "")

    def plain(self) -> Float32[Tensor, "N K"]:
        """The matrix in its usual order."""
        return self._weight.to_dense()

    def __deepcopy__(self, memo: object) -> Reordered:
        return self


class PackedLinear(Frozen):
    """`nn.Linear`, packed."""

    weight: Float[Tensor, "N K"] | None  # None once it is packed
    rounds = False
    why_frozen = WAY_OUT

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        self.weight = nn.Parameter(linear.weight.detach(), requires_grad=False)
        self.bias = linear.bias
        self.packed: Reordered | Any = None  # or some rows of a larger one
        self.settle()

    def settle(self) -> None:
        """Pack the weights, if they are where and what they can be packed as."""
        if self.weight is not None and can_pack(self.weight.device, self.weight.dtype):
            self.packed = Reordered(self.weight)
            self.weight = None

    def unsettle(self) -> None:
        """Unpack."""
        if self.packed is not None:
            self.weight = nn.Parameter(self.packed.plain(), requires_grad=False)
            self.packed = self.together = None

    def pack_with(self, layers: Sequence[PackedLinear]) -> Reordered:
        """The weights of all of these, one after the other."""
        return Reordered(torch.cat([layer.packed.plain() for layer in layers if layer.packed]))

    def stored(self) -> dict[str, Packing]:
        """The weights, by their name, while they are packed."""
        return {} if self.packed is None else {"weight": self.packed}

    def forward(self, x: Float[Tensor, "*any K"]) -> Float[Tensor, "*any N"]:
        """As `nn.Linear`."""
        if self.packed is not None:
            return self.answer(x, self.packed, self.bias)
        assert self.weight is not None
        return F.linear(x, self.weight, self.bias)

    def answer(
        self, x: Float[Tensor, "*any K"], packed: Reordered | Any, bias: Tensor | None
    ) -> Float[Tensor, "*any more"]:
        """What the layer would say if it had these weights."""
        if x.requires_grad and torch.is_grad_enabled():  # slow, and right
            return F.linear(x, packed.plain(), bias)
        return packed.product(x, bias)


class PackedWords(Words, Frozen):
    """The embedding of words, packed for scoring them; looking one up needs its row."""

    rounds = False
    why_frozen = WAY_OUT

    def __init__(self, words: Words) -> None:
        sizes, weight = (words.num_embeddings, words.embedding_dim), words.weight.detach()
        super().__init__(*sizes, padding_idx=words.padding_idx, _weight=weight, _freeze=True)
        self.packed: Reordered | None = None
        self.settle()

    def settle(self) -> None:
        """Pack the rows."""
        if can_pack(self.weight.device, self.weight.dtype):
            self.packed = Reordered(self.weight)

    def unsettle(self) -> None:
        """Forget the packed ones."""
        self.packed = None

    def score(
        self, x: Float[Tensor, "*any D"], words: slice | None = None
    ) -> Float[Tensor, "*any W"]:
        """The product with every word's row, or with those of a slice."""
        wants_gradients = x.requires_grad and torch.is_grad_enabled()
        if words is not None or self.packed is None or wants_gradients:
            return super().score(x, words)
        return self.packed.product(x)


@functools.cache
def _multiplies() -> bool:
    """Whether the kernel is here and gives the products."""
    random = torch.Generator().manual_seed(0)
    weight, x = torch.randn(48, 80, generator=random), torch.randn(5, 80, generator=random)
    try:
        reordered = Reordered(weight)
        right = torch.equal(reordered.plain(), weight) and torch.allclose(
            reordered.product(x), F.linear(x, weight), atol=1e-4
        )
    except (RuntimeError, AttributeError, TypeError):  # as torch says that it has no such thing
        right = False
    if not right:
        log.info("float32 weights cannot be packed on this processor; they stay as they are")
    return right
