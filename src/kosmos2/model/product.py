"""A matrix that learns, multiplied by oneDNN both ways where that is quicker: float32 on a CPU.

PyTorch gives float32 products to the BLAS it was built with. That one uses AVX-512 only on
processors of its maker, and on others reaches half of what oneDNN does. So while gradients are
wanted, on a processor with AVX-512 a layer's product and the two of its gradients go to oneDNN;
sums come in another order and are otherwise the same. With AVX2 both use the same instructions, and
the BLAS is quicker: 155 to 180 GFLOP/s on two cores of an AMD EPYC (Zen 3), where oneDNN reaches 90
to 175. Answers without gradients stay with PyTorch; `model.packed` has a better way for those.

Shapes: M rows of activations, K inputs, N outputs.
"""

from __future__ import annotations

import functools
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn
from torch.autograd.function import once_differentiable


class Linear(nn.Linear):
    """`nn.Linear` that learns faster."""

    def forward(self, x: Float[Tensor, "*any K"]) -> Float[Tensor, "*any N"]:
        """As `nn.Linear`."""
        return linear(x, self.weight, self.bias)


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """As `F.linear`."""
    if (
        torch.is_grad_enabled()
        and (weight.requires_grad or x.requires_grad)
        and type(weight) in (Tensor, nn.Parameter)
        and weight.device.type == x.device.type == "cpu"
        and weight.dtype == x.dtype == torch.float32
        and x.numel()
        and not torch.compiler.is_compiling()
        and not torch.is_autocast_enabled("cpu")
        and is_quicker()
        and can_multiply()
    ):
        product: Tensor = _Product.apply(x, weight, bias)
        return product
    return F.linear(x, weight, bias)


class _Product(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        rows = x.reshape(-1, x.shape[-1])
        # Frozen weights need no rows for their gradient: nothing else keeps those then.
        ctx.save_for_backward(rows if ctx.needs_input_grad[1] else None, weight)
        ctx.shape = x.shape
        return _multiply(rows, weight, bias).view(*x.shape[:-1], len(weight))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        rows, weight = ctx.saved_tensors
        grad = grad.reshape(-1, grad.shape[-1])
        to_x = to_weight = to_bias = None
        if ctx.needs_input_grad[0]:
            to_x = _multiply(grad, weight.t()).view(ctx.shape)
        if ctx.needs_input_grad[1]:
            across = rows.t()
            # oneDNN turns the second matrix quickly unless it is the small one of the two.
            if len(across) < grad.shape[1]:
                across = across.contiguous()
            to_weight = _multiply(grad.t(), across)
        if ctx.needs_input_grad[2]:
            to_bias = grad.sum(0)
        return to_x, to_weight, to_bias


def _multiply(
    x: Float[Tensor, "M K"], weight: Float[Tensor, "N K"], bias: Tensor | None = None
) -> Float[Tensor, "M N"]:
    product: Tensor = torch.ops.mkldnn._linear_pointwise(x, weight, bias, "none", [], "")
    return product


@functools.cache
def is_quicker() -> bool:
    """Whether oneDNN multiplies faster than the BLAS here.

    Read from the processor, not measured: a run that goes on later must add in the same order.
    """
    return torch.backends.cpu.get_cpu_capability().startswith("AVX512")


@functools.cache
def can_multiply() -> bool:
    """Whether the kernel is here and gives the products."""
    random = torch.Generator().manual_seed(0)
    weight, x, grad = (torch.randn(m, k, generator=random) for m, k in ((48, 80), (5, 80), (5, 48)))
    try:
        with torch.no_grad():
            return torch.backends.mkldnn.is_available() and all(
                torch.allclose(_multiply(one, other), one @ other.t(), atol=1e-4)
                for one, other in ((x, weight), (grad, weight.t()), (grad.t(), x.t()))
            )
    except (RuntimeError, AttributeError, TypeError):  # as torch says that it has no such thing
        return False
