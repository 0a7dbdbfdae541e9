"""A part of a picture: what it holds, and the way there and back."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kosmos2 import Box
from kosmos2.grounder.part import Part

SMALL = Box(0.55, 0.3, 0.62, 0.4)


def boxes():
    edge = st.floats(0, 1)
    return st.tuples(edge, edge, edge, edge).map(
        lambda e: Box(min(e[0], e[2]), min(e[1], e[3]), max(e[0], e[2]), max(e[1], e[3]))
    )


@given(boxes(), st.integers(1, 900), st.integers(1, 900))
def test_a_part_holds_its_box_in_the_picture_and_there_and_back_is_the_same(box, width, height):
    part = Part.around(box, width, height)
    if part is None:
        return
    assert 0 <= part.left < part.right <= width
    assert 0 <= part.top < part.bottom <= height
    assert part.left <= box.x1 * width + 1
    assert part.top <= box.y1 * height + 1
    assert box.x2 * width - 1 <= part.right
    assert box.y2 * height - 1 <= part.bottom
    inside = part.inside(box)
    assert all(0 <= edge <= 1 for edge in inside.corners)
    error_px = [
        abs(there - here) * side
        for there, here, side in zip(
            part.outside(inside).corners, box.corners, (width, height) * 2, strict=True
        )
    ]
    assert max(error_px) <= 1  # a part has whole pixels


def test_a_small_box_takes_a_third_of_a_square_and_a_large_one_is_seen_as_it_is():
    part = Part.around(SMALL, 600, 400)
    assert (part.right - part.left, part.bottom - part.top) == (126, 126)
    middle = part.inside(SMALL)
    assert (middle.x1 + middle.x2) / 2 == pytest.approx(0.5, abs=0.01)
    assert Part.around(Box(0, 0, 0.1, 0.1), 600, 400) == Part(0, 0, 180, 180, 600, 400)
    assert Part.around(Box(0.99, 0.99, 1, 1), 600, 400) == Part(536, 336, 600, 400, 600, 400)
    assert Part.around(Box(0.1, 0.1, 0.6, 0.9), 600, 400) is None
    assert Part.around(Box(0.5, 0, 0.7, 1), 900, 100) == Part(270, 0, 810, 100, 900, 100)


@given(boxes(), st.integers(40, 900), st.integers(40, 900))
def test_what_is_small_is_whole_in_a_quarter_and_what_is_cut_through_is_known(box, width, height):
    quarters = [*Part.quarters(width, height)]
    whole = []
    for part in quarters:
        assert 0 <= part.left < part.right <= width
        assert 0 <= part.top < part.bottom <= height
        inside = part.inside(box)
        margin_px = 1.5  # pixels are whole
        beyond = (
            box.x1 * width < part.left - margin_px
            or box.y1 * height < part.top - margin_px
            or box.x2 * width > part.right + margin_px
            or box.y2 * height > part.bottom + margin_px
        )
        assert not (beyond and part.holds(inside))
        whole.append(part.holds(inside))
    if max(box.x2 - box.x1, box.y2 - box.y1) < 0.1:
        assert any(whole)


def test_at_the_edge_of_the_picture_a_box_ends_because_the_picture_does():
    upper_left, _, _, lower_right = Part.quarters(500, 400)
    assert upper_left == Part(0, 0, 300, 240, 500, 400)
    assert lower_right == Part(200, 160, 500, 400, 500, 400)
    corner, opposite = Box(0, 0, 0.2, 0.2), Box(0.8, 0.8, 1, 1)
    assert upper_left.holds(corner)
    assert not upper_left.holds(opposite)
    assert lower_right.holds(opposite)
    assert not lower_right.holds(corner)
