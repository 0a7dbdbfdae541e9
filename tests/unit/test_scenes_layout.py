"""Where things stand: what a layout promises about sizes, places, overlap and twins."""

from collections import Counter

import numpy as np
import pytest

from kosmos2.errors import InputError
from kosmos2.scenes.backgrounds import FAMILIES
from kosmos2.scenes.layout import LARGEST, MOST_ANGLE, MOST_COVERED, SMALLEST, compose
from kosmos2.scenes.stickers import NOUNS

MANY = 1500


@pytest.fixture(scope="module")
def scenes():
    return [compose(11, index) for index in range(MANY)]


def longest(box):
    return max(box.x2 - box.x1, box.y2 - box.y1)


def test_the_same_two_numbers_make_the_same_scene(scenes):
    assert [compose(11, index) for index in range(0, MANY, 50)] == scenes[::50]


def test_other_numbers_make_other_scenes(scenes):
    drawn = [*scenes, *(compose(12, index) for index in range(MANY))]
    assert len({(scene.things, scene.background, scene.details) for scene in drawn}) == 2 * MANY


def test_a_scene_does_not_depend_on_the_scenes_before_it(scenes):
    assert compose(11, MANY - 1) == scenes[-1]


def test_a_scene_is_pinned_so_that_a_seed_means_the_same_everywhere():
    scene = compose(1, 0)
    assert [thing.noun for thing in scene.things] == ["fish", "fish", "guitar"]


def test_every_thing_is_inside_turned_a_little_and_of_a_promised_size(scenes):
    for scene in scenes:
        assert 1 <= len(scene.things) <= 5
        for thing in scene.things:
            box = thing.box
            assert 0 <= box.x1 < box.x2 <= 1
            assert 0 <= box.y1 < box.y2 <= 1
            assert abs(thing.angle) <= MOST_ANGLE
            assert SMALLEST - 1e-9 <= longest(box) <= LARGEST[len(scene.things)] + 1e-9


def test_sizes_reach_both_ends_of_their_range(scenes):
    alone = [longest(scene.things[0].box) for scene in scenes if len(scene.things) == 1]
    assert min(alone) < 0.13
    assert max(alone) > 0.63
    assert abs(np.mean(alone) - 0.38) < 0.03


def test_no_thing_is_covered_by_more_than_a_quarter(scenes):
    steps = (np.arange(200) + 0.5) / 200
    overlapping = 0
    for scene in scenes:
        for below, thing in enumerate(scene.things):
            box = thing.box
            x = (box.x1 + steps * (box.x2 - box.x1))[None, :]
            y = (box.y1 + steps * (box.y2 - box.y1))[:, None]
            hidden = np.zeros((200, 200), bool)
            for other in (above.box for above in scene.things[below + 1 :]):
                hidden |= (other.x1 < x) & (x < other.x2) & (other.y1 < y) & (y < other.y2)
            assert hidden.mean() <= MOST_COVERED + 0.02
            overlapping += hidden.any()
    assert overlapping > MANY // 10


def test_twins_are_common_and_triplets_are_not(scenes):
    crowds = [scene for scene in scenes if len(scene.things) > 1]
    most = [max(Counter(thing.noun for thing in scene.things).values()) for scene in crowds]
    assert 0.30 < np.mean([count > 1 for count in most]) < 0.40
    assert 0.01 < np.mean([count == 3 for count in most]) < 0.10
    assert max(most) == 3
    for scene in crowds:
        repeated = [n for n, c in Counter(t.noun for t in scene.things).items() if c > 1]
        assert len(repeated) <= 1


def test_every_noun_every_background_and_every_count_appears(scenes):
    assert {thing.noun for scene in scenes for thing in scene.things} == set(NOUNS)
    assert {scene.background for scene in scenes} == set(FAMILIES)
    assert {len(scene.things) for scene in scenes} == {1, 2, 3, 4, 5}


def test_negative_numbers_are_refused():
    with pytest.raises(InputError, match="-1"):
        compose(-1, 0)
    with pytest.raises(InputError, match="-3"):
        compose(0, -3)
