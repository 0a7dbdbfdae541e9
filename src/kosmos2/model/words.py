"""The words: an embedding on the way in, and on the way out the scores of every word to come.

Shapes: D text width, W words.
"""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor, nn

from kosmos2.model.product import linear


class Words(nn.Embedding):
    """One row for each word; the output layer is the embedding once more."""

    def score(
        self, x: Float[Tensor, "*any D"], words: slice | None = None
    ) -> Float[Tensor, "*any W"]:
        """The product with every word's row, or with those of a slice."""
        return linear(x, self.weight if words is None else self.weight[words])
