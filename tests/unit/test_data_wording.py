"""What a sample teaches: the paper's rules for pairs, and ours for what it leaves open."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data_kit import CAT, DOG, objects, pair, picture
from kosmos2 import prompts
from kosmos2.data.lesson import Lesson, Linked
from kosmos2.data.sample import Sample, Span, Turn
from kosmos2.data.spans import kept, parts_of
from kosmos2.data.wording import Wording, lessons_of
from kosmos2.errors import RecipeError
from kosmos2.geometry import Box
from kosmos2.markup import GROUNDING, object_block
from kosmos2.prompts import PICTURE, Markup, Words

FIELD = Box(0.0, 0.3, 1.0, 1.0)
FLOWERS = "a dog in a field of flowers"
EVERY = ("caption", "find", "describe")


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def taught(sample: Sample, seed: int = 0, classes=(), **wording) -> list[Lesson]:
    return lessons_of(sample, Wording(**wording), rng(seed), classes=classes)


def told(one: Lesson, learn: bool) -> str:
    """What is learnt of a lesson, or what is read, as markup."""
    said = (part for said in one.said if said.learn == learn for part in said.parts)
    return "".join(map(_shown, said))


def _shown(part) -> str:
    if isinstance(part, Linked):
        words = f"<phrase>{part.words}</phrase>" if part.words else ""
        return words + object_block(part.boxes)
    return "<image>" if part is PICTURE else part.text


def spans_of(text: str, *given: Span, **rules) -> list[str]:
    settings = {"mode": "expression", "least_score": 0.65, "contained": False} | rules
    return [text[span.start : span.end] for span in kept(text, given, **settings)]


# Which words are tied


def test_pitfall_5_a_span_within_another_is_dropped_when_read_not_in_the_file():
    every = Span(0, 27, (DOG,)), Span(9, 27, (FIELD,)), Span(20, 27, (CAT,))
    assert spans_of(FLOWERS, *every) == [FLOWERS]
    assert spans_of(FLOWERS, *every, contained=True) == ["flowers"]


def test_pitfall_5_an_outer_span_that_lost_its_boxes_lets_the_inner_one_in_again():
    unsure, field = Span(0, 27, (DOG,), score=0.6), Span(9, 27, (FIELD,), score=0.9)
    assert spans_of(FLOWERS, unsure, field) == ["a field of flowers"]
    assert spans_of(FLOWERS, unsure, field, least_score=0.5) == [FLOWERS]


def test_a_box_counts_from_the_least_score_on_each_by_its_own_score():
    sure, unsure = Box(*DOG.corners, 0.65), Box(*CAT.corners, 0.649)
    chosen = kept("a dog", [Span(0, 5, (sure, unsure), 0.649)], mode="expression",
                  least_score=0.65, contained=False)  # fmt: skip
    assert [span.boxes for span in chosen] == [(sure,)]


def test_boxes_of_the_same_words_are_one_phrase_in_the_order_of_the_data():
    twice = Span(0, 8, (CAT,)), Span(0, 8, (DOG,))
    (span,) = kept("two cats", twice, mode="expression", least_score=0.65, contained=False)
    assert span.boxes == (CAT, DOG)


def test_pitfall_7_the_same_words_at_another_place_have_boxes_of_their_own():
    both = Span(0, 5, (DOG,)), Span(10, 15, (CAT,))
    parts = parts_of("a dog and a dog", both)
    assert parts == (Linked(" a dog", (DOG,)), Words(" and"), Linked(" a dog", (CAT,)))


def test_phrases_are_of_the_mode_asked_for_and_of_the_only_one_there_is():
    expression, noun = Span(0, 27, (DOG,)), Span(0, 5, (DOG,), expression=False)
    assert spans_of(FLOWERS, expression, noun) == [FLOWERS]
    assert spans_of(FLOWERS, expression, noun, mode="phrase") == ["a dog"]
    assert spans_of(FLOWERS, noun) == ["a dog"]


def test_of_spans_that_overlap_but_do_not_contain_each_other_the_surer_is_kept():
    first, second = Span(0, 16, (DOG,), 0.7), Span(9, 27, (FIELD,), 0.8)
    assert spans_of(FLOWERS, first, second) == ["a field of flowers"]


def test_blanks_at_the_edges_of_a_span_belong_to_the_text():
    assert spans_of(FLOWERS, Span(5, 17, (DOG,))) == ["in a field"]
    assert spans_of("a  dog", Span(1, 3, (DOG,))) == []


spans = st.builds(
    lambda ends, score: Span(min(ends), max(ends), (DOG,), score),
    st.tuples(st.integers(0, 27), st.integers(0, 27)).filter(lambda ends: ends[0] != ends[1]),
    st.floats(0, 1),
)


@settings(max_examples=150, deadline=None)
@given(st.lists(spans, max_size=8), st.booleans())
def test_phrases_never_overlap_and_the_text_is_all_there(given_spans, contained):
    chosen = kept(FLOWERS, given_spans, mode="expression", least_score=0.5, contained=contained)
    for one, other in pairwise(chosen):
        assert one.end <= other.start
    if any(span.score >= 0.5 and FLOWERS[span.start : span.end].strip() for span in given_spans):
        assert chosen
    parts = parts_of(FLOWERS, chosen)
    assert "".join(getattr(part, "words", getattr(part, "text", "")) for part in parts) == (
        f" {FLOWERS}"
    )


# Pairs


def test_half_of_the_pairs_are_taught_with_their_boxes_and_only_those_have_the_switch():
    sample = pair("a dog", Span(0, 5, (DOG,)))
    lessons = [one for seed in range(400) for one in taught(sample, seed)]
    grounded = [one for one in lessons if one.grounded]
    assert 160 < len(grounded) < 240
    for one in lessons:
        assert (GROUNDING in told(one, True)) == one.grounded
        assert len(lessons) == 400


def test_a_pair_without_boxes_never_has_the_switch():
    for seed in range(20):
        (one,) = taught(pair("a dog"), seed, boxes_share=1.0)
        assert told(one, True) == " a dog"


def test_the_switch_is_learnt_or_only_read_as_told():
    sample = pair("a dog", Span(0, 5, (DOG,)))
    (one,) = taught(sample, boxes_share=1.0)
    assert told(one, True) == f"{GROUNDING}<phrase> a dog</phrase>{object_block([DOG])}"
    (other,) = taught(sample, boxes_share=1.0, learn_grounding=False)
    assert told(other, False) == GROUNDING
    assert told(other, True).startswith("<phrase>")


def test_an_expression_is_asked_for_in_both_directions():
    sample = pair("A dog runs.", Span(0, 5, (DOG,)))
    find, describe = taught(sample, lessons=("find", "describe"), describe_by=(4,))
    assert find.said[0].parts == prompts.ground("a dog").parts
    assert told(find, True) == object_block([DOG])
    assert told(describe, False) == prompts.describe(DOG).markup
    assert told(describe, True) == " a dog."


def test_table_9_has_six_ways_to_ask_and_the_pronoun_comes_back_in_the_answer():
    sample = pair("a dog", Span(0, 5, (DOG,)))
    block = object_block([DOG])
    expected = {
        1: (f" What is<phrase> it</phrase>{block}?", " It is a dog."),
        2: (f" What is<phrase> this</phrase>{block}?", " This is a dog."),
        3: (f" Describe<phrase> this object</phrase>{block}.", " This object is a dog."),
        4: (f"<phrase> It</phrase>{block} is", " a dog."),
        5: (f"<phrase> This</phrase>{block} is", " a dog."),
        6: (f"<phrase> The object</phrase>{block} is", " a dog."),
    }
    for number, (asked, answer) in expected.items():
        (one,) = taught(sample, lessons=("describe",), describe_by=(number,))
        assert told(one, False) == GROUNDING + asked
        assert told(one, True) == answer


def test_a_phrase_with_several_boxes_is_found_but_not_described():
    sample = pair("two cats", Span(0, 8, (CAT, DOG)))
    assert [one.task for one in taught(sample, lessons=EVERY)] == ["caption", "find"]


def test_the_weight_of_a_sample_is_that_of_its_lessons():
    sample = Sample("a", "pair", (Turn("a dog", (Span(0, 5, (DOG,)),)),), (picture(),), 0.25)
    assert {one.weight for one in taught(sample, lessons=EVERY)} == {0.25}


# Labelling exports


def test_a_caption_of_labels_counts_what_is_there():
    corner = Box(0.0, 0.0, 0.3, 0.3)
    sample = objects(dog=[DOG], cat=[CAT, corner], cup=[corner])
    (plain,) = taught(sample, lessons=("caption",), boxes_share=0.0)
    assert plain.said[0].parts == prompts.caption(grounded=False).parts
    assert [getattr(part, "words", getattr(part, "text", "")) for part in plain.said[1].parts] == [
        *(" two cats", ",", " a dog", " and", " a cup", "."),
    ]
    assert not plain.grounded
    (tied,) = taught(sample, lessons=("caption",), boxes_share=1.0)
    assert tied.said[0].parts == prompts.caption(grounded=True).parts
    assert tied.said[1].parts[0] == Linked(" two cats", (corner, CAT))


def test_every_class_is_asked_for_with_all_its_boxes_from_left_to_right():
    left, right = Box(0.0, 0.0, 0.3, 0.3), Box(0.5, 0.0, 0.8, 0.3)
    sample = objects(dog=[DOG], cat=[right, left])
    found = {told(one, False): told(one, True) for one in taught(sample, lessons=("find",))}
    assert sorted(found.values()) == sorted([object_block([DOG]), object_block([left, right])])


def test_classes_become_phrases_through_templates():
    seen = set()
    for seed in range(60):
        for one in taught(objects(traffic_light=[DOG], apple=[DOG, CAT]), seed, lessons=("find",)):
            seen.add(one.said[0].parts[2].text)
    assert seen == {
        *(" a traffic light", " the traffic light", " traffic light"),
        *(" two apples", " the apples", " apples"),
    }


def test_what_is_absent_is_asked_for_and_tied_to_nothing():
    sample = objects(dog=[DOG])
    lessons = [
        one
        for seed in range(300)
        for one in taught(sample, seed, classes=("cat", "dog"), lessons=("find",))
    ]
    absent = [one for one in lessons if one.task == "absent"]
    assert 0.18 < len(absent) / len(lessons) < 0.32
    for one in absent:
        assert "cat" in told(one, False)
        assert one.said[1].learn
        assert one.said[1].parts == ()


def test_a_picture_with_nothing_on_it_still_teaches_that():
    empty = objects()
    (one,) = taught(empty, classes=("dog",))
    assert one.task == "absent"
    assert taught(empty) == []
    assert taught(empty, classes=("dog",), negatives=0.0) == []


def test_what_is_there_too_often_is_not_asked_for_and_named_without_boxes():
    sample = objects(dog=[DOG] * 5, cat=[CAT])
    lessons = taught(sample, most_boxes=4, boxes_share=1.0)
    assert all("dog" not in told(one, False) for one in lessons if one.task == "find")
    (caption,) = (one for one in lessons if one.task == "caption")
    assert " five dogs" in told(caption, True)
    assert "five dogs</phrase>" not in told(caption, True)


def test_no_task_crowds_out_the_others():
    sample = objects(dog=[DOG] * 6, cat=[CAT] * 6, cup=[CAT] * 6)
    tasks = [one.task for one in taught(sample, most_lessons=5)]
    assert tasks == ["caption", "find", "describe", "find", "describe"]


# Conversations and documents


def talk(*said: str, spans=(), asked=()) -> Sample:
    turns = [Turn(text, (), bool(number % 2)) for number, text in enumerate(said)]
    turns[0] = Turn(said[0], tuple(asked), False, picture=0)
    turns[-1] = Turn(said[-1], tuple(spans), True)
    return Sample("talk:0", "dialogue", tuple(turns), (picture(),))


def test_questions_are_put_as_the_asking_of_a_user_is():
    (one,) = taught(talk("What is it?", "a dog", "Where?", "in a field"))
    assert told(one, True) == " a dog in a field"
    first, _, second, _ = one.said
    assert first.parts == (PICTURE, *prompts.ask("What is it?", grounded=False).parts)
    assert second.parts == prompts.ask("Where?", grounded=False).parts


def test_the_switch_stands_before_the_question_whose_answer_has_boxes():
    (one,) = taught(talk("What is it?", "a dog", "Where?", "a dog", spans=[Span(0, 5, (DOG,))]))
    asked = ["".join(map(_shown, said.parts)) for said in one.said if not said.learn]
    assert asked == ["<image>Question: What is it? Answer:", "<grounding> Question: Where? Answer:"]
    assert one.grounded


def test_boxes_in_a_question_stand_behind_their_words():
    (one,) = taught(talk("What is this?", "a dog", asked=[Span(8, 12, (DOG,))]))
    asked = prompts.ask("What is this?", boxes={"this": DOG}, grounded=False)
    assert told(one, False) == f"<image>{asked.markup}"


def test_plain_turns_are_left_as_they_are():
    (one,) = taught(talk("Name it.", "a dog"), turns="plain")
    assert told(one, False) == "<image> Name it."


def test_pictures_stand_where_the_document_shows_them():
    turns = (
        Turn("First", (), True),
        Turn("a cat", (Span(0, 5, (CAT,)),), True, picture=1),
        Turn("and a dog.", (), True, picture=0),
    )
    sample = Sample("page", "interleaved", turns, (picture(), picture()))
    (one,) = taught(sample, boxes_share=1.0)
    assert told(one, True) == (
        f" First<image>{GROUNDING}<phrase> a cat</phrase>{object_block([CAT])}<image> and a dog."
    )
    (plain,) = taught(sample, boxes_share=0.0)
    assert not plain.grounded
    assert GROUNDING not in told(plain, True)


def test_text_is_learnt_whole():
    (one,) = taught(Sample("t", "text", (Turn("a dog runs."),)))
    assert told(one, True) == " a dog runs."


# Settings


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"boxes_share": 1.5}, "boxes_share is 1.5"),
        ({"negatives": 1.0}, "negatives is 1"),
        ({"mode": "phrases"}, "did you mean 'phrase'"),
        ({"lessons": ("captions",)}, "did you mean 'caption'"),
        ({"of_one": ("{an} {noun}",)}, r"\{an\}"),
        ({"of_many": ()}, "of_many is empty"),
        ({"of_one": ("{noun",)}, "of_one.*broken"),
        ({"of_one": ("a thing",)}, "no {noun}"),
        ({"describe_by": (0,)}, "1 to 6"),
        ({"most_lessons": 0}, "most_lessons is 0"),
        ({"corners": "hf"}, "corners is 'hf'"),
    ],
)
def test_settings_that_mean_nothing_are_refused_by_name(wrong, told):
    with pytest.raises(RecipeError, match=told):
        Wording(**wrong)


def test_the_same_lot_gives_the_same_lessons():
    sample = objects(dog=[DOG], cat=[CAT])
    one, same, other = (
        taught(sample, seed, classes=("cup", "field", "fire")) for seed in (3, 3, 4)
    )
    assert one == same
    assert one != other


def test_markup_parts_hold_tags_and_words_parts_hold_words_of_the_data():
    sample = pair("a <phrase> dog", Span(0, 14, (DOG,)))
    for one in taught(sample, lessons=EVERY, boxes_share=1.0):
        for said in one.said:
            for part in said.parts:
                assert not isinstance(part, Markup) or "dog" not in part.text
