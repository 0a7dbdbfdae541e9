"""A second look is one at the part of the picture around a box, told as one at all of it."""

from __future__ import annotations

from dataclasses import replace
from importlib import resources

import numpy as np
import pytest
from PIL import Image

from kosmos2 import Box, Kosmos2, Seen
from kosmos2.config import Config
from kosmos2.errors import InputError, PromptError
from kosmos2.grounder import Located, closer
from kosmos2.grounder import part as parts
from kosmos2.grounder.part import Part
from kosmos2.markup import parse
from kosmos2.train import vocabulary
from networks import loud_network

SMALL = Box(0.55, 0.3, 0.62, 0.4)
SHORT = {"max_new_tokens": 12}


@pytest.fixture(scope="module")
def model() -> Kosmos2:
    """Random, and loud enough that what it says depends on what it sees."""
    tokenizer = vocabulary.build()
    return Kosmos2(loud_network(Config.tiny(vocabulary=tokenizer.size), 3), tokenizer, batch=3)


@pytest.fixture(scope="module")
def picture():
    dice = np.random.default_rng(5)
    return Image.fromarray(dice.integers(0, 256, (400, 600, 3), dtype=np.uint8))


def test_a_box_is_described_as_it_is_in_the_part_that_somebody_cuts_by_hand(
    model: Kosmos2, picture
):
    part = Part.around(SMALL, 600, 400)
    by_hand = model.describe(
        picture.crop((part.left, part.top, part.right, part.bottom)), part.inside(SMALL), **SHORT
    )
    found = model.describe(picture, SMALL, closer=True, **SHORT)
    assert found.text == by_hand.text
    assert found.text != model.describe(picture, SMALL, **SHORT).text
    assert (found.image.width, found.image.height) == (600, 400)
    assert found.prompt == model.describe(picture, SMALL, **SHORT).prompt


def test_what_is_pointed_at_in_a_part_is_pointed_at_in_the_picture():
    model, thing = Kosmos2.load(), Box(0.14, 0.67, 0.45, 0.98)
    with resources.as_file(resources.files("kosmos2") / "assets/examples/snowman.jpg") as path:
        picture = Image.open(path).convert("RGB")
    wide = Image.new("RGB", (3 * picture.width, picture.height), (200, 210, 220))
    wide.paste(picture, (picture.width, 0))
    box = Box((1 + thing.x1) / 3, thing.y1, (1 + thing.x2) / 3, thing.y2)
    part = Part.around(box, *wide.size)
    by_hand = model.describe(
        wide.crop((part.left, part.top, part.right, part.bottom)), part.inside(box)
    )
    found = model.describe(wide, box, closer=True)
    there = [part.outside(box) for entity in by_hand.entities for box in entity.boxes]
    assert there, "no boxes, so nothing was shown"
    assert [e.phrase for e in found.entities] == [e.phrase for e in by_hand.entities]
    assert [box for entity in found.entities for box in entity.boxes] == there
    snowman = Box(1.08 / 3, 0.05, 1.45 / 3, 0.58)  # "a hamburger below [it]"
    assert found.entities[0].phrase == "a snowman"
    assert found.entities[0].boxes[0].iou(snowman) > 0.5
    # What the markup says is what the entities say, as near as cells can say it.
    told = [box for entity in parse(found.markup).entities for box in entity.boxes]
    for one, other in zip(told, there, strict=True):
        assert one.corners == pytest.approx(other.corners, abs=1.01 / 32)


def test_several_pictures_are_described_from_closer_as_each_alone(model: Kosmos2, picture):
    other = picture.rotate(180)
    both = model.describe([picture, other], SMALL, closer=True, **SHORT)
    assert both[0].text == model.describe(picture, SMALL, closer=True, **SHORT).text
    assert both[1].text == model.describe(other, SMALL, closer=True, **SHORT).text


def test_a_large_box_is_described_as_ever(model: Kosmos2, picture):
    whole = (0, 0, 1, 1)
    closely = model.describe(picture, whole, closer=True, **SHORT)
    assert closely == model.describe(picture, whole, **SHORT)


def test_markup_that_is_no_box_stays_as_it_was():
    part = Part(100, 100, 200, 200, 400, 400)
    for broken in ("<patch_index_0900><patch_index_0001>", "<patch_index_1024><patch_index_1030>"):
        assert closer._PAIR.sub(lambda pair: closer._moved(pair, part), broken) == broken
    moved = closer._PAIR.sub(
        lambda pair: closer._moved(pair, part), "a<patch_index_0000><patch_index_1023>b"
    )
    assert moved == "a<patch_index_0264><patch_index_0495>b"  # rows and columns 8 to 15


def test_where_a_phrase_is_found_it_is_looked_for_again_and_both_looks_count(
    model: Kosmos2, picture, monkeypatch
):
    monkeypatch.setattr(closer, "GLIMPSE", 0.0)
    monkeypatch.setattr(parts, "SHARE", 0.9)
    first = model.locate(picture, "a dog")
    part = Part.around(first.boxes[0], 600, 400)
    assert part is not None
    second = model.locate(
        picture.crop((part.left, part.top, part.right, part.bottom)), "a dog", best=1
    )
    for same, best in ((0.0, part.outside(second.boxes[0])), (1.1, first.boxes[0])):
        monkeypatch.setattr(closer, "SAME", same)
        found = model.locate(picture, "a dog", closer=True)
        assert found.presence == pytest.approx((first.presence + second.presence) / 2)
        assert found.boxes[0].corners == pytest.approx(best.corners)
        assert found.boxes[1:] == first.boxes[1:]
        assert found.heat == first.heat


def test_the_closer_box_takes_the_place_of_all_that_are_as_good_as_it():
    part = Part(0, 0, 200, 200, 400, 400)
    before, beside, elsewhere = Box(0, 0, 0.2, 0.2), Box(0.05, 0, 0.25, 0.2), Box(0.7, 0.7, 1, 1)
    first = Located(phrase="it", boxes=(before, beside, elsewhere), presence=0.8, heat=())
    for x1, kept in ((0.1, (elsewhere,)), (0.6, (before, beside, elsewhere))):
        second = Located(phrase="it", boxes=(Box(x1, 0, x1 + 0.4, 0.4),), presence=0.6, heat=())
        now = Box(x1 / 2, 0, x1 / 2 + 0.2, 0.2)
        found = closer._both(first, second, part, 0.5)
        assert found.boxes == (now, *kept) if kept == (elsewhere,) else kept
        assert found.presence == pytest.approx(0.7)
    assert closer._both(first, replace(second, boxes=(Box(0.1, 0, 0.5, 0.4),)), part, 1).boxes == (
        Box(0.05, 0, 0.25, 0.2), beside, elsewhere,
    )  # fmt: skip


def test_what_is_surely_not_there_is_not_looked_for_again(model: Kosmos2, picture, monkeypatch):
    monkeypatch.setattr(closer, "GLIMPSE", 1.1)
    phrases = ["a dog", "snow"]
    looked = model.locate(picture, phrases, closer=True)
    assert looked == model.locate(picture, phrases)


def test_of_a_look_alone_no_part_can_be_cut(model: Kosmos2, picture):
    class Remembered:
        name, width, height = "a picture that is gone", 600, 400
        digest = "0"

    seen = model.see(picture)
    gone = Seen(Remembered(), seen.latents, by=seen.by)
    with pytest.raises(InputError, match="nothing of a picture that is gone left"):
        model.describe(gone, SMALL, closer=True)
    with pytest.raises(PromptError, match="inverted"):
        model.describe(picture, (0.9, 0, 0.1, 1), closer=True)
