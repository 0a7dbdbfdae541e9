"""What the decoder remembers of the tokens it has read: a value handed in, never kept by the model.

Shapes: B rows, H heads, P tokens remembered, T new tokens, W head width.
"""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor


class Cache:
    """Keys and values of every layer, which of them are real tokens, and how many were."""

    def __init__(self) -> None:
        self.keys: list[Float[Tensor, "B H P W"]] = []
        self.values: list[Float[Tensor, "B H P W"]] = []
        self.keep: Bool[Tensor, "B P"] | None = None
        self.counted: Int[Tensor, " B"] | None = None

    @property
    def length(self) -> int:
        """Tokens remembered, padding included."""
        return 0 if self.keep is None else self.keep.shape[1]

    def admit(self, keep: Bool[Tensor, "B T"], real: Bool[Tensor, "B T"]) -> None:
        """Note T new tokens: which may be attended to, and which advance the position count.

        The count lets a row that was padded on the left go on from its own number of real tokens.
        (The reference library's version 5 goes on from the padded length, which is wrong there.)
        """
        count = real.sum(dim=1)
        self.counted = count if self.counted is None else self.counted + count
        self.keep = keep if self.keep is None else torch.cat([self.keep, keep], dim=1)

    def extend(
        self, layer: int, keys: Float[Tensor, "B H T W"], values: Float[Tensor, "B H T W"]
    ) -> tuple[Float[Tensor, "B H S W"], Float[Tensor, "B H S W"]]:
        """Add a layer's new keys and values; returns all S = P + T of them."""
        if layer == len(self.keys):
            self.keys.append(keys)
            self.values.append(values)
        else:
            self.keys[layer] = torch.cat([self.keys[layer], keys], dim=2)
            self.values[layer] = torch.cat([self.values[layer], values], dim=2)
        return self.keys[layer], self.values[layer]

    def pick(self, rows: Int[Tensor, " R"]) -> None:
        """Keep, reorder or repeat rows: row r becomes what row `rows[r]` was."""
        self.keys = [keys.index_select(0, rows) for keys in self.keys]
        self.values = [values.index_select(0, rows) for values in self.values]
        if self.keep is not None and self.counted is not None:
            self.keep = self.keep.index_select(0, rows)
            self.counted = self.counted.index_select(0, rows)

    def copy(self) -> Cache:
        """A cache that goes its own way; the tensors are shared until either grows."""
        twin = type(self)()
        twin.keys, twin.values = list(self.keys), list(self.values)
        twin.keep, twin.counted = self.keep, self.counted
        return twin
