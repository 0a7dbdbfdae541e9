"""The cast: every noun has its own picture and its own English."""

from importlib import resources

import numpy as np
import pytest

from kosmos2.errors import InputError
from kosmos2.scenes.stickers import NOUNS, VISIBLE, article, outline, plural, sticker


def test_the_nouns_are_many_and_each_a_single_plain_word():
    assert len(NOUNS) == 130
    assert len(set(NOUNS)) == len(NOUNS)
    assert {"snowman", "fire"} <= set(NOUNS)
    assert all(noun.isascii() and noun.isalpha() and noun.islower() for noun in NOUNS)


@pytest.mark.parametrize("noun", NOUNS)
def test_every_noun_has_a_sticker_cropped_to_what_is_visible(noun):
    seen = np.asarray(sticker(noun).getchannel("A")) >= VISIBLE
    assert sticker(noun).mode == "RGBA"
    assert max(sticker(noun).size) >= 64
    assert seen[0].any()
    assert seen[-1].any()
    assert seen[:, 0].any()
    assert seen[:, -1].any()


def test_no_picture_is_shipped_that_no_noun_wears_and_all_are_small():
    folder = resources.files("kosmos2") / "assets" / "stickers"
    pictures = [file for file in folder.iterdir() if file.name.endswith(".png")]
    assert {file.name for file in pictures} == {f"{noun}.png" for noun in NOUNS}
    assert sum(len(file.read_bytes()) for file in pictures) < 700_000
    assert "Open Font License" in (folder / "NOTICE").read_text(encoding="utf-8")


def test_no_two_stickers_look_alike_at_sixteen_pixels():
    def seen(noun):
        small = sticker(noun).resize((16, 16))
        pixels = np.asarray(small.convert("RGBa").convert("RGBA"), dtype=float)
        return (pixels[:, :, :3] * pixels[:, :, 3:] / 255 + 255 - pixels[:, :, 3:]).ravel()

    small = np.array([seen(noun) for noun in NOUNS])
    apart = np.abs(small[:, None] - small[None]).mean(axis=2)
    apart[np.diag_indices(len(NOUNS))] = np.inf
    one, other = np.unravel_index(apart.argmin(), apart.shape)
    assert apart.min() > 20, (NOUNS[one], NOUNS[other])


def test_an_outline_holds_every_visible_pixel_and_turns_one_way():
    for noun in NOUNS:
        corners = outline(noun)
        edges = np.roll(corners, -1, axis=0) - corners
        after = np.roll(edges, -1, axis=0)
        assert (edges[:, 0] * after[:, 1] - edges[:, 1] * after[:, 0] > 0).all(), noun
        y, x = np.nonzero(np.asarray(sticker(noun).getchannel("A")) >= VISIBLE)
        middles = np.stack([x, y], axis=1) + 0.5
        away = middles[:, None] - corners[None]
        assert (edges[:, 0] * away[:, :, 1] - edges[:, 1] * away[:, :, 0] > 0).all(), noun


@pytest.mark.parametrize(
    ("noun", "many"),
    [
        ("dog", "dogs"), ("fish", "fish"), ("butterfly", "butterflies"), ("key", "keys"),
        ("bus", "buses"), ("mouse", "mice"), ("sheep", "sheep"), ("cherry", "cherries"),
        ("wrench", "wrenches"), ("axe", "axes"), ("church", "churches"),
        ("octopus", "octopuses"), ("cactus", "cactuses"), ("crab", "crabs"),
        ("snowman", "snowmen"),
    ],
)  # fmt: skip
def test_plurals_are_english(noun, many):
    assert noun in NOUNS
    assert plural(noun) == many


def test_articles_are_english():
    wants_an = {
        "elephant", "owl", "octopus", "apple", "avocado", "airplane", "umbrella", "anchor", "egg",
        "envelope", "axe", "eggplant",
    }  # fmt: skip
    assert {noun for noun in NOUNS if article(noun) == "an"} == wants_an


def test_an_unknown_noun_is_refused_by_name():
    with pytest.raises(InputError, match="unicorn"):
        sticker("unicorn")
