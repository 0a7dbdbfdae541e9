"""Held-out phrases: which are asked, what counts as found, and that asking changes nothing."""

import json

import numpy as np
import pytest
import torch

from kosmos2 import Kosmos2
from kosmos2.data.sample import Picture, Sample, Span, Turn
from kosmos2.data.wording import Wording
from kosmos2.errors import DataError
from kosmos2.geometry import CELLS, Box
from kosmos2.train import cells
from kosmos2.train.watching.held_out import (
    Answer,
    Exam,
    HeldOut,
    exercises,
    scene_exercises,
    store,
    stored,
)
from runs import held_out

LEFT, RIGHT = Box(0.0, 0.1, 0.4, 0.9), Box(0.5, 0.1, 0.9, 0.9)
PICTURE = Picture(np.full((40, 60, 3), 100, np.uint8))


def pair(name: str = "pair") -> Sample:
    spans = (Span(0, 5, (LEFT,)), Span(10, 15, (RIGHT,)), Span(0, 1, (RIGHT,), score=0.1))
    return Sample(name, "pair", (Turn("A dog and a cat", spans),), (PICTURE,))


def objects() -> Sample:
    turns = (
        Turn("dog", (Span(0, 3, (LEFT,)),)),
        Turn("traffic_light", (Span(0, 13, (LEFT, RIGHT)),)),
    )
    return Sample("objects", "objects", turns, (PICTURE,))


def test_phrases_of_captions_and_classes_of_exports_are_asked_for_as_they_are_taught():
    first, second = exercises([pair(), objects()])
    assert (first.phrases, first.truth) == (("a dog", "a cat"), ((LEFT,), (RIGHT,)))
    assert second.phrases == ("a dog", "two traffic lights")
    assert second.truth == ((LEFT,), (LEFT, RIGHT))
    (other,) = exercises([objects()], wording=Wording(of_one=("{noun}",), of_many=("all {nouns}",)))
    assert other.phrases == ("dog", "all traffic lights")


def test_what_names_nothing_in_its_only_picture_is_passed_over():
    asked, said = Turn("Is it?", learn=False, picture=0), Turn("A dog", (Span(0, 5, (LEFT,)),))
    empty = Sample("empty", "pair", (Turn("nothing"),), (PICTURE,))
    broken = Sample("broken", "pair", pair().turns, (Picture(b"no picture"),))
    dialogue = Sample("dialogue", "dialogue", (asked, said), (PICTURE,))
    text = Sample("text", "text", (Turn("words"),))
    assert [one.name for one in exercises([dialogue, text, empty, broken, pair()])] == ["pair"]


def test_no_more_phrases_are_asked_for_than_wanted():
    every = exercises([pair(str(i)) for i in range(10)], 5)
    assert [len(one.phrases) for one in every] == [2, 2, 1]
    assert sum(len(one.phrases) for one in scene_exercises(1, 7, 32)) == 7


def test_a_phrase_is_found_where_the_overlap_with_any_true_box_is_a_half():
    def overlap(found):
        return Answer("", 0, "dogs", (LEFT, RIGHT), found).overlap

    assert overlap(RIGHT) == 1.0
    assert overlap(None) == 0.0
    half = Box(0.0, 0.1, 0.2, 0.9)
    assert overlap(half) == pytest.approx(0.5)
    answers = tuple(Answer("", 0, "dogs", (LEFT,), found) for found in (LEFT, RIGHT, half, None))
    found = HeldOut(3, answers)
    assert (found.hits, found.accuracy, found.mean_iou) == (2, 0.5, pytest.approx(0.375))


@pytest.fixture
def exam(tiny_model):
    return Exam(scene_exercises(7, 9, 48), tiny_model.tokenizer, batch=2)


def test_the_grounder_alone_gives_the_same_answers(tiny_model, exam):
    answers = iter(exam.take(tiny_model.network, 12).answers)
    for exercise in exam.exercises:
        picture = exercise.picture.open()
        for phrase in exercise.phrases:
            answer = next(answers)
            alone = tiny_model.ground(
                picture, phrase, max_boxes=1, max_new_tokens=16, no_repeat_ngram_size=0
            )
            boxes = [box for entity in alone.entities for box in entity.boxes]
            assert answer.phrase == phrase
            assert answer.found == (boxes[0] if boxes else None)
    assert next(answers, None) is None


def test_an_exam_changes_nothing_of_the_network_nor_of_the_dice(tiny_model, exam):
    network = tiny_model.network
    network.train()
    network.vision.eval()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    dice = torch.random.get_rng_state()
    try:
        first, again = exam.take(network, 0), exam.take(network, 0)
        assert network.decoder.training
        assert not network.vision.training
        assert all(part.training for part in network.decoder.modules())
        assert not any(part.training for part in network.vision.modules())
    finally:
        network.eval()
    assert first.answers == again.answers
    assert torch.equal(dice, torch.random.get_rng_state())
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    assert all(value.grad is None for value in network.parameters())


def test_a_network_is_asked_as_it_is_now_and_not_as_it_was():
    model = Kosmos2.load("demo")
    exam = Exam(scene_exercises(7, 6, 160), model.tokenizer)
    before = exam.take(model.network, 0)
    assert before.hits >= 4
    state = model.network.decoder.words.state_dict()
    state["weight"][-CELLS:].normal_(0.0, 0.02)  # as when nobody has learnt any places
    model.network.decoder.words.load_state_dict(state)
    cells.share(model.network.decoder.words)  # while training
    after = exam.take(model.network, 1)
    assert after.hits < before.hits
    assert len(after.answers) == len(before.answers) == 6


def test_answers_and_pictures_are_kept_and_read_back(tmp_path):
    for step, right in ((100, True), (0, False)):
        store(held_out(step, right=right), tmp_path)
    first, last = stored(tmp_path)
    assert (first.step, last.step) == (0, 100)
    for found, right in ((first, False), (last, True)):
        assert found.answers == held_out(found.step, right=right).answers
        assert [picture.size for picture in found.pictures] == [(80, 60)]
    assert stored(tmp_path / "nothing") == []


def test_damaged_answers_are_named(tmp_path):
    store(held_out(5, right=True), tmp_path)
    file = tmp_path / "held_out" / "step-0000005.json"
    for text in ("{", json.dumps({"step": 5, "answers": []}), "[]"):
        file.write_text(text)
        with pytest.raises(DataError, match="step-0000005"):
            stored(tmp_path)


def test_an_exam_without_phrases_is_refused(tiny_model):
    with pytest.raises(DataError, match="hold out more rows"):
        Exam([], tiny_model.tokenizer)
