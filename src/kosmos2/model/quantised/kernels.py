"""The product of bytes and small weights, computed fast.

Whether a kernel exists here, and whether it counts right, is found out by asking it: on processors
without the right instructions some of them saturate, some read their weights in another order, and
some are not there at all. One that fails is not used; `numbers.plain_product` always can be.

Shapes: M rows of activations, K inputs, N outputs, G groups of inputs.
"""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable

import torch
from jaxtyping import BFloat16, Float32, Int8, UInt8
from torch import Tensor

from kosmos2.model.quantised.numbers import (
    BLOCK,
    LARGEST,
    ZERO,
    from_int4,
    plain_product,
    to_blocks,
)

log = logging.getLogger(__name__)

MANY = 33  # rows from which int4 weights are better made int8 first, by measurement
AT_ONCE = 8  # blocks of outputs that are made int8 together: they stay in the processor's cache


class Packed:
    """Int8 weights in the order that oneDNN likes best, with their scale; they cannot change."""

    dtype = torch.int8

    def __init__(self, weights: Int8[Tensor, "N K"], size: Float32[Tensor, " N"]) -> None:
        self.shape = tuple(weights.shape)
        self.size = size
        # It reads memory as if it were in order, whether it is or not.
        self._weights = torch.ops.onednn.qlinear_prepack(weights.contiguous(), None)
        self._zeros = torch.zeros(len(weights), dtype=torch.int32)

    def product(self, numbers: UInt8[Tensor, "M K"]) -> Float32[Tensor, "M N"]:
        """The sum of all products, on the scale of the weights."""
        return torch.ops.onednn.qlinear_pointwise(
            *(numbers, 1.0, ZERO),
            *(self._weights, self.size, self._zeros),
            *(None, 1.0, 0, torch.float32),  # no bias; the result as it is
            *("none", [], ""),
        )

    def plain(self) -> Int8[Tensor, "N K"]:
        """The weights in their usual order."""
        return self._weights.to_dense().T.contiguous()

    def __deepcopy__(self, memo: object) -> Packed:
        return self


def product8(numbers: UInt8[Tensor, "M K"], weights: Int8[Tensor, "N K"]) -> Float32[Tensor, "M N"]:
    """The sum of all products, of weights in their usual order."""
    if weights.device.type == "cpu" and counts_right(_by_int_mm):
        return _by_int_mm(numbers, weights)
    return plain_product(numbers, weights)


def product4(
    numbers: UInt8[Tensor, "M K"],
    packed: UInt8[Tensor, "N half_K"],
    grid: BFloat16[Tensor, "G N 2"],
) -> Float32[Tensor, "M N"]:
    """The sum of all products, rounded to bfloat16, of int4 weights in blocks."""
    if len(numbers) < MANY and packed.device.type == "cpu" and counts_right(_by_int4pack):
        return _by_int4pack(numbers, packed, grid)
    parts = []
    for start in range(0, len(packed), BLOCK * AT_ONCE):
        some = slice(start, start + BLOCK * AT_ONCE)
        parts.append(product8(numbers, blocks_to_int8(packed[some], grid[:, some]).T))
    return torch.cat(parts, dim=1).bfloat16().float()


def blocks_to_int8(
    packed: UInt8[Tensor, "N half_K"], grid: BFloat16[Tensor, "G N 2"]
) -> Int8[Tensor, "K N"]:
    """The whole numbers that packed steps stand for; `from_int4`, quickly, and turned around."""
    outputs, inputs = len(packed), packed.shape[1] * 2
    blocks = packed.view(-1, inputs, BLOCK // 2)
    numbers = torch.empty(inputs, outputs, dtype=torch.int8, device=packed.device)
    halves = numbers.view(torch.uint8).view(inputs, -1, 2, BLOCK // 2).permute(2, 1, 0, 3)
    # Copied to their places only then: a step of 32 is too short for arithmetic to be quick.
    halves[0].copy_(blocks & 15)
    halves[1].copy_(blocks >> 4)
    width, middle = grid.to(torch.int16).unbind(dim=-1)  # G N
    # On the way a byte may run over; at the end it fits, and so it has come back.
    start = (middle - 8 * width).to(torch.int8)[:, None]
    numbers.view(len(grid), -1, outputs).mul_(width.to(torch.int8)[:, None]).add_(start)
    return numbers


def can_pack() -> bool:
    """Whether `Packed` works here."""
    return counts_right(_by_packed)


@functools.cache
def counts_right(kernel: Callable[..., Tensor]) -> bool:
    """Whether a kernel is here and gives the sums, the largest and the least included."""
    random = torch.Generator().manual_seed(0)
    numbers = torch.randint(1, 256, (3, 4 * BLOCK), generator=random, dtype=torch.uint8)
    numbers[0] = ZERO + LARGEST
    numbers[1] = ZERO - LARGEST
    steps = torch.randint(0, 16, (BLOCK, 4 * BLOCK), generator=random, dtype=torch.uint8)
    steps[0], steps[1] = 15, 0
    grid = torch.randint(1, 16, (4, BLOCK, 2), generator=random).to(torch.bfloat16)
    grid[:, :2] = torch.tensor([16.0, 8.0])
    packed = to_blocks(steps)
    weights = from_int4(packed, grid)
    expected = plain_product(numbers, weights)
    try:
        if kernel is _by_int4pack:
            right = torch.equal(kernel(numbers, packed, grid), expected.bfloat16().float())
        else:
            right = torch.equal(kernel(numbers, weights), expected)
    except (RuntimeError, AttributeError, TypeError):  # as torch says that it has no such thing
        right = False
    if not right:
        log.warning("%s does not count right on this processor; answers take longer", kernel)
    return right


def _by_packed(numbers: Tensor, weights: Tensor) -> Tensor:
    return Packed(weights, torch.ones(len(weights))).product(numbers)


def _by_int_mm(numbers: Tensor, weights: Tensor) -> Tensor:
    signed = (numbers ^ ZERO).view(torch.int8)  # the same as 128 less
    return torch._int_mm(signed, weights.T).float()


def _by_int4pack(numbers: Tensor, packed: Tensor, grid: Tensor) -> Tensor:
    # Whole numbers up to 256 are exact in bfloat16, and the kernel adds up in float32.
    signed = numbers.to(torch.bfloat16).sub_(ZERO)
    group = packed.shape[1] * 2 // len(grid)
    return torch.ops.aten._weight_int4pack_mm_for_cpu(signed, packed, group, grid).float()
