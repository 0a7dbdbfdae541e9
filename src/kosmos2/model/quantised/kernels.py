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

from kosmos2.model.quantised.fbgemm import HALF, Halved
from kosmos2.model.quantised.numbers import (
    BLOCK,
    LARGEST,
    ZERO,
    from_blocks,
    from_int4,
    plain_product,
    to_blocks,
)

log = logging.getLogger(__name__)

MANY = 33  # rows from which int4 weights are better made int8 first, by measurement
NARROW = 32  # outputs of a block, as torch's kernel for AVX2 reads them
AT_ONCE = 8  # blocks of outputs that are made int8 together: they stay in the processor's cache


class Packed:
    """Int8 weights in the order that oneDNN likes best, with their scale; they cannot change.

    Without VNNI its sums are right for bytes up to 127 only (see `fbgemm`); `halving` makes such of
    the activations.
    """

    dtype = torch.int8

    def __init__(
        self, weights: Int8[Tensor, "N K"], size: Float32[Tensor, " N"], *, halving: bool = False
    ) -> None:
        self.shape = tuple(weights.shape)
        self.size = size
        self._halving = halving
        # It reads memory as if it were in order, whether it is or not.
        self._weights = torch.ops.onednn.qlinear_prepack(weights.contiguous(), None)
        self._zeros = torch.zeros(len(weights), dtype=torch.int32)

    def product(self, numbers: UInt8[Tensor, "M K"]) -> Float32[Tensor, "M N"]:
        """The sum of all products, on the scale of the weights."""
        if not self._halving:
            return self._sums(numbers, ZERO)
        both = torch.cat([numbers >> 1, (numbers & 1) + HALF])
        halves, left_over = self._sums(both, HALF).chunk(2)
        return halves.mul_(2).add_(left_over)

    def _sums(self, numbers: UInt8[Tensor, "M K"], zero: int) -> Float32[Tensor, "M N"]:
        return torch.ops.onednn.qlinear_pointwise(
            *(numbers, 1.0, zero),
            *(self._weights, self.size, self._zeros),
            *(None, 1.0, 0, torch.float32),  # no bias; the result as it is
            *("none", [], ""),
        )

    def plain(self) -> Int8[Tensor, "N K"]:
        """The weights in their usual order."""
        return self._weights.to_dense().T.contiguous()

    def __deepcopy__(self, memo: object) -> Packed:
        return self


def packed8(weights: Int8[Tensor, "N K"], size: Float32[Tensor, " N"]) -> Packed | Halved | None:
    """Weights in the order of the fastest kernel that counts right here; None: there is none."""
    if counts_right(_by_packed):
        return Packed(weights, size)
    if counts_right(_by_fbgemm):
        return Halved(weights, size)
    if counts_right(_by_halves):
        return Packed(weights, size, halving=True)
    _say_slow()
    return None


@functools.cache  # once for all layers
def _say_slow() -> None:
    log.warning("no kernel for int8 counts right on this processor; answers take longer")


class Ordered:
    """Int4 weights in the order that this processor's kernel reads; they cannot change."""

    dtype = torch.uint8

    def __init__(self, packed: UInt8[Tensor, "N half_K"], block: int = NARROW) -> None:
        """From the order of files."""
        self.shape = tuple(packed.shape)
        self.block = block
        self.weights = _reordered(packed, BLOCK, block)

    def plain(self) -> UInt8[Tensor, "N half_K"]:
        """The weights in the order of files."""
        return _reordered(self.weights, self.block, BLOCK)

    def __deepcopy__(self, memo: object) -> Ordered:
        return self


def _reordered(
    packed: UInt8[Tensor, "N half_K"], before: int, after: int
) -> UInt8[Tensor, "N half_K"]:
    """A few blocks at a time: all at once would take several times the memory of the result."""
    found = torch.empty_like(packed)
    for start in range(0, len(packed), BLOCK * AT_ONCE):
        some = slice(start, start + BLOCK * AT_ONCE)
        found[some] = to_blocks(from_blocks(packed[some], before), after)
    return found


def product8(numbers: UInt8[Tensor, "M K"], weights: Int8[Tensor, "N K"]) -> Float32[Tensor, "M N"]:
    """The sum of all products, of weights in their usual order."""
    if weights.device.type == "cpu":
        # Without VNNI `_int_mm` counts right too, thirty times more slowly than float32.
        if counts_right(_by_packed) and counts_right(_by_int_mm):
            return _by_int_mm(numbers, weights)
        if counts_right(_by_halves):  # FBGEMM would take longer to make its order
            return _by_halves(numbers, weights)
    return plain_product(numbers, weights)


