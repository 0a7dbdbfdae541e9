"""The words: an embedding on the way in, and on the way out the scores of every word to come.

Shapes: D text width, W words.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from kosmos2.model.product import linear


class Words(nn.Embedding):
    """One row for each word; the output layer is the embedding once more."""

    _ways: tuple[Tensor, Tensor] | None = None  # to look up, and to score, while both are one

    def forward(self, input: Int[Tensor, "*any"]) -> Float[Tensor, "*any D"]:
        """The rows of some words."""
        if self._ways is None:
            return super().forward(input)
        return F.embedding(input, self._ways[0], self.padding_idx, sparse=True)

    def score(
        self, x: Float[Tensor, "*any D"], words: slice | None = None
    ) -> Float[Tensor, "*any W"]:
        """The product with every word's row, or with those of a slice."""
        weight = self.weight if self._ways is None else self._ways[1]
        return linear(x, weight if words is None else weight[words])

    @contextmanager
    def one_gradient(self) -> Iterator[None]:
        """Within, what looking up teaches is added where scoring teaches, row by row.

        Otherwise each gives a gradient as large as all the words, one of them nearly all zeros,
        and their sum is a third: at full width a quarter of a step. The numbers are the same.
        """
        weight = self.weight
        if torch.is_grad_enabled() and weight.requires_grad:
            self._ways = _Ways.apply(weight)
        try:
            yield
        finally:
            self._ways = None


class _Ways(torch.autograd.Function):
    """One matrix as two, so that their gradients meet here: of a few rows, and of all."""

    @staticmethod
    def forward(ctx: Any, weight: Tensor) -> tuple[Tensor, Tensor]:
        ctx.set_materialize_grads(False)
        return weight.detach(), weight.detach()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, looked_up: Tensor | None, scored: Tensor | None) -> Tensor | None:
        if looked_up is None or scored is None:
            return scored if looked_up is None else looked_up.to_dense()
        # A product has just made it, and nobody else holds it.
        return scored.add_(looked_up)
