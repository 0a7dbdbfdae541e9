"""Slots give the network what a cache of its own would have given each request."""

from __future__ import annotations

import math
import random

import pytest
import torch

from kosmos2.config import Config
from kosmos2.engine.prefixes import Prefixes
from kosmos2.engine.slots import BLOCK, Rows, Slots
from kosmos2.errors import Busy, ConfigError
from kosmos2.model import Cache
from networks import loud_network

CONFIG = Config.tiny()
TEXT = CONFIG.text
CPU = torch.device("cpu")


def memory(slots=4, **settings) -> Slots:
    return Slots(TEXT, slots, device=CPU, dtype=torch.float32, **settings)


@pytest.fixture(scope="module")
def network():
    return loud_network(CONFIG, seed=2)


@torch.no_grad()
def read(network, slots, rows: dict[int, tuple[int, list[int]]]) -> list[torch.Tensor]:
    """What the decoder puts out for new ids of some slots: {slot: (start, ids)}."""
    longest = max(len(ids) for _, ids in rows.values())
    ids = torch.tensor([new + [1] * (longest - len(new)) for _, new in rows.values()])
    positions = torch.tensor(
        [[2 + start + at for at in range(longest)] for start, _ in rows.values()]
    )
    view = Rows(
        slots, list(rows), [start for start, _ in rows.values()],
        [len(new) for _, new in rows.values()],
    )  # fmt: skip
    mask, causal = view.order()
    hidden = network.decoder(
        network.decoder.words(ids), positions, mask=mask, causal=causal, cache=view
    )
    return [out[: len(new)] for out, (_, new) in zip(hidden, rows.values())]


@torch.no_grad()
def alone(network, ids: list[int]) -> torch.Tensor:
    return network.read(torch.tensor([ids]), cache=Cache())[0]


@pytest.mark.parametrize("seed", range(12))
def test_rows_of_any_lengths_in_any_slots_read_as_if_alone(network, seed):
    dice = random.Random(seed)
    texts = {
        slot: [dice.randrange(5, 1100) for _ in range(dice.randint(6, 40))] for slot in range(5)
    }
    slots, done = memory(5), dict.fromkeys(texts, 0)
    for slot, text in texts.items():
        slots.reserve(slot, len(text))
    while left := [slot for slot in texts if done[slot] < len(texts[slot])]:
        chosen = sorted(dice.sample(left, dice.randint(1, len(left))))
        most = dice.choice([1, 1, 4, 50])
        rows = {
            slot: (done[slot], texts[slot][done[slot] : done[slot] + dice.randint(1, most)])
            for slot in chosen
        }
        for (slot, (start, ids)), out in zip(rows.items(), read(network, slots, rows)):
            done[slot] += len(ids)
            whole = alone(network, texts[slot])[start : start + len(ids)]
            torch.testing.assert_close(out, whole, atol=1e-4, rtol=1e-4)


def test_neighbours_are_read_in_place_and_others_are_copied():
    slots = memory()
    slots.reserve(3, 9)
    keys = torch.randn(2, TEXT.heads, 1, TEXT.head_width)
    beside, _ = Rows(slots, [1, 2], [4, 4], [1, 1]).extend(0, keys, keys)
    apart, _ = Rows(slots, [0, 2], [4, 4], [1, 1]).extend(0, keys, keys)
    start = slots.keys[0].untyped_storage().data_ptr()
    assert beside.untyped_storage().data_ptr() == start
    assert apart.untyped_storage().data_ptr() != start
    assert torch.equal(apart[:, :, 4:], keys)


def test_one_token_of_rows_that_are_equally_long_needs_no_mask():
    slots = memory()
    slots.reserve(3, 20)
    assert Rows(slots, [0, 1], [5, 5], [1, 1]).order() == (None, False)
    assert Rows(slots, [0, 1], [0, 0], [5, 3]).order() == (None, True)
    mask, causal = Rows(slots, [0, 1], [5, 2], [1, 2]).order()
    assert not causal
    assert mask is not None
    assert (mask[:, 0] == 0).sum(-1).tolist() == [[6, 6], [3, 4]]


def test_padding_writes_nothing():
    slots = memory()
    slots.reserve(1, 20)
    new = torch.ones(2, TEXT.heads, 6, TEXT.head_width)
    Rows(slots, [0, 1], [2, 1], [6, 2]).extend(0, new, new)
    assert slots.keys[0][0, 0, :, 0].nonzero()[:, 0].tolist() == [2, 3, 4, 5, 6, 7]
    assert slots.keys[0][1, 0, :, 0].nonzero()[:, 0].tolist() == [1, 2]


