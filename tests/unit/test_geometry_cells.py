"""Boxes to cells and back: the rows of the reference, and what lies beyond them."""

import math

import pytest

from kosmos2.geometry import CELLS, SIDE, Box, box_of, cells_of

# corners, cells, corners again
THERE_AND_BACK = [
    ((0, 0, 1, 1), (0, 1023), (0.015625, 0.015625, 0.984375, 0.984375)),
    ((0.1, 0.2, 0.5, 0.6), (195, 623), (0.109375, 0.203125, 0.484375, 0.609375)),
    (
        (0.04182509505703422, 0.39244186046511625, 0.38783269961977185, 1.0),
        (385, 1004),
        (0.046875, 0.390625, 0.390625, 0.984375),
    ),
    ((0.5, 0.5, 0.53125, 0.53125), (528, 528), (0.5, 0.5, 0.53125, 0.53125)),
    ((0.5, 0.5, 0.51, 0.51), (528, 528), (0.5, 0.5, 0.53125, 0.53125)),
    ((0, 0, 0.001, 0.001), (0, 0), (0, 0, 0.03125, 0.03125)),
    ((0.999, 0.999, 1, 1), (1023, 1023), (0.96875, 0.96875, 1, 1)),
]

BACK_ONLY = [
    ((0, 31), (0, 0, 1, 0.03125)),
    ((0, 992), (0, 0, 0.03125, 1)),
    ((32, 63), (0, 0.03125, 1, 0.0625)),
    ((863, 44), (0.984375, 0.828125, 0.390625, 0.046875)),
    ((1, 0), (0.03125, 0, 0.03125, 0.03125)),
    ((44, 863), (0.390625, 0.046875, 0.984375, 0.828125)),
    ((5, 911), (0.171875, 0.015625, 0.484375, 0.890625)),
    ((5, 1007), (0.171875, 0.015625, 0.484375, 0.984375)),
    ((2000, 2001), (0.5, 1.9375, 0.5625, 1.96875)),
]


@pytest.mark.parametrize(("corners", "cells", "again"), THERE_AND_BACK)
def test_a_box_becomes_two_cells_and_a_box_again(corners, cells, again):
    assert cells_of(Box(*corners)) == cells
    assert box_of(*cells).corners == again


@pytest.mark.parametrize(("cells", "corners"), BACK_ONLY)
def test_two_cells_become_a_box_whatever_they_are(cells, corners):
    assert box_of(*cells).corners == corners


def test_cells_survive_the_way_over_a_box():
    for first in range(0, CELLS, 7):
        for last in range(first, CELLS, 5):
            if last % SIDE >= first % SIDE:
                assert cells_of(box_of(first, last)) == (first, last)


def test_the_score_of_a_box_is_kept():
    assert box_of(1, 40, 0.25).score == 0.25
    assert Box.checked(Box(0, 0, 2, 2, 0.5)) == Box(0, 0, 1, 1, 0.5)


def test_a_box_over_the_edge_stays_in_its_row():
    assert cells_of(Box(0.5, 0.0, 1.2, 0.5)) == (16, 15 * SIDE + 31)
    assert cells_of(Box(-0.1, -0.2, 0.5, 0.5)) == (0, 15 * SIDE + 15)


def test_the_smallest_box_of_all_still_has_cells():
    assert cells_of(Box(0, 0, math.ulp(0), math.ulp(0))) == (0, 0)
    assert cells_of(Box(1 - 2**-53, 1 - 2**-53, 1, 1)) == (1023, 1023)
