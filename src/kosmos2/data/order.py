"""Who comes when: permutations that are computed, not kept.

The row at an index of an epoch is a function of (seed, epoch, index). Resuming needs no state but
where one was, any number of workers and ranks agree without talking, and a billion rows cost no
memory. Rows that are stored together (row groups, shards) stay near each other in time.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from functools import lru_cache
from itertools import accumulate
from math import isqrt

import numpy as np

MIXED_BLOCKS, MIXED_ROWS = 4, 65_536  # neighbouring blocks whose rows are mixed; readers keep them

_ROUNDS = 8
_MASK = 2**64 - 1
_FACTORS = 0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9  # odd and irregular, of splitmix64

Key = tuple[int, ...]


def permuted(index: int, count: int, key: Key) -> int:
    """Where a permutation of `count` numbers, one for each key, puts `index`."""
    assert 0 <= index < count
    down = isqrt(count - 1) + 1
    across = -(-count // down)
    keys = _round_keys(key)
    while True:  # the rectangle is hardly larger than count: one look nearly always
        row, column = divmod(index, across)
        # A Feistel network whose halves are added to, so that any two sizes do.
        for number in range(0, _ROUNDS, 2):
            row = (row + _mixed(column ^ keys[number])) % down
            column = (column + _mixed(row ^ keys[number + 1])) % across
        index = row * across + column
        if index < count:
            return index


class Order:
    """In which order the rows of one source are read, epoch by epoch.

    Args:
        blocks: numbers of rows that are stored together.
        key: of this order: the seed, and what tells it from others of the same seed.
        shuffle: otherwise as stored.
        scattered: rows can be read in any order at the same price, and blocks mean nothing.
    """

    def __init__(
        self, blocks: Sequence[int], *, key: Key, shuffle: bool = True, scattered: bool = False
    ) -> None:
        self.blocks = [sum(blocks)] if scattered else [rows for rows in blocks if rows]
        self.starts = [0, *accumulate(self.blocks)]
        self.key, self.shuffle = key, shuffle
        self._at: tuple[int, list[list[int]], list[int]] | None = None

    def __len__(self) -> int:
        return self.starts[-1]

    def row(self, epoch: int, index: int) -> int:
        """The row at an index of an epoch."""
        if not 0 <= index < len(self):
            raise IndexError(index)
        if not self.shuffle:
            return index
        if len(self.blocks) == 1:
            return permuted(index, len(self), (*self.key, epoch))
        windows, starts = self._windows(epoch)
        number = bisect_right(starts, index) - 1
        window = windows[number]
        within = permuted(
            index - starts[number],
            sum(self.blocks[block] for block in window),
            (*self.key, epoch, 1 + number),
        )
        for block in window:
            if within < self.blocks[block]:
                return self.starts[block] + within
            within -= self.blocks[block]
        raise AssertionError("a window holds all of its rows")

    def _windows(self, epoch: int) -> tuple[list[list[int]], list[int]]:
        """Blocks in this epoch's order, a few together, and the index at which each few begin."""
        if self._at is None or self._at[0] != epoch:
            count = len(self.blocks)
            windows: list[list[int]] = []
            rows: list[int] = []
            for place in range(count):
                block = permuted(place, count, (*self.key, epoch, 0))
                fits = rows and rows[-1] + self.blocks[block] <= MIXED_ROWS
                if fits and len(windows[-1]) < MIXED_BLOCKS:
                    windows[-1].append(block)
                    rows[-1] += self.blocks[block]
                else:
                    windows.append([block])
                    rows.append(self.blocks[block])
            self._at = epoch, windows, [0, *accumulate(rows)][:-1]
        return self._at[1], self._at[2]


def shard(positions: range, number: int, of: int) -> range:
    """What worker or rank `number` of `of` takes; all of them together take each position once."""
    if not 0 <= number < of:
        raise ValueError(f"shard {number} of {of}, counted from 0")
    return positions[number::of]


def _mixed(value: int) -> int:
    value = value * _FACTORS[0] & _MASK
    value = (value ^ value >> 29) * _FACTORS[1] & _MASK
    return value ^ value >> 32


@lru_cache(maxsize=1024)
def _round_keys(key: Key) -> tuple[int, ...]:
    return tuple(np.random.SeedSequence(key).generate_state(_ROUNDS, np.uint64).tolist())
