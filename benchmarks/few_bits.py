"""Weights in 8 or 4 bits for the GPU step, by the kernels that torch itself ships.

`torch._weight_int8pack_mm` (bytes and one scale for each output; on CUDA since torch 2.9) and
`torch._weight_int4pack_mm` (half bytes, a scale and a zero for each group of inputs; bf16 on CUDA).
Both multiply in bf16: fewer bytes are read, the arithmetic is the same. Only for timing: the values
are rounded plainly. The CPU has its own forms of both, which is where the tests run.

Shapes: R rows, N outputs, K inputs, G groups.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

GROUP = 64
TILES = 8  # of 16 inputs, that the CUDA kernel reads together


@dataclass(frozen=True)
class Int8:
    """A matrix in bytes."""

    numbers: Tensor  # N K
    scales: Tensor  # N

    @property
    def nbytes(self) -> int:
        return self.numbers.nbytes + self.scales.nbytes

    def __call__(self, x: Tensor) -> Tensor:
        return torch._weight_int8pack_mm(x, self.numbers, self.scales)


@dataclass(frozen=True)
class Int4:
    """A matrix in half bytes."""

    packed: Tensor
    scales_and_zeros: Tensor  # G N 2

    @property
    def nbytes(self) -> int:
        return self.packed.nbytes + self.scales_and_zeros.nbytes

    def __call__(self, x: Tensor) -> Tensor:
        multiply = torch._weight_int4pack_mm if x.is_cuda else torch._weight_int4pack_mm_for_cpu
        return multiply(x, self.packed, GROUP, self.scales_and_zeros)


def int8(weight: Tensor) -> Int8:
    """Each output on its own scale."""
    scales = weight.float().abs().amax(dim=1).clamp_min(1e-9) / 127
    numbers = (weight.float() / scales[:, None]).round().to(torch.int8)
    return Int8(numbers, scales.to(weight.dtype))


def int4(weight: Tensor) -> Int4:
    """Each group of inputs in 16 steps between its least and its most."""
    groups = weight.float().unflatten(1, (-1, GROUP))  # N G group
    low, high = groups.aminmax(dim=-1, keepdim=True)
    scales = ((high - low) / 15).clamp_min(1e-9)
    steps = ((groups - low) / scales).round().clamp(0, 15).flatten(1).to(torch.int32)
    zeros = low + 8 * scales  # the kernels take step 8 for it
    both = torch.cat([scales, zeros], dim=-1).transpose(0, 1).contiguous()  # G N 2
    if weight.is_cuda:
        halves = (steps[:, ::2] << 4 | steps[:, 1::2]).to(torch.uint8)
        packed = torch._convert_weight_to_int4pack(halves, TILES)
    else:
        packed = torch._convert_weight_to_int4pack_for_cpu(steps, TILES)
    return Int4(packed, both.to(weight.dtype))


PACKS: dict[str, Callable[[Tensor], Int8 | Int4]] = {"int8": int8, "int4": int4}