def test_memory_comes_when_it_is_needed_and_keeps_what_it_holds():
    slots = memory(slots=6)
    assert slots.rows == slots.capacity == 0
    slots.reserve(0, 10)
    assert (slots.rows, slots.capacity) == (1, BLOCK)
    Rows(slots, [0], [0], [3]).extend(1, *torch.randn(2, 1, TEXT.heads, 3, TEXT.head_width))
    before = slots.values[1][0, :, :3].clone()
    slots.reserve(4, BLOCK + 1)
    assert (slots.rows, slots.capacity) == (6, 2 * BLOCK)
    assert torch.equal(slots.values[1][0, :, :3], before)
    assert not slots.values[1][1:].any()
    took = sum(part.nbytes for part in (*slots.keys, *slots.values))
    assert took == 6 * 2 * BLOCK * slots.token_bytes
    slots.clear()
    assert slots.keys[0].nbytes == 0


def test_what_a_slot_holds_can_move_begin_another_and_be_wiped(network):
    slots = memory()
    text = list(range(5, 25))
    for slot in range(4):
        slots.reserve(slot, len(text) + 1)
    read(network, slots, {2: (0, text[:15])})
    whole = alone(network, text)
    slots.move(2, 0)
    (moved,) = read(network, slots, {0: (15, text[15:])})
    torch.testing.assert_close(moved, whole[15:], atol=1e-4, rtol=1e-4)
    slots.begin(3, slots.beginning(2, 12), 10)
    (begun,) = read(network, slots, {3: (10, text[10:])})
    torch.testing.assert_close(begun, whole[10:], atol=1e-4, rtol=1e-4)
    for slot in range(4):
        slots.wipe(slot)
    assert not any(part.any() for part in (*slots.keys, *slots.values))


def test_memory_that_is_refused_is_busy_and_leaves_everything_as_it_was(monkeypatch):
    slots = memory()
    slots.reserve(0, 10)
    slots.keys[0][0, 0, 3] = 7.0
    slots.filled[0] = 4
    given, zeros = 0, slots._zeros

    def scarce(rows, capacity):
        nonlocal given
        given += 1
        if given > 3:
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory")
        return zeros(rows, capacity)

    monkeypatch.setattr(slots, "_zeros", scarce)
    with pytest.raises(Busy, match=r"2 slots of 64 tokens take 0 MiB.*fewer slots"):
        slots.reserve(1, 10)
    assert (slots.rows, slots.capacity) == (1, BLOCK)
    assert float(slots.keys[0][0, 0, 3, 0]) == 7.0
    given = -100
    slots.reserve(1, 10)
    assert {part.shape[0] for part in (*slots.keys, *slots.values)} == {2}
    assert float(slots.keys[0][0, 0, 3, 0]) == 7.0


def test_memory_has_a_limit_if_one_is_given():
    slots = memory(most_bytes=2 * BLOCK * memory().token_bytes)
    slots.reserve(1, BLOCK)
    with pytest.raises(Busy, match="it may take"):
        slots.reserve(1, BLOCK + 1)


def beginning(of: float, length: int = 4) -> torch.Tensor:
    return torch.full((2, 1, 1, length, 2), of)


def test_the_beginning_that_was_not_used_for_longest_is_given_up():
    prefixes = Prefixes(2 * beginning(0.0).nbytes)
    assert prefixes.put("a", beginning(1.0))
    assert prefixes.put("b", beginning(2.0))
    assert prefixes.get("a") is not None
    assert prefixes.put("c", beginning(3.0))
    assert [name in prefixes for name in "abc"] == [True, False, True]
    assert prefixes.get("b") is None
    assert prefixes.hits == 1
    assert prefixes.bytes == prefixes.most_bytes
    assert prefixes.put("c", beginning(4.0, length=2))
    assert prefixes.bytes == prefixes.most_bytes * 3 // 4
    prefixes.clear()
    assert len(prefixes) == prefixes.bytes == 0


def test_what_is_too_large_or_no_number_is_not_kept():
    prefixes = Prefixes(beginning(0.0).nbytes)
    assert not prefixes.put("a", beginning(0.0, length=5))
    assert not prefixes.put("a", beginning(math.nan))
    assert not prefixes.put("a", beginning(math.inf))
    assert "a" not in prefixes
    with pytest.raises(ConfigError, match="prefix_bytes"):
        Prefixes(-1)
