"""Who comes when: everything once an epoch, otherwise in each, and nothing but numbers decides."""

from __future__ import annotations

import pickle
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kosmos2.data.order import MIXED_BLOCKS, MIXED_ROWS, Order, permuted, shard


@given(st.integers(1, 3000), st.integers(0, 2**40), st.integers(0, 5))
@settings(max_examples=40, deadline=None)
def test_every_number_comes_once(count: int, seed: int, epoch: int) -> None:
    assert sorted(permuted(i, count, (seed, epoch)) for i in range(count)) == list(range(count))


def test_any_number_comes_first_about_as_often() -> None:
    first = Counter(permuted(0, 8, (seed,)) for seed in range(4000))
    assert min(first.values()) > 400  # 500 expected, deviation 21
    assert max(first.values()) < 600


def test_what_follows_what_is_another_matter_for_each_key() -> None:
    pairs = Counter((permuted(3, 10, (n,)), permuted(4, 10, (n,))) for n in range(9000))
    assert len(pairs) == 90
    assert max(pairs.values()) < 170  # 100 expected, deviation 10


@pytest.mark.parametrize("blocks", [[1], [7], [3, 1, 4, 1, 5, 9, 2, 6], [100] * 9, [0, 3, 0]])
@pytest.mark.parametrize("scattered", [True, False])
def test_an_epoch_has_every_row_once_and_the_next_is_another(
    blocks: list[int], scattered: bool
) -> None:
    order = Order(blocks, key=(3,), scattered=scattered)
    epochs = [[order.row(epoch, i) for i in range(len(order))] for epoch in range(2)]
    for rows in epochs:
        assert sorted(rows) == list(range(sum(blocks)))
    assert len(order) < 7 or epochs[0] != epochs[1]


def test_the_row_is_a_function_of_seed_epoch_and_index() -> None:
    """Asked in any order, by anyone, copied or new: the same."""
    blocks = [50, 60, 70, 80, 90, 100]
    asked = [(epoch, index) for epoch in (2, 0, 1) for index in (440, 3, 77, 3, 200)]
    one = Order(blocks, key=(5, 1))
    there = {place: one.row(*place) for place in asked}
    for other in (Order(blocks, key=(5, 1)), pickle.loads(pickle.dumps(one))):
        assert {place: other.row(*place) for place in reversed(asked)} == there
    assert {place: Order(blocks, key=(6, 1)).row(*place) for place in asked} != there


def test_rows_stored_together_come_near_one_another() -> None:
    """So a reader that keeps the last few blocks reads each block once in an epoch."""
    blocks = [MIXED_ROWS // 8] * 12
    order = Order(blocks, key=(1,))
    kept: list[int] = []
    read = 0
    for index in range(0, len(order), 97):
        block = order.row(0, index) // blocks[0]
        if block not in kept:
            kept = [*kept, block][-MIXED_BLOCKS:]
            read += 1
    assert read == len(blocks)
    mixed = {order.row(0, index) // blocks[0] for index in range(200)}
    assert len(mixed) == MIXED_BLOCKS


def test_unshuffled_is_as_stored() -> None:
    order = Order([2, 3], key=(1,), shuffle=False)
    assert [order.row(9, index) for index in range(5)] == [0, 1, 2, 3, 4]


@given(st.integers(0, 200), st.integers(1, 9), st.integers(1, 5))
def test_shards_of_shards_take_every_position_once(count: int, ranks: int, workers: int) -> None:
    taken = [
        position
        for rank in range(ranks)
        for worker in range(workers)
        for position in shard(shard(range(count), rank, ranks), worker, workers)
    ]
    assert sorted(taken) == list(range(count))


def test_a_shard_that_is_not_there_is_refused() -> None:
    with pytest.raises(ValueError, match="shard 2 of 2"):
        shard(range(4), 2, 2)


def test_an_index_beyond_the_epoch_is_refused() -> None:
    with pytest.raises(IndexError):
        Order([3], key=(1,)).row(0, 3)
