"""A box stays on its thing, whatever is done to the picture."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from kosmos2.config import VisionConfig
from kosmos2.data.sample import Span
from kosmos2.data.transforms import LEFT_OVER, has_sides, see, with_sides_swapped
from kosmos2.geometry import Box
from kosmos2.images import MEAN, STD, Picture, to_pixels

SIDE = 40
VISION = VisionConfig(image_size=40, patch_size=8, width=36, layers=1, heads=3, ffn_width=72)


def photo(width: int, height: int) -> Image.Image:
    pixels = np.random.default_rng(3).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(pixels)


def painted(width: int, height: int, box: Box) -> Image.Image:
    """White on black where the box is."""
    pixels = np.zeros((height, width, 3), np.uint8)
    x1, y1, x2, y2 = (round(edge) for edge in box.scaled("px", width, height))
    pixels[y1:y2, x1:x2] = 255
    return Image.fromarray(pixels)


def found(pixels: np.ndarray) -> Box | None:
    """Where it is white."""
    white = pixels[:, :, 0] > 127
    if not white.any():
        return None
    rows, columns = np.flatnonzero(white.any(axis=1)), np.flatnonzero(white.any(axis=0))
    edges = columns[0], rows[0], columns[-1] + 1, rows[-1] + 1
    return Box(*(float(edge) / len(pixels) for edge in edges))


sizes = st.integers(50, 160)
ends = st.tuples(st.integers(0, 8), st.integers(2, 8)).map(
    lambda it: (it[0] / 10, min(it[0] + it[1], 10) / 10)
)
boxes = st.builds(lambda x, y: Box(x[0], y[0], x[1], y[1]), ends, ends)


@settings(max_examples=150, deadline=None)
@given(sizes, sizes, boxes, st.sampled_from(["squash", "crop"]), st.booleans())
def test_where_a_box_is_said_to_be_is_where_its_thing_is_seen(width, height, box, how, mirrored):
    seen = see(painted(width, height, box), SIDE, how, mirrored=mirrored)
    said = seen.place(box)
    if said is None:
        assert how == "crop"
        return
    there = found(seen.pixels)
    if there is None:  # a sliver, less than a pixel of it in sight
        assert min(said.x2 - said.x1, said.y2 - said.y1) < 1.5 / SIDE
        return
    for one, other in zip(said.corners, there.corners, strict=True):
        assert one == pytest.approx(other, abs=1.6 / SIDE)


def test_pitfall_3_squashing_is_what_answers_are_given_with():
    picture = photo(71, 53)
    seen = see(picture, SIDE).pixels.astype(np.float32) / 255
    normalised = ((seen - np.float32(MEAN)) / np.float32(STD)).transpose(2, 0, 1)
    np.testing.assert_allclose(normalised, to_pixels(Picture(picture), VISION), atol=1e-6)


@pytest.mark.parametrize(("width", "height"), [(91, 53), (53, 91), (53, 53), (40, 40), (20, 33)])
def test_pitfall_3_cropping_keeps_the_proportions_and_the_middle(width, height):
    picture = photo(width, height)
    short = min(width, height)
    large = picture.resize(
        (int(SIDE * width / short), int(SIDE * height / short)), Image.Resampling.BICUBIC
    )
    x, y = round((large.width - SIDE) / 2), round((large.height - SIDE) / 2)
    expected = np.asarray(large)[y : y + SIDE, x : x + SIDE]
    assert np.array_equal(see(picture, SIDE, "crop").pixels, expected)


def test_pitfall_3_the_two_transforms_see_a_wide_picture_differently():
    picture, box = photo(100, 50), Box(0.0, 0.0, 0.4, 1.0)
    assert see(picture, SIDE).place(box) == box
    cropped = see(picture, SIDE, "crop").place(box)
    assert cropped is not None
    assert cropped.corners == pytest.approx((0.0, 0.0, 0.3, 1.0))


@pytest.mark.parametrize(("share", "kept"), [(0.19, False), (0.21, True)])
def test_a_box_of_which_less_than_a_fifth_is_left_is_dropped(share, kept):
    # Of a picture twice as wide as high, a quarter is cut off on each side.
    box = Box(0.05, 0.2, 0.05 + 0.2 / (1 - share), 0.8)
    seen = see(photo(100, 50), SIDE, "crop").place(box)
    assert LEFT_OVER == 0.2
    assert (seen is not None) == kept


def test_a_clipped_box_keeps_its_score_and_ends_at_the_edge():
    seen = see(photo(100, 50), SIDE, "crop").place(Box(0.1, 0.2, 0.5, 0.8, 0.75))
    assert seen is not None
    assert seen.corners == pytest.approx((0.0, 0.2, 0.5, 0.8))
    assert seen.score == 0.75


@given(boxes)
def test_mirroring_twice_changes_nothing(box):
    place = see(photo(9, 9), SIDE, mirrored=True).place
    once = place(box)
    assert once is not None
    twice = place(once)
    assert twice is not None
    assert twice.corners == pytest.approx(box.corners)


def test_mirroring_mirrors_the_pixels():
    picture = photo(30, 20)
    plain, mirrored = see(picture, SIDE).pixels, see(picture, SIDE, mirrored=True).pixels
    assert np.array_equal(plain[:, ::-1], mirrored)


texts = st.lists(
    st.sampled_from(
        ["left", "right", "Left", "RIGHT", "leftmost", "right-hand", "bright", "copyright", "a",
         "dog", "on", "the", "cleft", "left,", "(right)", "left_hand"]
    ),
    max_size=8,
).map(" ".join)  # fmt: skip


@given(texts)
def test_swapping_sides_twice_changes_nothing_and_once_something_if_there_are_sides(text):
    once, _ = with_sides_swapped(text)
    assert with_sides_swapped(once)[0] == text
    assert (once != text) == has_sides(text)


@given(texts, st.data())
def test_spans_stay_on_their_words_when_sides_are_swapped(text, data):
    words = text.split()
    if not words:
        return
    first = data.draw(st.integers(0, len(words) - 1))
    last = data.draw(st.integers(first, len(words) - 1))
    start = len(" ".join(words[:first])) + (first > 0)
    span = Span(start, len(" ".join(words[: last + 1])), (Box(0, 0, 1, 1),))
    swapped, (moved,) = with_sides_swapped(text, [span])
    assert swapped[moved.start : moved.end] == " ".join(swapped.split()[first : last + 1])


def test_words_in_which_a_side_only_hides_are_no_sides():
    assert not has_sides("a bright copyright of the cleft, lefty")
    assert has_sides("the LEFT one")
    assert has_sides("the rightmost")
    assert has_sides("left_hand")
