"""Named colours: far apart, and really those that a painted thing has."""

from itertools import combinations

import numpy as np
import pytest

from kosmos2.scenes.colours import COLOURED, COLOURS, PALETTE, painted
from kosmos2.scenes.stickers import NOUNS, sticker

APART = 28  # CIE 1976 units; 2 can just be seen, and cast light moves a colour by about 10


def lab(rgb):
    """CIE L*a*b* (D65) of sRGB values 0 to 255, over the last axis."""
    share = np.asarray(rgb, dtype=float) / 255
    linear = np.where(share > 0.04045, ((share + 0.055) / 1.055) ** 2.4, share / 12.92)
    to_xyz = [[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]]
    xyz = linear @ np.array(to_xyz).T / np.array([0.9505, 1.0, 1.089])
    x, y, z = np.moveaxis(np.where(xyz > 0.008856, np.cbrt(xyz), 7.787 * xyz + 16 / 116), -1, 0)
    return np.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], axis=-1)


def test_named_colours_are_far_apart():
    for one, other in combinations(COLOURS, 2):
        assert np.linalg.norm(lab(PALETTE[one]) - lab(PALETTE[other])) > APART, (one, other)


def test_they_stay_apart_in_the_light_of_scenes():
    """Tinted as a scene's light may tint, each is still nearest to its own name."""
    names = np.array([lab(PALETTE[name]) for name in COLOURS])
    rng = np.random.default_rng(0)
    right = []
    for _ in range(200):
        cast = rng.normal(0, 0.05, 3)
        for own, name in enumerate(COLOURS):
            seen = np.clip(np.array(PALETTE[name]) * np.exp(cast - cast.mean()), 0, 255)
            right.append(np.linalg.norm(names - lab(seen), axis=1).argmin() == own)
    assert np.mean(right) > 0.99


@pytest.mark.parametrize("noun", sorted(COLOURED))
def test_a_painted_thing_is_mostly_of_its_colour_and_as_opaque_as_before(noun):
    assert noun in NOUNS
    names = np.array([lab(PALETTE[name]) for name in COLOURS])
    for name in COLOURS:
        picture = np.asarray(sticker(noun, name), dtype=float)
        assert np.array_equal(picture[:, :, 3], np.asarray(sticker(noun))[:, :, 3])
        seen = picture[picture[:, :, 3] > 200][:, :3]
        bright = seen[np.ptp(seen, axis=1) > 60]  # what has a hue at all
        nearest = np.linalg.norm(names - lab(bright)[:, None], axis=2).argmin(axis=1)
        counts = np.bincount(nearest, minlength=len(COLOURS))
        assert COLOURS[counts.argmax()] == name, (noun, name)
        assert len(bright) > 0.15 * len(seen), (noun, name)


def test_painting_leaves_the_sticker_itself_alone():
    before = np.asarray(sticker("car")).copy()
    painted(sticker("car"), "green")
    assert np.array_equal(np.asarray(sticker("car")), before)
