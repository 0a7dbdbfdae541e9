"""The tower's activation, as in CLIP: x times a sigmoid of 1.702 x.

It is as wide as anything in the network, so every tensor that is held beside it costs more time
than its arithmetic. Answers make one; learning keeps nothing but x, and works out the slope from
that.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

STEEP = 1.702  # Hendrycks and Gimpel 2016, "Gaussian Error Linear Units", section 2


def quick_gelu(x: Tensor) -> Tensor:
    """As the module says, of any shape."""
    if torch.compiler.is_compiling():
        return x * torch.sigmoid(STEEP * x)  # the compiler fuses this by itself
    if x.requires_grad and torch.is_grad_enabled():
        product: Tensor = _QuickGelu.apply(x)
        return product
    return _value(x)


def _value(x: Tensor) -> Tensor:
    return (STEEP * x).sigmoid_().mul_(x)


class _QuickGelu(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return _value(x)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        # With z = 1.702 x this is silu(z) / 1.702, whose slope by x is that of silu by z.
        (x,) = ctx.saved_tensors
        slope: Tensor = torch.ops.aten.silu_backward(grad, STEEP * x)
        return slope
