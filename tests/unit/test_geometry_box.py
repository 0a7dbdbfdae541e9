"""Boxes as values: what is accepted from a caller, units, and overlap."""

from fractions import Fraction

import numpy as np
import pytest

from kosmos2.errors import PromptError
from kosmos2.geometry import Box


@pytest.mark.parametrize(
    "values",
    [
        (0.25, 0, 1, 0.5),
        [0.25, 0.0, 1.0, 0.5],
        np.array([0.25, 0, 1, 0.5], dtype=np.float32),
        (np.float16(0.25), np.int64(0), np.uint8(1), np.float64(0.5)),
        (Fraction(1, 4), 0, 1, Fraction(1, 2)),
        iter((0.25, -3, 7, 0.5)),
        (0.25, -(10**400), 10**400, 0.5),
        Box(0.25, 0, 1.5, 0.5),
    ],
)
def test_four_numbers_of_any_kind_make_a_box_inside_the_picture(values):
    assert Box.checked(values) == Box(0.25, 0.0, 1.0, 0.5)


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ((0.1, 0.2, 0.3), "four numbers x1 y1 x2 y2, not 3"),
        ((0.1, 0.2, 0.3, 0.4, 0.5), "not 5"),
        ((), "not 0"),
        (0.5, "not 0.5"),
        (None, "not None"),
        ("0123", "not '0123'"),
        ((0, 0, "1", 1), "x2 of box"),
        ((0, None, 1, 1), "y1 of box"),
        ((0, 0, 1, True), "y2 of box"),
        ((float("nan"), 0, 1, 1), "x1 of box"),
        ((0, 0, 1, float("inf")), "y2 of box"),
        ((0, 0, np.float32("nan"), 1), "x2 of box"),
        ((0.5, 0.1, 0.5, 0.9), "empty (x2 equals x1)"),
        ((0.1, 0.9, 0.5, 0.2), "inverted (y2 is less than y1)"),
        ((1.5, 0.1, 2.5, 0.9), "outside the picture (x1 to x2"),
        ((0.1, -2, 0.5, 0), "outside the picture (y1 to y2"),
        ((120, 40, 300, 200), "Box.from_scaled"),
    ],
)
def test_what_makes_no_box_is_refused_by_name(values, said):
    with pytest.raises(PromptError) as error:
        Box.checked(values)
    assert said in str(error.value)


@pytest.mark.parametrize("coords", ["norm01", "px", "norm1000"])
def test_a_box_comes_back_from_every_unit(coords):
    box = Box(0.125, 0.25, 0.5, 1.0)
    assert Box.from_scaled(box.scaled(coords, 640, 480), coords, 640, 480) == box


def test_units_count_what_they_say():
    box = Box(0.125, 0.25, 0.5, 1.0)
    assert box.scaled("norm01") == (0.125, 0.25, 0.5, 1.0)
    assert box.scaled("px", 640, 480) == (80, 120, 320, 480)
    assert box.scaled("norm1000") == (125, 250, 500, 1000)


def test_units_convert_what_a_model_got_wrong_without_complaint():
    inverted = Box(0.5, 0.5, 0.25, 0.25)
    assert Box.from_scaled(inverted.scaled("px", 8, 8), "px", 8, 8) == inverted


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("percent",), "'percent'"),
        (("px",), "need the picture's size"),
        (("px", 0, 10), "need the picture's size"),
        (("px", 10, -1), "need the picture's size"),
    ],
)
def test_units_that_mean_nothing_are_refused(arguments, said):
    with pytest.raises(PromptError, match=said):
        Box(0, 0, 1, 1).scaled(*arguments)


def test_overlap_is_shared_area_over_covered_area():
    left, right = Box(0, 0, 0.5, 1), Box(0.25, 0, 0.75, 1)
    assert left.iou(right) == right.iou(left) == pytest.approx(1 / 3)
    assert left.iou(left) == 1
    assert left.iou(Box(0.5, 0, 1, 1)) == 0
    assert Box(0.5, 0.5, 0.2, 0.2).area == 0
    assert Box(0.5, 0.5, 0.2, 0.2).iou(Box(0.5, 0.5, 0.2, 0.2)) == 0
