"""Bad rows are counted and named; past a share the run stops."""

from __future__ import annotations

import pickle

import pytest

from kosmos2.data.tolerance import Bad, BadRow, Tally
from kosmos2.errors import DataError


def bads(count: int) -> list[Bad]:
    return [Bad(f"grit.parquet:{n}", "has no caption") for n in range(count)]


def test_a_small_share_is_put_up_with() -> None:
    tally = Tally(most=0.1)
    for _ in range(1000):
        tally.add(9, bads(1))
    assert (tally.rows, tally.bad) == (9000, 1000)


def test_more_stops_the_run_and_names_the_first_few() -> None:
    tally = Tally(most=0.1, at_least=3)
    tally.add(90, bads(10))
    with pytest.raises(DataError, match=r"11 of 101 rows .* 10\.00%") as caught:
        tally.add(0, [Bad("late.parquet:1", "is late")])
    told = str(caught.value)
    assert "grit.parquet:0: has no caption" in told
    assert "grit.parquet:4" in told
    assert "grit.parquet:5" not in told
    assert "bad_share" in told
    assert caught.value.exit_code == 65


def test_early_in_a_run_chance_is_forgiven() -> None:
    tally = Tally(most=0.01, at_least=4)
    tally.add(1, bads(4))
    with pytest.raises(DataError):
        tally.add(1, bads(1))


def test_a_row_that_comes_again_is_counted_again_but_told_once() -> None:
    tally = Tally(most=0.0, at_least=5)
    for _ in range(5):
        tally.add(1, bads(1))
    with pytest.raises(DataError) as caught:
        tally.add(1, bads(1))
    assert str(caught.value).count("grit.parquet:0") == 1


def test_counting_goes_on_where_it_stopped() -> None:
    whole, one = Tally(at_least=99), Tally(at_least=99)
    for count in (3, 5):
        whole.add(10, bads(count))
    one.add(10, bads(3))
    other = Tally(at_least=99, rows=one.rows, bad=one.bad)
    other.add(10, bads(5))
    assert (other.rows, other.bad) == (whole.rows, whole.bad)


def test_a_bad_row_travels_between_processes() -> None:
    error = pickle.loads(pickle.dumps(BadRow("a.jsonl:3", "is empty")))
    assert (error.name, error.why, str(error)) == ("a.jsonl:3", "is empty", "a.jsonl:3: is empty")


def test_an_error_is_told_as_a_bad_row_with_its_name_once() -> None:
    told = Bad("a:1", "is empty")
    assert Bad.of(BadRow("a:1", "is empty"), "ignored") == told
    assert Bad.of(DataError("a:1: is empty"), "a:1") == told
    assert Bad.of(DataError("is empty"), "a:1") == told
