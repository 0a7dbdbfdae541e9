"""Colour, size and number: what is said of a scene is true, and asked so that guessing fails."""

from collections import Counter

import numpy as np
import pytest

from kosmos2.data.encoding import encode
from kosmos2.geometry import Box
from kosmos2.scenes import attributes, choosing, sentences
from kosmos2.scenes.layout import Scene, Thing, compose
from kosmos2.scenes.teaching import lesson_of
from kosmos2.scenes.world import FIRST, SECOND
from kosmos2.train import vocabulary


def thing(noun, x, side, colour=None):
    return Thing(noun, Box(x, 0.2, x + side, 0.2 + side), False, 0.0, colour)


def scene(*things):
    return Scene(0, 0, things, "flat", 0, SECOND)


RED, BLUE = thing("car", 0.0, 0.2, "red"), thing("car", 0.3, 0.3, "blue")
LARGE, SMALL = thing("dog", 0.6, 0.3), thing("dog", 0.0, 0.2)


def phrases(examples):
    return {example.asked: example.truth for example in examples}


def test_a_colour_tells_one_of_several_from_the_others():
    assert phrases(attributes.by_colour(scene(RED, BLUE), ambiguous=True)) == {
        "the red car": (RED.box,),
        "a red car": (RED.box,),
        "the blue car": (BLUE.box,),
        "a blue car": (BLUE.box,),
    }
    assert not phrases(attributes.by_colour(scene(RED, BLUE), ambiguous=False))
    assert not phrases(attributes.by_colour(scene(RED, RED), ambiguous=True))
    assert set(phrases(attributes.by_colour(scene(RED, LARGE), ambiguous=False))) == {
        "the red car",
        "a red car",
    }


def test_a_size_tells_one_of_several_where_it_is_plain_to_see():
    assert phrases(attributes.by_size(scene(LARGE, SMALL))) == {
        "the large dog": (LARGE.box,),
        "the large one of two dogs": (LARGE.box,),
        "the small dog": (SMALL.box,),
        "the small one of two dogs": (SMALL.box,),
    }
    nearly = thing("dog", 0.3, 0.28)
    assert phrases(attributes.by_size(scene(LARGE, SMALL, nearly))) == {
        "the smallest dog": (SMALL.box,),
        "the smallest one of three dogs": (SMALL.box,),
    }
    assert not phrases(attributes.by_size(scene(LARGE, nearly)))


def test_a_thing_in_another_colour_is_not_there():
    absent = phrases(attributes.not_in_that_colour(scene(RED, LARGE)))
    assert "the blue car" in absent
    assert "the red car" not in absent
    assert set(absent.values()) == {()}
    asked = {e.asked: e.text for e in attributes.ask_coloured(scene(RED), there=False)}
    assert asked["Is there a blue car?"] == " no."
    assert "Is there a red car?" not in asked
    there = {e.asked: e.text for e in attributes.ask_coloured(scene(RED), there=True)}
    assert there == {"Is there a red car?": " yes."}


def test_colours_are_told_with_single_things():
    assert sentences.detailed(scene(RED, LARGE)).text == (
        " The image shows a red car and a dog. The car is to the left of the dog."
    )
    (asked,) = attributes.ask_colour(scene(RED, LARGE))
    assert (asked.asked, asked.text) == ("What color is the car?", " red.")
    orange = thing("car", 0.0, 0.2, "orange")
    assert next(sentences.describe(scene(orange))).text == " an orange car."


def test_no_answer_is_much_more_frequent_than_the_others():
    counts, there = Counter(), Counter()
    for index in range(600):
        rng = np.random.default_rng(index)
        one = compose(8, index, SECOND)
        asked = choosing.count(one, rng)
        counts[asked.text] += 1
        noun = {form: n for n in SECOND.nouns for form in (sentences.plural(n),)}
        number = sum(t.noun == noun[asked.asked.split()[2]] for t in one.things)
        assert asked.text == f" {sentences.NUMBERS[number]}."
        there[choosing.presence(one, rng).text] += 1
    assert set(counts) == {f" {word}." for word in sentences.NUMBERS}
    assert max(counts.values()) < 0.45 * 600
    assert 0.42 < there[" yes."] / 600 < 0.58


def test_the_first_world_says_nothing_of_colour():
    for index in range(60):
        one = compose(8, index, FIRST)
        assert not list(attributes.by_colour(one, ambiguous=False))
        assert not list(attributes.ask_coloured(one, there=False))


@pytest.mark.parametrize("world", [FIRST, SECOND], ids=lambda world: world.name)
def test_a_lesson_says_what_its_example_says(world):
    tokenizer = vocabulary.build()
    weighed = set()
    for index in range(30):
        one = compose(8, index, world)
        examples = [*sentences.find(one), *sentences.absent(one), *sentences.ask(one)]
        examples += [sentences.detailed(one), sentences.brief(one, grounded=False)]
        for example in [*examples, *attributes.by_size(one)]:
            lesson = lesson_of(example)
            tokens = encode(lesson, tokenizer)
            said = tokenizer.decode([i for i, learnt in zip(tokens.ids, tokens.learnt) if learnt])
            places = sum(corner[0] >= 0 for corner in tokens.corners)
            boxes = [part.boxes for part in example.answer if not isinstance(part, str)]
            expected = 2 * sum(map(len, boxes)) if lesson.grounded else 0
            assert places == expected
            assert example.answer == () or example.text.strip(" .")[:1] in said
            assert lesson.task == example.task
            weighed.add((example.task, example.kind, lesson.weight))
    # Whoever weighs "not there" more than "there" teaches to refuse.
    assert {w for task, _, w in weighed if task in ("find", "absent")} == {1.0}
    assert all(w > 1 for _, kind, w in weighed if kind == "count")
