"""Keys and values of all running requests in one place that stays where it is.

Every slot holds one request from its left end on, so requests of different lengths lie side by side
without padding. A network call over some of them gets `Rows`, which acts as its cache: new keys and
values are written where they belong, and what is read is a view when the slots are neighbours.

What a slot holds beyond its request is never heard, but a masked NaN would still spoil the sum it
is in. Memory therefore starts as zeros, and a slot is wiped unless its request ended well.

Shapes: R rows of a call, T new tokens of the longest, S tokens seen by the longest, N new tokens in
all, Y layers, H heads, P tokens, W head width.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from kosmos2.config import TextConfig
from kosmos2.errors import Busy
from kosmos2.model.cache import Cache

BLOCK = 64  # tokens that the memory grows by


class Slots:
    """The memory: for each layer a tensor of keys and one of values, [slots, heads, tokens, width].

    It grows when it has to, in slots and in tokens, and does not shrink until `clear`. The keys and
    values of a layer are the halves of one tensor in `pairs`. `spare` tokens at the end of every
    slot are nobody's, and never heard: a place for what should go nowhere. `made` counts how often
    the tensors were replaced: who remembers where they are has to look again.
    """

    def __init__(
        self,
        config: TextConfig,
        slots: int,
        *,
        device: torch.device,
        dtype: torch.dtype,
        most_bytes: int | None = None,
        block: int = BLOCK,
        spare: int = 0,
    ) -> None:
        self.config = config
        self.slots = slots
        self.device = device
        self.dtype = dtype
        self.most_bytes = most_bytes
        self.block = block
        self.spare = spare
        self.made = 0
        self.clear()

    def clear(self) -> None:
        """Give the memory back."""
        self.rows = self.capacity = 0
        self.pairs = [self._zeros(0, 0) for _ in range(self.config.layers)]
        self.keys, self.values = ([pair[half] for pair in self.pairs] for half in (0, 1))
        self.made += 1
        self.filled = [0] * self.slots  # how far something other than zeros was written

    @property
    def token_bytes(self) -> int:
        """What one token of one request takes."""
        return 2 * self.config.layers * self.config.width * self.dtype.itemsize

    def reserve(self, slot: int, tokens: int) -> None:
        """Make sure that a slot exists and holds so many tokens.

        Raises:
            Busy: there is not enough memory; what there was is as it was.
        """
        if slot < self.rows and tokens <= self.capacity:
            return
        # Slots double, so that few requests take little and many are not copied often.
        rows = max(self.rows, min(1 << slot.bit_length(), self.slots))
        capacity = max(self.capacity, -(-tokens // self.block) * self.block)
        wanted = rows * (capacity + self.spare) * self.token_bytes
        refusal = (
            f"no memory for one more request: {rows} slots of {capacity} tokens take "
            f"{wanted / 2**20:.0f} MiB; ask again later, or make the engine with fewer slots"
        )
        if self.most_bytes is not None and wanted > self.most_bytes:
            raise Busy(f"{refusal} (it may take {self.most_bytes / 2**20:.0f} MiB)")
        held = max(self.filled, default=0)
        try:
            for layer, old in enumerate(self.pairs):
                grown = self._zeros(rows, capacity + self.spare)
                grown[:, : self.rows, :, :held] = old[:, : self.rows, :, :held]
                # One layer at a time: never all of it twice.
                self.pairs[layer], self.keys[layer], self.values[layer] = grown, *grown
        except (RuntimeError, MemoryError) as error:
            raise Busy(refusal) from error
        finally:
            self.made += 1
        self.rows, self.capacity = rows, capacity

    def move(self, source: int, target: int) -> None:
        """What a slot holds goes to another."""
        held = self.filled[source]
        for part in (*self.keys, *self.values):
            part[target, :, :held] = part[source, :, :held]
        self.filled[target] = max(self.filled[target], held)

    def wipe(self, slot: int) -> None:
        """Back to zeros."""
        for part in (*self.keys, *self.values):
            part[slot : slot + 1, :, : self.filled[slot]] = 0
        self.filled[slot] = 0

    def beginning(self, slot: int, length: int) -> Float[Tensor, "2 Y H P W"]:
        """A copy of the first tokens of a slot."""
        parts = (self.keys, self.values)
        return torch.stack([torch.stack([of[slot, :, :length] for of in part]) for part in parts])

    def begin(self, slot: int, beginning: Float[Tensor, "2 Y H P W"], length: int) -> None:
        """Write the first tokens of a slot."""
        for part, of in zip((self.keys, self.values), beginning, strict=True):
            for layer, tokens in zip(part, of, strict=True):
                layer[slot, :, :length] = tokens[:, :length]
        self.filled[slot] = max(self.filled[slot], length)

    def _zeros(self, rows: int, capacity: int) -> Float[Tensor, "2 rows H capacity W"]:
        config = self.config
        shape = (2, rows, config.heads, capacity, config.head_width)
        return torch.zeros(shape, dtype=self.dtype, device=self.device)


class Rows(Cache):
    """Some slots as the cache of one network call.

    Row r has the slot `slots[r]`, has read `starts[r]` tokens and reads `counts[r]` more; rows with
    fewer than the longest are padded on the right, and nothing of their padding is written.
    """

    def __init__(
        self, memory: Slots, slots: Sequence[int], starts: Sequence[int], counts: Sequence[int]
    ) -> None:
        super().__init__()
        self.memory = memory
        self.new = max(counts)
        ends = [start + count for start, count in zip(starts, counts, strict=True)]
        self.seen = max(ends)
        self.starts, self.counts, self.ends = list(starts), list(counts), ends
        assert self.seen <= memory.capacity, "no memory was reserved"
        for slot, end in zip(slots, ends, strict=True):
            memory.filled[slot] = max(memory.filled[slot], end)
        first, rows = slots[0], len(slots)
        side_by_side = list(slots) == list(range(first, first + rows))
        self._span = slice(first, first + rows) if side_by_side else None
        if not side_by_side:
            self._slots = self._on_device(list(slots))
        self._even = side_by_side and len(set(starts)) == 1 and len(set(counts)) == 1
        self._padded = len(set(counts)) > 1
        if not self._even:  # where each new token comes from, and where it goes
            places = [
                (row, at, slots[row], starts[row] + at)
                for row, count in enumerate(counts)
                for at in range(count)
            ]
            told = self._on_device(places).unbind(dim=1)
            self._rows, self._tokens, self._to_slots, self._to_places = told

    def extend(
        self, layer: int, keys: Float[Tensor, "R H T W"], values: Float[Tensor, "R H T W"]
    ) -> tuple[Float[Tensor, "R H S W"], Float[Tensor, "R H S W"]]:
        """Write a layer's new keys and values; returns all that the longest row sees."""
        return (
            self._extend(self.memory.keys[layer], keys),
            self._extend(self.memory.values[layer], values),
        )

    def order(self) -> tuple[Float[Tensor, "R 1 T S"] | None, bool]:
        """Who sees whom: a mask, or none and whether plainly causal.

        Padding sees what the last token before it sees, at least: something, so that no sum is 0/0.
        The mask is of numbers: every block's attention would make such of truths.
        """
        if self.new == 1 and len(set(self.ends)) == 1:
            return None, False
        if not any(self.starts):
            return None, True  # padding is on the right, out of everybody's sight
        places = torch.arange(self.seen, device=self.memory.device)
        new = torch.arange(self.new, device=self.memory.device)
        last = self._on_device(self.starts)[:, None] + new  # R T
        seen = (places <= last[..., None])[:, None]
        nothing = torch.zeros((), dtype=self.memory.dtype, device=self.memory.device)
        return nothing.where(seen, -math.inf), False

    def _extend(self, held: Tensor, new: Tensor) -> Tensor:
        if self._even:
            assert self._span is not None
            held[self._span, :, self.starts[0] : self.seen] = new
        else:
            new = new.transpose(1, 2)
            new = new[self._rows, self._tokens] if self._padded else new.flatten(0, 1)
            held[self._to_slots, :, self._to_places] = new
        if self._span is not None:
            return held[self._span, :, : self.seen]
        return held[:, :, : self.seen].index_select(0, self._slots)

    def _on_device(self, numbers: list[Any]) -> Int[Tensor, "*shape"]:
        return on_device(numbers, self.memory.device)


def on_device(numbers: list[Any], device: torch.device) -> Int[Tensor, "*shape"]:
    """Whole numbers, nested or not, where the network is, without waiting for it to be idle."""
    pinned = device.type == "cuda"
    return torch.tensor(numbers, pin_memory=pinned).to(device, non_blocking=pinned)
