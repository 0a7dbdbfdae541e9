"""Weights and activations as small whole numbers, and what their product is.

Everything here is plain: it runs on any device and any processor, and is what the kernels are held
against. Shapes: M rows of activations, K inputs, N outputs, G groups of inputs.
"""

from __future__ import annotations

import torch
from jaxtyping import BFloat16, Float, Float32, Int8, UInt8
from torch import Tensor

ZERO = 128  # the byte that stands for nothing: bytes have no sign, activations do
LARGEST = 127  # of a weight or an activation; -128 is left out, so that signs are worth the same
SMALLEST_SIZE = 1e-30  # a row of zeros is divided by this instead
BLOCK = 64  # outputs whose int4 weights lie together, in files and where AVX-512 is
AT_ONCE = 2**17  # numbers converted together: no second copy of a matrix, and all in cache
NARROWER = (1.0, 0.92, 0.84)  # shares of a group's range that are tried: outliers may be cut


def to_bytes(
    x: Float[Tensor, "M K"],
) -> tuple[UInt8[Tensor, "M K"], Float32[Tensor, "M 1"]]:
    """Each row on its own scale: bytes around `ZERO`, and what one step of a byte is worth.

    A row with a NaN or an infinity gets a size that is not finite, and so does what it is part of.
    """
    x = x.float().contiguous()  # as some kernels expect of what is made of it
    size = x.abs().amax(dim=-1, keepdim=True).clamp_min_(SMALLEST_SIZE).div_(LARGEST)
    # Positive from here on, so that cutting off the fraction rounds to the nearest.
    return (x * size.reciprocal()).add_(ZERO + 0.5).to(torch.uint8), size


def to_int8(
    weight: Float[Tensor, "N K"],
) -> tuple[Int8[Tensor, "N K"], Float32[Tensor, " N"]]:
    """Each output's weights on their own scale: whole numbers, and what one is worth."""
    numbers = torch.empty(weight.shape, dtype=torch.int8, device=weight.device)
    sizes = torch.empty(len(weight), device=weight.device)
    for rows in _pieces(*weight.shape):
        part = weight[rows].float()  # not a copy where it is float32 already
        sizes[rows] = part.abs().amax(dim=1).clamp_min_(SMALLEST_SIZE).div_(LARGEST)
        numbers[rows] = (part / sizes[rows, None]).round_().to(torch.int8)
    return numbers, sizes


def to_int4(
    weight: Float[Tensor, "N K"], group: int
) -> tuple[UInt8[Tensor, "N half_K"], BFloat16[Tensor, "G N 2"], Float32[Tensor, " N"]]:
    """Each group of an output's weights in 16 steps: which step, (width, middle), and the scale.

    Width and middle are whole numbers on the scale that the output would have in int8, so int4 is a
    coarser int8: `(step - 8) * width + middle` fits in the same byte. Steps come in blocks.
    """
    outputs, inputs = weight.shape
    packed = torch.empty(outputs, inputs // 2, dtype=torch.uint8, device=weight.device)
    grid = torch.empty(inputs // group, outputs, 2, dtype=torch.bfloat16, device=weight.device)
    sizes = torch.empty(outputs, device=weight.device)
    for rows in _pieces(outputs, inputs, BLOCK):
        part = weight[rows].float()
        sizes[rows] = part.abs().amax(dim=1).clamp_min_(SMALLEST_SIZE).div_(LARGEST)
        part = (part / sizes[rows, None]).unflatten(1, (-1, group))  # N G group
        steps, width, middle = _nearest_steps(part)
        packed[rows] = to_blocks(steps.flatten(1))
        grid[:, rows] = torch.stack([width, middle], dim=-1).transpose(0, 1).to(torch.bfloat16)
    return packed, grid, sizes


def to_blocks(steps: UInt8[Tensor, "N K"], block: int = BLOCK) -> UInt8[Tensor, "N half_K"]:
    """Two steps to a byte, in the order that torch's kernel reads.

    For each input of a block, byte i holds outputs i and i + half a block.
    """
    first, second = steps.unflatten(0, (-1, block)).transpose(1, 2).chunk(2, dim=-1)  # N/64 K 32
    return (first | second << 4).contiguous().view(len(steps), -1)


def from_blocks(packed: UInt8[Tensor, "N half_K"], block: int = BLOCK) -> UInt8[Tensor, "N K"]:
    """The inverse of `to_blocks`."""
    blocks = packed.view(len(packed) // block, -1, block // 2)
    return torch.cat([blocks & 15, blocks >> 4], dim=-1).transpose(1, 2).flatten(0, 1)


def from_int4(
    packed: UInt8[Tensor, "N half_K"], grid: BFloat16[Tensor, "G N 2"]
) -> Int8[Tensor, "N K"]:
    """The whole numbers that the steps stand for."""
    width, middle = grid.to(torch.int16).transpose(0, 1).unbind(dim=-1)  # N G
    numbers = from_blocks(packed).unflatten(1, (len(grid), -1)).to(torch.int16).sub_(8)
    return numbers.mul_(width[..., None]).add_(middle[..., None]).to(torch.int8).flatten(1)


def plain_product(
    numbers: UInt8[Tensor, "M K"], weights: Int8[Tensor, "N K"]
) -> Float32[Tensor, "M N"]:
    """The sum of all products, exact until it is rounded to float32 at the end."""
    signed = numbers.double() - ZERO
    parts = [signed @ weights[rows].double().T for rows in _pieces(*weights.shape)]
    return torch.cat(parts, dim=1).float()


def _nearest_steps(part: Float32[Tensor, "N G I"]) -> tuple[Tensor, Tensor, Tensor]:
    """16 steps over each group's range, or over a little less of it where that errs less."""
    low, high = part.aminmax(dim=-1, keepdim=True)
    best: tuple[Tensor, ...] | None = None
    for share in NARROWER:
        # Steps reach from -8 to 7 widths around the middle, and both ends must fit in the byte.
        width = ((high - low) * (share / 15)).round_().clamp_(1, 16)
        middle = ((high + low + width) / 2).round_()
        middle = middle.clamp_(max=LARGEST - 7 * width).clamp_(min=8 * width - LARGEST)
        steps = ((part - middle) / width).round_().clamp_(-8, 7)
        error = (steps * width).add_(middle).sub_(part).square_().sum(dim=-1, keepdim=True)
        if best is None:
            best = (steps, width, middle, error)
        else:
            better = error < best[3]
            best = tuple(
                torch.where(better, new, old)
                for new, old in zip((steps, width, middle, error), best, strict=True)
            )
    assert best is not None
    steps, width, middle, _ = best
    return steps.add_(8).to(torch.uint8), width[..., 0], middle[..., 0]


def _pieces(rows: int, columns: int, whole: int = 1) -> list[slice]:
    step = max(1, AT_ONCE // columns // whole) * whole
    return [slice(start, start + step) for start in range(0, rows, step)]
