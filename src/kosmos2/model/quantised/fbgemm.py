"""The product of bytes and small weights by FBGEMM, for processors without VNNI.

Those add two products of bytes in 16 bits, where large ones do not fit. Products with bytes up to
127 always do: so each row of activations goes as two, its halves and what halving left over. The
sums are the same, and the weights are read once for both.

Shapes: M rows of activations, K inputs, N outputs.
"""

from __future__ import annotations

import warnings

import torch
from jaxtyping import Float32, Int8, UInt8
from torch import Tensor

from kosmos2.model.quantised.numbers import ZERO

HALF = ZERO // 2


class Halved:
    """Int8 weights in the order that FBGEMM reads, with their scale; they cannot change."""

    dtype = torch.int8

    def __init__(self, weights: Int8[Tensor, "N K"], size: Float32[Tensor, " N"]) -> None:
        self.shape = tuple(weights.shape)
        self.size = size
        none = torch.zeros(len(weights), dtype=torch.long)
        with warnings.catch_warnings():  # the type is on its way out; `counts_right` sees it gone
            warnings.simplefilter("ignore")
            typed = torch._make_per_channel_quantized_tensor(weights, size.double(), none, 0)
        self._weights = torch.ops.quantized.linear_prepack(typed, None)

    def product(self, numbers: UInt8[Tensor, "M K"]) -> Float32[Tensor, "M N"]:
        """The sum of all products, on the scale of the weights."""
        rows = len(numbers)
        parts = torch.empty(2 * rows, numbers.shape[1])
        parts[:rows], parts[rows:] = numbers >> 1, numbers & 1
        parts[:rows] -= HALF
        sums = torch.ops.quantized.linear_with_input_q_dq_qweight_dq_output_fp32(
            parts, 1.0, HALF, self._weights
        )
        return sums[:rows].mul_(2).add_(sums[rows:])

    def plain(self) -> Int8[Tensor, "N K"]:
        """The weights in their usual order."""
        weights: Tensor = torch.ops.quantized.linear_unpack(self._weights)[0]
        return weights.int_repr()

    def __deepcopy__(self, memo: object) -> Halved:
        return self