def product4(
    numbers: UInt8[Tensor, "M K"],
    packed: UInt8[Tensor, "N half_K"],
    grid: BFloat16[Tensor, "G N 2"],
    block: int = BLOCK,
) -> Float32[Tensor, "M N"]:
    """The sum of all products, rounded to bfloat16, of int4 weights in such blocks."""
    if len(numbers) < MANY and packed.device.type == "cpu" and block == block_here():
        return _by_int4pack(numbers, packed, grid)
    parts = []
    for start in range(0, len(packed), BLOCK * AT_ONCE):
        some = slice(start, start + BLOCK * AT_ONCE)
        parts.append(product8(numbers, blocks_to_int8(packed[some], grid[:, some], block).T))
    return torch.cat(parts, dim=1).bfloat16().float()


def blocks_to_int8(
    packed: UInt8[Tensor, "N half_K"], grid: BFloat16[Tensor, "G N 2"], block: int = BLOCK
) -> Int8[Tensor, "K N"]:
    """The whole numbers that packed steps stand for; `from_int4`, quickly, and turned around."""
    outputs, inputs = len(packed), packed.shape[1] * 2
    blocks = packed.view(-1, inputs, block // 2)
    numbers = torch.empty(inputs, outputs, dtype=torch.int8, device=packed.device)
    halves = numbers.view(torch.uint8).view(inputs, -1, 2, block // 2).permute(2, 1, 0, 3)
    # Copied to their places only then: a step of 32 is too short for arithmetic to be quick.
    halves[0].copy_(blocks & 15)
    halves[1].copy_(blocks >> 4)
    width, middle = grid.to(torch.int16).unbind(dim=-1)  # G N
    # On the way a byte may run over; at the end it fits, and so it has come back.
    start = (middle - 8 * width).to(torch.int8)[:, None]
    numbers.view(len(grid), -1, outputs).mul_(width.to(torch.int8)[:, None]).add_(start)
    return numbers


@functools.cache
def counts_right(kernel: Callable[[Tensor, Tensor], Tensor]) -> bool:
    """Whether a kernel for int8 is here and gives the sums, the largest and the least included."""
    numbers, steps, grid = _trial()
    weights = from_int4(to_blocks(steps), grid)
    return _gives(plain_product(numbers, weights), kernel, numbers, weights)


@functools.cache
def block_here() -> int | None:
    """Outputs whose int4 weights this processor's kernel wants together; None: it has no kernel."""
    numbers, steps, grid = _trial()
    sums = plain_product(numbers, from_int4(to_blocks(steps), grid)).bfloat16().float()
    for block in (BLOCK, NARROW):
        if _gives(sums, _by_int4pack, numbers, to_blocks(steps, block), grid):
            return block
    return None


def as_in_files() -> bool:
    """Whether int4 weights stay in the order that they are stored in."""
    return block_here() in (None, BLOCK)


def _trial() -> tuple[UInt8[Tensor, "M K"], UInt8[Tensor, "N K"], BFloat16[Tensor, "G N 2"]]:
    """Activations, steps and their grid, with all that is largest among them."""
    random = torch.Generator().manual_seed(0)
    numbers = torch.randint(1, 256, (3, 4 * BLOCK), generator=random, dtype=torch.uint8)
    numbers[0] = ZERO + LARGEST
    numbers[1] = ZERO - LARGEST
    steps = torch.randint(0, 16, (BLOCK, 4 * BLOCK), generator=random, dtype=torch.uint8)
    steps[0], steps[1] = 15, 0
    grid = torch.randint(1, 16, (4, BLOCK, 2), generator=random).to(torch.bfloat16)
    grid[:, :2] = torch.tensor([16.0, 8.0])
    return numbers, steps, grid


def _gives(expected: Tensor, kernel: Callable[..., Tensor], *given: Tensor) -> bool:
    try:
        return torch.equal(kernel(*given), expected)
    except (RuntimeError, AttributeError, TypeError):  # as torch says that it has no such thing
        return False


def _by_packed(numbers: Tensor, weights: Tensor) -> Tensor:
    return Packed(weights, torch.ones(len(weights))).product(numbers)


def _by_halves(numbers: Tensor, weights: Tensor) -> Tensor:
    return Packed(weights, torch.ones(len(weights)), halving=True).product(numbers)


def _by_fbgemm(numbers: Tensor, weights: Tensor) -> Tensor:
    return Halved(weights, torch.ones(len(weights))).product(numbers)


def _by_int_mm(numbers: Tensor, weights: Tensor) -> Tensor:
    signed = (numbers ^ ZERO).view(torch.int8)  # the same as 128 less
    return torch._int_mm(signed, weights.T).float()


def _by_int4pack(numbers: Tensor, packed: Tensor, grid: Tensor) -> Tensor:
    # Whole numbers up to 256 are exact in bfloat16, and the kernel adds up in float32.
    signed = numbers.to(torch.bfloat16).sub_(ZERO)
    group = packed.shape[1] * 2 // len(grid)
    return torch.ops.aten._weight_int4pack_mm_for_cpu(signed, packed, group, grid).float()
