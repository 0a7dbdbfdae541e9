"""Scenes in pixels: the boxes are where the things are, and every size shows the same scene."""

import dataclasses
from importlib import resources

import numpy as np
import pytest
from PIL import Image

from kosmos2.scenes import backgrounds
from kosmos2.scenes.draw import draw_scene, place
from kosmos2.scenes.layout import compose
from kosmos2.scenes.photographs import PHOTOGRAPHS, photograph
from kosmos2.scenes.stickers import VISIBLE
from kosmos2.scenes.world import SECOND


def opacity(thing, side_px):
    """What a thing alone hides of the canvas: the same sticker on black and on white tells."""
    black, white = (
        Image.new("RGB", (side_px, side_px)),
        Image.new("RGB", (side_px, side_px), "white"),
    )
    place(black, thing)
    place(white, thing)
    return 255 - (np.asarray(white).astype(int) - np.asarray(black)).max(axis=2)


def coarse(pixels, side_px=32):
    small = Image.fromarray(pixels).resize((side_px, side_px), Image.Resampling.BOX)
    return np.asarray(small).astype(float)


@pytest.mark.parametrize(("side_px", "slack_px"), [(128, 1.2), (448, 2.0)])
def test_a_box_is_tight_around_what_is_drawn(side_px, slack_px):
    for index in range(40):
        for thing in compose(21, index).things:
            y, x = np.nonzero(opacity(thing, side_px) >= VISIBLE)
            drawn = np.array([x.min(), y.min(), x.max() + 1, y.max() + 1])
            box = np.array([thing.box.x1, thing.box.y1, thing.box.x2, thing.box.y2]) * side_px
            assert np.abs(drawn - box).max() < slack_px, thing


def test_nothing_is_drawn_outside_the_box():
    for index in range(20):
        for thing in compose(22, index).things:
            hidden = opacity(thing, 224)
            box = thing.box
            left, top = int(box.x1 * 224) - 1, int(box.y1 * 224) - 1
            right, bottom = int(box.x2 * 224) + 2, int(box.y2 * 224) + 2
            hidden[max(top, 0) : bottom, max(left, 0) : right] = 0
            assert hidden.max() == 0


def test_a_flip_mirrors_and_a_turn_turns_counter_clockwise():
    scene = compose(21, 0)
    kind = type(scene.things[0])
    box = type(scene.things[0].box)(0.2, 0.2, 0.8, 0.8)
    plain = opacity(kind("guitar", box, False, 0.0), 128)
    flipped = opacity(kind("guitar", box, True, 0.0), 128)
    assert np.abs(plain - flipped[:, ::-1]).mean() < 3
    assert np.abs(plain - flipped).mean() > 20

    def lean(hidden):  # where the upper half stands against the lower half
        columns = np.arange(128)
        halves = hidden[:64].sum(axis=0), hidden[64:].sum(axis=0)
        upper, lower = ((half * columns).sum() / half.sum() for half in halves)
        return upper - lower

    turned = lean(opacity(kind("candle", box, False, 15.0), 128))
    assert turned < lean(opacity(kind("candle", box, False, 0.0), 128)) - 5


def test_drawing_twice_gives_the_same_pixels():
    for index in range(20):
        scene = compose(23, index)
        assert np.array_equal(draw_scene(scene, 128), draw_scene(scene, 128))


def test_every_size_shows_the_same_scene():
    for index in range(40):
        scene = compose(24, index)
        small, large = coarse(draw_scene(scene, 128)), coarse(draw_scene(scene, 448))
        other = coarse(draw_scene(compose(25, index), 448))
        assert np.abs(small - large).mean() < 8
        assert np.abs(small - large).mean() < np.abs(small - other).mean()


@pytest.mark.parametrize("side_px", [16, 100, 128, 600])
def test_a_scene_is_drawn_at_any_size_into_an_array_of_ones_own(side_px):
    for index in range(6):
        pixels = draw_scene(compose(26, index), side_px)
        assert pixels.shape == (side_px, side_px, 3)
        assert pixels.dtype == np.uint8
        assert pixels.flags.writeable
        assert pixels.flags.c_contiguous


@pytest.mark.parametrize("family", backgrounds.FAMILIES)
def test_every_background_is_the_same_at_every_size_and_another_for_another_seed(family):
    def painted(seed, side_px):
        rng = np.random.default_rng(seed)
        pixels = backgrounds.paint(family, rng, side_px)
        assert pixels.shape == (side_px, side_px, 3)
        assert pixels.dtype == np.uint8
        return coarse(pixels, 16), rng.random()

    changes = []
    for seed in range(8):
        (small, after_small), (large, after_large) = painted(seed, 128), painted(seed, 448)
        assert np.abs(small - large).mean() < 8
        assert after_small == after_large  # the size draws no random numbers
        changes.append(np.abs(small - painted(seed + 100, 128)[0]).mean())
    assert np.median(changes) > 16


def test_the_second_world_is_the_same_at_every_size_too():
    for index in range(30):
        scene = compose(24, index, SECOND)
        small, large = coarse(draw_scene(scene, 128)), coarse(draw_scene(scene, 448))
        assert np.abs(small - large).mean() < 8, index
        assert np.array_equal(draw_scene(scene, 64), draw_scene(scene, 64))


def test_a_painted_thing_is_where_a_plain_one_is_in_another_colour():
    thing = next(t for i in range(99) for t in compose(24, i, SECOND).things if t.colour == "blue")
    plain = dataclasses.replace(thing, colour=None)
    canvases = [Image.new("RGB", (224, 224), "grey") for _ in range(2)]
    for canvas, one in zip(canvases, (thing, plain), strict=True):
        place(canvas, one)
    hidden = opacity(thing, 224)
    assert np.array_equal(hidden, opacity(plain, 224))
    assert np.array_equal(*(np.asarray(canvas)[hidden == 0] for canvas in canvases))


def test_every_photograph_is_shown_and_grey_ones_are_tinted():
    shown = [photograph(np.random.default_rng(seed), 96) for seed in range(60)]
    assert all(picture.shape == (96, 96, 3) and picture.dtype == np.uint8 for picture in shown)
    assert len({picture.tobytes() for picture in shown}) == 60
    assert min(np.ptp(picture.astype(float).mean(axis=(0, 1))) for picture in shown) > 1
    folder = resources.files("kosmos2") / "assets" / "backgrounds"
    files = {file.name for file in folder.iterdir()}
    assert files == {*(f"{name}.jpg" for name in PHOTOGRAPHS), "NOTICE"}
    notice = (folder / "NOTICE").read_text(encoding="utf-8").replace(",", " ").split()
    assert set(PHOTOGRAPHS) <= set(notice)


def test_pictures_are_lit_differently_but_seldom_lost_in_the_dark():
    means = np.array([draw_scene(compose(27, index), 64).mean() for index in range(150)])
    assert means.std() > 25
    assert np.quantile(means, 0.02) > 20
    assert np.quantile(means, 0.98) < 245
