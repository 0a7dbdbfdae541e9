"""Where outlines and labels go: inside the picture, off each other while there is room."""

import math
from itertools import combinations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kosmos2.geometry import Box
from kosmos2.layout import labels, large_first, outlines, printable
from kosmos2.markup import Entity
from kosmos2.palette import colour, css, paint


def entity(phrase: str, *boxes: Box) -> Entity:
    return Entity(phrase, 0, len(phrase), boxes)


def placed(entities, width_px=640, height_px=480, *, scores=True):
    return labels(
        outlines(entities, width_px, height_px, scores=scores),
        width_px,
        height_px,
        text_width=lambda text: 8.0 * len(text),
        row_px=20,
        pad_px=4,
    )


def overlap(one, other):
    wide = min(one[2], other[2]) - max(one[0], other[0])
    high = min(one[3], other[3]) - max(one[1], other[1])
    return wide > 1e-9 and high > 1e-9


def test_corners_come_out_ordered_and_inside():
    found = outlines([entity("a", Box(0.9, 0.8, 0.1, 0.2), Box(-1, -1, 2, 2))], 100, 200)
    assert [o.rect for o in found] == [(10, 40, 90, 160), (0, 0, 100, 200)]


def test_what_cannot_be_drawn_is_left_out():
    assert outlines([entity("a", Box(math.nan, 0, 1, 1)), entity("b")], 10, 10) == []


def test_small_boxes_are_drawn_last():
    found = outlines([entity("a", Box(0.4, 0.4, 0.5, 0.5), Box(0, 0, 1, 1))], 10, 10)
    assert large_first(found) == [found[1], found[0]]


def test_a_label_says_phrase_and_score():
    scored, plain = Box(0, 0, 0.5, 0.5, 0.834), Box(0.5, 0.5, 1, 1)
    said = [
        label.text for label in placed([entity("a snowman", scored, plain), entity("", scored)])
    ]
    assert said == ["a snowman 0.83", "a snowman", "0.83"]
    said = [label.text for label in placed([entity("a snowman", scored)], scores=False)]
    assert said == ["a snowman"]
    assert placed([entity("", plain)]) == []


def test_a_long_phrase_is_shortened_and_keeps_its_score():
    (label,) = placed([entity("word " * 400, Box(0, 0, 1, 1, 0.5))])
    assert label.text.endswith("… 0.50")
    assert 0.5 * 640 < label.rect[2] - label.rect[0] <= 0.7 * 640


def test_where_no_letter_fits_there_is_no_label():
    assert placed([entity("a snowman", Box(0, 0, 1, 1, 0.5))], width_px=12) == []


@pytest.mark.parametrize("count", [2, 8, 20])
def test_labels_of_one_place_avoid_each_other(count):
    found = placed([entity(f"thing {n}", Box(0.4, 0.4, 0.6, 0.6, 0.5)) for n in range(count)])
    assert len(found) == count
    assert not any(overlap(a.rect, b.rect) for a, b in combinations(found, 2))


corners = st.floats(-0.5, 1.5)
any_box = st.builds(Box, corners, corners, corners, corners, st.none() | st.floats(0, 1))
any_entity = st.builds(entity, st.text(max_size=30), any_box, any_box)


@settings(deadline=None)
@given(st.lists(any_entity, max_size=6), st.integers(1, 900), st.integers(1, 900))
def test_every_label_stays_inside_while_it_is_smaller_than_the_picture(found, width_px, height_px):
    for label in placed(found, width_px, height_px):
        left, top, right, bottom = label.rect
        assert left >= 0
        assert top >= 0
        assert right <= width_px + 1e-9
        assert bottom <= max(height_px, 20) + 1e-9


def test_a_name_is_one_printable_line():
    assert printable("  a\n\tdog \x00\x1b[31m \ud800 雪") == "a dog \ufffd\ufffd[31m \ufffd 雪"


def test_colours_differ_and_carry_black_letters():
    def channel(value: int) -> float:
        value = value / 255
        return value / 12.92 if value <= 0.04045 else ((value + 0.055) / 1.055) ** 2.4

    def luminance(rgb) -> float:
        return sum(w * channel(v) for w, v in zip((0.2126, 0.7152, 0.0722), rgb, strict=True))

    shades = [colour(index) for index in range(60)]
    assert len(set(shades)) == 60
    assert min((luminance(rgb) + 0.05) / 0.05 for rgb in shades) > 7  # WCAG AAA
    nearest = min(math.dist(a, b) for a, b in combinations(shades[:12], 2))
    assert nearest > 50
    assert css((255, 0, 16)) == "#ff0010"


def test_painted_words_cannot_steer_a_terminal():
    text = paint("a\x1b[2Jdog", 0)
    assert text.count("\x1b") == 2
    assert text.endswith("dog\x1b[0m")
