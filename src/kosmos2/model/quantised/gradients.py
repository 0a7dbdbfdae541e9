"""Gradients through whole-number weights to what was asked of them; the weights stay as they are.

An adapter beside a quantised layer learns from what comes after that layer, so gradients have to
pass it. Rounding activations to bytes has no gradient of its own; it counts as the identity that it
nearly is (the straight-through estimator, Bengio et al. 2013). The way back is then the product
with the weights as they are worth, a few rows at a time: never is there a whole matrix of floats.

Shapes: M rows of activations, K inputs, N outputs.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from jaxtyping import Float, Float32, Int8
from torch import Tensor
from torch.autograd.function import once_differentiable

AT_ONCE = 2**22  # weights that are floats at a time, 16 MB

# The whole numbers in their usual order, and what one is worth; fetched only on the way back.
Weights = Callable[[], tuple[Int8[Tensor, "N K"], Float32[Tensor, " N"]]]


def through(
    x: Float[Tensor, "*any K"], answer: Callable[[Tensor], Tensor], weights: Weights
) -> Float[Tensor, "*any N"]:
    """What the layer answers, to the bit, with a way back to x."""
    return _Through.apply(x, answer, weights)


def back(
    wanted: Float[Tensor, "*any N"],
    numbers: Int8[Tensor, "N K"],
    size: Float32[Tensor, " N"],
    kind: torch.dtype = torch.float32,
) -> Float[Tensor, "*any K"]:
    """The product of the answer's gradients with the weights, multiplied as one type of floats."""
    outputs, inputs = numbers.shape
    rows = wanted.reshape(-1, outputs)
    total = torch.zeros(len(rows), inputs, device=wanted.device)
    step = max(1, AT_ONCE // inputs)
    for start in range(0, outputs, step):
        some = slice(start, start + step)
        # Whole numbers up to 127 are exact in bfloat16; their size goes with the gradients.
        total += (rows[:, some].float() * size[some]).to(kind) @ numbers[some].to(kind)
    return total.view(*wanted.shape[:-1], inputs).to(wanted.dtype)


class _Through(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, x: Tensor, answer: Callable[[Tensor], Tensor], weights: Weights
    ) -> Tensor:
        ctx.weights = weights
        half = torch.bfloat16  # multiplied in where autocast would, or where all is in it
        auto = torch.is_autocast_enabled(x.device.type)
        within = torch.get_autocast_dtype(x.device.type) if auto else x.dtype
        ctx.kind = half if within == half else torch.float32
        return answer(x)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, wanted: Tensor) -> tuple[Tensor, None, None]:
        numbers, size = ctx.weights()
        return back(wanted, numbers, size, ctx.kind), None, None
