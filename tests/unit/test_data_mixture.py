"""Sources take turns by weight; what comes at a position depends on nothing but the position."""

from __future__ import annotations

import pickle
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kosmos2.data.mixture import CYCLE, Mixture
from kosmos2.data.order import shard
from kosmos2.data.sample import Sample, Turn
from kosmos2.data.tolerance import BadRow
from kosmos2.errors import DataError


class Numbers:
    """Rows that say their number; some are bad."""

    classes: tuple[str, ...] = ()

    def __init__(
        self, name: str, *blocks: int, bad: tuple[int, ...] = (), scattered: bool = False
    ) -> None:
        self.name, self.blocks, self.bad, self.scattered = name, blocks, bad, scattered

    def __len__(self) -> int:
        return sum(self.blocks)

    def read(self, row: int) -> Sample:
        if row in self.bad:
            raise BadRow(f"{self.name}:{row}", "is bad")
        return Sample(f"{self.name}:{row}", "text", (Turn(str(row)),))


def names(mixture: Mixture, positions: range) -> list[str]:
    return [mixture.draw(position).sample.name for position in positions]


def test_each_source_goes_through_its_rows_once_before_the_next_round() -> None:
    mixture = Mixture([Numbers("a", 30), Numbers("b", 7, 6)], [3, 1], seed=1)
    drawn = [mixture.draw(position) for position in range(400)]
    for number, reader in enumerate(mixture.readers):
        mine = [one for one in drawn if one.source == number]
        assert [(one.epoch, one.index) for one in mine] == [
            divmod(turn, len(reader)) for turn in range(len(mine))
        ]
        first = [one.sample.name for one in mine][: len(reader)]
        second = [one.sample.name for one in mine][len(reader) : 2 * len(reader)]
        assert (
            sorted(first)
            == sorted(second)
            == sorted(f"{reader.name}:{i}" for i in range(len(reader)))
        )
        assert first != second


def test_weights_are_kept_exactly_over_a_cycle_and_nearly_within() -> None:
    mixture = Mixture([Numbers("a", 9), Numbers("b", 9), Numbers("c", 9)], [5, 2, 1], seed=0)
    for cycle in (0, 3):
        start = cycle * CYCLE
        drawn = Counter(mixture.draw(p).source for p in range(start, start + CYCLE))
        assert drawn == {0: CYCLE * 5 // 8, 1: CYCLE // 4, 2: CYCLE // 8}
    early = Counter(mixture.draw(position).source for position in range(400))
    assert 210 < early[0] < 290  # 250 expected, deviation 10


@given(st.lists(st.floats(1e-6, 1e6), min_size=1, max_size=40))
@settings(max_examples=30, deadline=None)
def test_no_weight_is_so_small_that_its_source_never_comes(weights: list[float]) -> None:
    mixture = Mixture([Numbers(str(n), 1) for n in range(len(weights))], weights, seed=0)
    assert sum(mixture.shares) == CYCLE
    assert min(mixture.shares) >= 1
    for share, weight in zip(mixture.shares, weights):
        exact = weight / sum(weights) * CYCLE
        assert abs(share - exact) <= max(len(weights), 1)


def test_a_position_is_the_same_in_any_order_and_for_any_worker() -> None:
    readers = [Numbers("a", 20, 30), Numbers("b", 11, scattered=True)]
    mixture = Mixture(readers, [1, 2], seed=5)
    whole = names(mixture, range(CYCLE - 40, CYCLE + 40))  # across the edge of a cycle
    copy = pickle.loads(pickle.dumps(mixture))
    again = {}
    for worker in (2, 0, 1):
        positions = shard(range(CYCLE - 40, CYCLE + 40), worker, 3)
        again |= dict(zip(positions, names(copy, positions)))
    assert [again[position] for position in sorted(again)] == whole
    assert names(Mixture(readers, [1, 2], seed=6), range(80)) != names(mixture, range(80))


def test_a_bad_row_gives_way_to_another_of_its_source_and_is_named() -> None:
    mixture = Mixture([Numbers("a", 10, bad=(4, 7))], [1], seed=2)
    drawn = [mixture.draw(position) for position in range(10)]
    assert {bad.name for one in drawn for bad in one.bad} == {"a:4", "a:7"}
    assert {one.sample.name for one in drawn} == {f"a:{n}" for n in range(10) if n not in (4, 7)}
    again = [mixture.draw(position) for position in range(10)]
    assert again == drawn


def test_whoever_cannot_use_a_sample_is_offered_others() -> None:
    mixture = Mixture([Numbers("a", 5, bad=(0,))], [1], seed=2)
    offered = mixture.candidates(0)
    assert sorted(one.sample.name for one in offered) == ["a:1", "a:2", "a:3", "a:4"]


def test_a_source_of_bad_rows_alone_stops_the_run() -> None:
    with pytest.raises(DataError, match=r"a: 100 rows one after the other.*a:\d+: is bad"):
        Mixture([Numbers("a", 300, bad=tuple(range(300)))], [1], seed=2).draw(0)


def test_unshuffled_sources_come_as_stored() -> None:
    mixture = Mixture([Numbers("a", 2, 3)], [1], seed=9, shuffle=False)
    assert names(mixture, range(7)) == ["a:0", "a:1", "a:2", "a:3", "a:4", "a:0", "a:1"]


@pytest.mark.parametrize(
    ("readers", "weights", "complaint"),
    [
        ([], [], "0 weights for 0 sources"),
        ([Numbers("a", 1)], [1, 2], "2 weights for 1 sources"),
        ([Numbers("a", 1)], [0], "a has weight 0"),
        ([Numbers("a", 1)], [float("nan")], "a has weight nan"),
        ([Numbers("a")], [1], "a has no rows"),
    ],
)
def test_what_cannot_be_mixed_is_refused(
    readers: list[Numbers], weights: list[float], complaint: str
) -> None:
    with pytest.raises(DataError, match=complaint):
        Mixture(readers, weights, seed=0)
