"""The measure itself: who tells the truth gets full marks, who guesses does not."""

from types import SimpleNamespace

import numpy as np
import pytest

from kosmos2 import prompts
from kosmos2.evaluate import scenes as measure
from kosmos2.evaluate.spoiling import SPOILT
from kosmos2.geometry import Box
from kosmos2.grounder import Located
from kosmos2.scenes import sentences
from kosmos2.scenes.draw import draw_scene
from kosmos2.scenes.layout import compose
from kosmos2.scenes.world import FIRST, NEW, SECOND

COUNT, SEED = 12, 5


class Oracle:
    """Knows every scene and says what is true of it, unless it is told to say something else."""

    name = "oracle"
    min_presence = None

    def __init__(self, world, *, says=None, points=True):
        self.says, self.points, self.known, self.beams = says, points, {}, set()
        for index in range(COUNT):
            scene = compose(SEED, index, world)
            examples = [*measure._examples(scene), sentences.detailed(scene)]
            for number, how in enumerate((lambda p: p, *SPOILT.values())):
                key = how(draw_scene(scene, measure.SIDE_PX)).tobytes()
                if number == 0 or world.rough:
                    self.known[key] = {e.prompt.markup: e for e in examples}

    def see(self, pictures):
        return [SimpleNamespace(key=picture.tobytes()) for picture in pictures]

    def answer(self, asks, options):
        self.beams.add(options.beams)
        return [self._answer(self.known[ask.seen[0].key][ask.prompt.markup]) for ask in asks]

    def locate(self, seen, phrases, *, best, closer):
        assert (best, closer) == (1, True)
        return [self._place(seen, phrase) for phrase in phrases]

    def _place(self, seen, phrase):
        known = self.known[seen.key][prompts.ground(phrase).markup]
        boxes = tuple(known.truth[:1]) or (Box(0, 0, 1, 1),)
        there = bool(known.truth) is self.points
        return Located(phrase=phrase, boxes=boxes, presence=0.6 if there else 0.4, heat=())

    def caption(self, seen, *, detailed, closer, beams):
        assert (detailed, closer) == (True, True)
        self.beams.add(beams)
        scene = self.known[seen.key]
        return self._answer(scene[prompts.caption(detailed=True).markup])

    def describe(self, seen, region, *, closer):
        assert closer
        return self._answer(self.known[seen.key][prompts.describe(region).markup])

    def _answer(self, example):
        entities = [
            SimpleNamespace(phrase=part.words, boxes=[Box(*b.corners, 0.9) for b in part.boxes[:5]])
            for part in example.answer
            if not isinstance(part, str) and self.points
        ]
        if example.task == "absent" and not self.points:
            entities = [SimpleNamespace(phrase="", boxes=[Box(0, 0, 1, 1, 0.5)])]
        text = self.says if self.says and example.task == "ask" else example.text
        return SimpleNamespace(entities=entities, text=text)


def figures(measured, before=""):
    for name, value in measured.items():
        if isinstance(value, dict):
            yield from figures(value, f"{before}{name} ")
        elif f"{name}_interval" in measured:
            yield before + name, value


@pytest.mark.parametrize("world", [FIRST, SECOND, NEW], ids=lambda world: world.name)
def test_who_tells_the_truth_gets_full_marks(world):
    measured = measure.evaluate(Oracle(world), count=COUNT, seed=SEED, world=world)
    marks = {name: value for name, value in figures(measured) if value is not None}
    assert set(marks.values()) == {1.0}, marks
    assert "referring plain acc50" in marks
    assert ("robust jpeg acc50" in marks) == ("question_kinds count accuracy" in marks)
    assert ("robust jpeg acc50" in marks) == world.attributes


def test_who_always_says_yes_answers_few_questions():
    measured = measure.evaluate(Oracle(SECOND, says=" yes."), count=COUNT, seed=SEED, world=SECOND)
    assert measured["questions"]["accuracy"] < 0.4
    assert measured["question_kinds"]["count"]["accuracy"] == 0
    assert measured["question_kinds"]["presence"]["accuracy"] < 0.9
    assert measured["referring"]["plain"]["acc50"] == 1


def test_who_points_at_what_is_not_there_and_at_nothing_else_is_found_out():
    measured = measure.evaluate(Oracle(SECOND, points=False), count=COUNT, seed=SEED, world=SECOND)
    assert measured["absent"]["auc"] == 0
    assert measured["absent"]["nowhere"] == 0
    assert measured["absent_colour"]["auc"] == 0
    assert measured["robust"]["blur"]["acc50"] == 0
    assert measured["caption"]["f1"] == 0


@pytest.mark.parametrize("least", [None, 0.3, 0.5, 0.7])
def test_a_second_look_finds_from_a_presence_on(least):
    oracle = Oracle(SECOND)
    oracle.min_presence = least
    measured = measure.evaluate(oracle, count=COUNT, seed=SEED, world=SECOND, closer=True)
    assert measured["closer"] is True
    assert measured["naming"]["accuracy"] == 1
    assert measured["absent"]["auc"] == (0.5 if least == 0.7 else 1)
    assert measured["absent"]["nowhere"] == (0 if least == 0.3 else 1)
    assert measured["referring"]["plain"]["acc50"] == (0 if least == 0.7 else 1)
    assert measured["attributes"]["size"]["acc50"] == (0 if least == 0.7 else 1)
    assert measured["caption"]["f1"] == 1
    assert set(measured["questions"].values()) == {None}  # there is no second look for these
    wrong = measure.evaluate(Oracle(SECOND, points=False), count=COUNT, seed=SEED, closer=True)
    assert wrong["referring"]["plain"]["acc50"] == wrong["absent"]["auc"] == 0
    assert wrong["caption"]["f1"] == 0


def test_captions_may_be_searched_for_and_nothing_else_is():
    oracle = Oracle(FIRST)
    measured = measure.evaluate(oracle, count=2, seed=SEED, world=FIRST, beams=5)
    assert measured["beams"] == 5
    assert oracle.beams == {1, 5}
    closely = Oracle(FIRST)
    measure.evaluate(closely, count=2, seed=SEED, world=FIRST, beams=5, closer=True)
    assert closely.beams == {5}
    plain = Oracle(FIRST)
    assert "beams" not in measure.evaluate(plain, count=2, seed=SEED, world=FIRST)
    assert plain.beams == {1}


def test_the_first_world_has_the_figures_it_always_had():
    measured = measure.evaluate(Oracle(FIRST), count=COUNT, seed=SEED, world=FIRST)
    assert set(measured) == {
        "count", "seed", "model", "referring", "naming", "caption", "questions", "absent",
    }  # fmt: skip


@pytest.mark.parametrize("name", SPOILT)
def test_spoiling_harms_a_picture_and_leaves_it_its_size(name):
    picture = draw_scene(compose(1, 3, FIRST), 224)
    spoilt = SPOILT[name](picture)
    assert spoilt.shape == picture.shape
    assert spoilt.dtype == np.uint8
    assert 0.3 < np.abs(spoilt.astype(int) - picture).mean() < 30
