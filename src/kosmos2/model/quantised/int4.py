"""Int4: half a byte for each weight; every group of inputs has its own steps.

The numbers that the steps stand for are whole and fit in a byte, so both ways to the product, the
kernel for few rows and int8 for many, are exact, and agree to the last bit.

Shapes: M rows of activations, K inputs, N outputs, G groups of inputs.
"""

from __future__ import annotations

import torch
from jaxtyping import BFloat16, Float, Float32, UInt8
from torch import Tensor, nn

from kosmos2.model.quantised.frozen import Frozen, Packing, applied
from kosmos2.model.quantised.kernels import Ordered, as_in_files, product4
from kosmos2.model.quantised.numbers import BLOCK, to_int4

GROUP = 32  # inputs that share their steps; the kernel knows 32, 64, 128 and 256


class Int4Linear(Frozen):
    """`nn.Linear` with half a byte for each weight."""

    weight_int4: UInt8[Tensor, "N half_K"] | None  # in blocks; None once they are in another order
    weight_grid: BFloat16[Tensor, "G N 2"]  # width and middle of the steps, whole numbers
    weight_size: Float32[Tensor, " N"]  # what one is worth

    def __init__(
        self,
        inputs: int,
        outputs: int,
        *,
        bias: bool = True,
        dtype: torch.dtype | None = None,
        group: int = GROUP,
    ) -> None:
        super().__init__()
        grid = torch.empty(inputs // group, outputs, 2, dtype=torch.bfloat16)
        self.register_buffer("weight_int4", torch.empty(outputs, inputs // 2, dtype=torch.uint8))
        self.register_buffer("weight_grid", grid)
        self.register_buffer("weight_size", torch.empty(outputs, dtype=torch.float32))
        self.bias = nn.Parameter(torch.empty(outputs, dtype=dtype), False) if bias else None
        self.group = group
        self.packed: Ordered | None = None

    @staticmethod
    def suits(inputs: int, outputs: int, group: int = GROUP) -> bool:
        """Whether a matrix can be cut into whole groups and blocks."""
        return inputs % group == 0 and outputs % BLOCK == 0

    def fill(self, weight: Float[Tensor, "N K"]) -> None:
        """Take over the weights, rounded."""
        self.weight_int4, self.weight_grid, self.weight_size = to_int4(weight, self.group)

    def settle(self) -> None:
        """Have the weights in the order that this processor reads; they are then the only ones."""
        weights = self.weight_int4
        if weights is not None and weights.device.type == "cpu" and not as_in_files():
            self.packed, self.weight_int4 = Ordered(weights), None

    def unsettle(self) -> None:
        """Back to the order of files."""
        if self.packed is not None:
            self.weight_int4, self.packed = self.packed.plain(), None

    def stored(self) -> dict[str, Packing]:
        """The weights, while they are in another order."""
        return {} if self.packed is None else {"weight_int4": self.packed}

    def forward(self, x: Float[Tensor, "*any K"]) -> Float[Tensor, "*any N"]:
        """As `nn.Linear`."""
        return applied(x, self._product, self.bias)

    def _product(self, numbers: UInt8[Tensor, "M K"]) -> Float32[Tensor, "M N"]:
        if self.packed is not None:
            sums = product4(numbers, self.packed.weights, self.weight_grid, self.packed.block)
        else:
            assert self.weight_int4 is not None
            sums = product4(numbers, self.weight_int4, self.weight_grid)
        return sums.mul_(self.weight_size)
