"""The network's cache under the reference's names: `past_key_values`.

Shapes: B rows, H heads, P tokens remembered, W head width.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple, Self

import torch
from jaxtyping import Float, Int
from torch import Tensor

from kosmos2.errors import InputError
from kosmos2.model import Cache


class CacheLayer(NamedTuple):
    """What one layer remembers."""

    keys: Float[Tensor, "B H P W"]
    values: Float[Tensor, "B H P W"]


class DynamicCache(Cache):
    """Keys and values of every layer; unlike the reference's it knows which tokens are padding."""

    def get_seq_length(self, layer: int = 0) -> int:
        """Tokens remembered, padding included; every layer remembers as many."""
        return self.length

    @property
    def layers(self) -> list[CacheLayer]:
        """What each layer remembers, as `.layers[0].keys`."""
        return list(map(CacheLayer, self.keys, self.values))

    def __len__(self) -> int:
        return len(self.keys)

    def __bool__(self) -> bool:
        return self.length > 0

    def __getitem__(self, layer: int) -> CacheLayer:
        return CacheLayer(self.keys[layer], self.values[layer])

    def __iter__(self) -> Iterator[CacheLayer]:
        return iter(self.layers)

    def reorder_cache(self, beam_idx: Int[Tensor, " R"]) -> None:
        """Go on with these of the rows, in this order."""
        self.pick(beam_idx)

    def to_legacy_cache(self) -> tuple[tuple[Tensor, Tensor], ...]:
        """Plain tuples, as older code handled them: (keys, values) of each layer."""
        return tuple((layer.keys, layer.values) for layer in self.layers)

    @classmethod
    def from_legacy_cache(
        cls, past_key_values: Sequence[tuple[Tensor, Tensor]] | None = None
    ) -> Self:
        """A cache of plain tuples, which say nothing of padding: all counts as real.

        Raises:
            InputError: the layers are not pairs of tensors of one shape, B H P W.
        """
        cache = cls()
        pairs = [tuple(pair) for pair in past_key_values or ()]
        if not pairs:
            return cache
        if any(len(pair) != 2 or not all(map(torch.is_tensor, pair)) for pair in pairs):
            raise InputError("past_key_values should hold (keys, values) of each layer, as tensors")
        shapes = {tuple(tensor.shape) for pair in pairs for tensor in pair}
        if len(shapes) != 1 or len(next(iter(shapes))) != 4:
            raise InputError(
                f"past_key_values holds tensors of shapes {sorted(shapes)}; "
                "all should be of one: rows, heads, tokens, head width"
            )
        cache.keys, cache.values = (list(tensors) for tensors in zip(*pairs, strict=True))
        rows, _, length, _ = cache.keys[0].shape
        cache.admit(*[torch.ones(rows, length, dtype=torch.bool, device=cache.keys[0].device)] * 2)
        return cache
