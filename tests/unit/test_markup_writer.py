"""Words and boxes to markup: the examples of the reference, and what is refused."""

import numpy as np
import pytest

from kosmos2.errors import PromptError
from kosmos2.geometry import Box, box_of
from kosmos2.markup import Entity, cell_tag, object_block, parse, render, with_boxes

ONE = "<object><patch_index_0195><patch_index_0623></object>"
TWO = (
    "<object><patch_index_0195><patch_index_0623></delimiter_of_multi_objects/>"
    "<patch_index_0000><patch_index_1023></object>"
)
BOX = (0.1, 0.2, 0.5, 0.6)


@pytest.mark.parametrize(
    ("text", "boxes", "expected"),
    [
        ("It<phrase> a dog</phrase> runs", [BOX], f"It<phrase> a dog</phrase>{ONE} runs"),
        (
            "<phrase> a</phrase> and<phrase> b</phrase>",
            [BOX, None],
            f"<phrase> a</phrase>{ONE} and<phrase> b</phrase>",
        ),
        ("<phrase> a</phrase>", [[BOX, (0, 0, 1, 1)]], f"<phrase> a</phrase>{TWO}"),
        ("<phrase> a</phrase>", [[Box(*BOX), [-1, 0, 1, 9]]], f"<phrase> a</phrase>{TWO}"),
        ("<phrase> a</phrase>", [Box(*BOX)], f"<phrase> a</phrase>{ONE}"),
        ("<phrase> a</phrase>", np.array([BOX]), f"<phrase> a</phrase>{ONE}"),
        ("<phrase> a</phrase>", [np.array([BOX])], f"<phrase> a</phrase>{ONE}"),
        ("<phrase> a\nb</phrase>", [BOX], f"<phrase> a\nb</phrase>{ONE}"),
        ("<phrase> a <b</phrase>", [BOX], f"<phrase> a <b</phrase>{ONE}"),
        ("<phrase> a</phrase>", [], "<phrase> a</phrase>"),
        ("<phrase> a</phrase>", None, "<phrase> a</phrase>"),
        ("<phrase> a</phrase>", [[]], "<phrase> a</phrase>"),
        ("<phrase> a</phrase>", [None], "<phrase> a</phrase>"),
        (
            "<phrase> a <phrase> b</phrase></phrase>",
            [BOX],
            f"<phrase> a <phrase> b</phrase>{ONE}</phrase>",
        ),
        (f"<phrase> a</phrase>{ONE}", [None], f"<phrase> a</phrase>{ONE}"),
    ],
)
def test_boxes_go_right_after_their_phrases(text, boxes, expected):
    assert with_boxes(text, boxes) == expected


@pytest.mark.parametrize(
    ("text", "boxes", "said"),
    [
        ("<phrase> a</phrase>", [BOX, BOX], "2 box lists for 1 phrases"),
        ("a", [BOX], "1 box lists for 0 phrases"),
        ("<phrase> a</phrase>", BOX, "4 box lists for 1 phrases"),
        ("<phrase> a</phrase>" * 4, BOX, "four numbers"),
        ("<phrase> </phrase>", [BOX], "phrase 1 is empty"),
        (f"<phrase> a</phrase> {ONE}", [BOX], "already"),
        ("<phrase> a</phrase>", [(0.5, 0.5, 0.5, 0.9)], "empty"),
        ("<phrase> a</phrase>", [[None]], "not None"),
        ("<phrase> a</phrase>", [(44, 863)], "not 2"),
        ("<phrase> a</phrase>", ["no"], "not 'n'"),
    ],
)
def test_boxes_that_do_not_fit_the_phrases_are_refused(text, boxes, said):
    with pytest.raises(PromptError) as error:
        with_boxes(text, boxes)
    assert said in str(error.value)


def test_a_clean_text_is_written_as_the_model_would():
    entities = [
        Entity("a fire", 41, 47, (box_of(5, 911),)),
        Entity("a snowman", 12, 21, (box_of(44, 863),)),
    ]
    assert render("An image of a snowman warming himself by a fire.", entities) == (
        "An image of<phrase> a snowman</phrase>"
        "<object><patch_index_0044><patch_index_0863></object>"
        " warming himself by<phrase> a fire</phrase>"
        "<object><patch_index_0005><patch_index_0911></object>."
    )


def test_a_text_that_begins_with_a_phrase_is_written_like_the_prompts_of_the_model_card():
    written = render("It is", [Entity("It", 0, 2, (box_of(44, 863),))])
    assert written == (
        "<phrase> It</phrase><object><patch_index_0044><patch_index_0863></object> is"
    )


@pytest.mark.parametrize(
    ("text", "entity", "said"),
    [
        ("a dog", Entity("a cat", 0, 5, (Box(*BOX),)), "has 'a dog' there"),
        ("a dog", Entity("a dog", 0, 6, (Box(*BOX),)), "outside the text of 5"),
        ("a dog", Entity("a dog", -5, 0, (Box(*BOX),)), "outside"),
        ("a dog", Entity("a dog", 0, 5, ()), "no box"),
        ("a dog", Entity(" dog", 1, 5, (Box(*BOX),)), "whitespace"),
        ("a dog", Entity("a dog", 0, 5, (Box(1, 0, 0, 1),)), "inverted"),
        ("a <phrase> dog", Entity("a", 0, 1, (Box(*BOX),)), "tag <phrase> at character 2"),
    ],
)
def test_entities_that_do_not_fit_the_text_are_refused(text, entity, said):
    with pytest.raises(PromptError) as error:
        render(text, [entity])
    assert said in str(error.value)


def test_overlapping_phrases_are_refused():
    box = (box_of(0, 1023),)
    with pytest.raises(PromptError, match="overlaps"):
        render("a red dog", [Entity("a red dog", 0, 9, box), Entity("dog", 6, 9, box)])


def test_boxes_without_a_phrase_keep_their_place():
    text, box = "here and there", (box_of(3, 4),)
    entities = (Entity("", 0, 0, box), Entity("here", 0, 4, box), Entity("", 8, 8, box))
    assert parse(render(text, entities)).entities == entities


def test_boxes_placed_after_whitespace_move_before_it_and_lose_none():
    text, box = "at  in the picture", (box_of(3, 4),)
    parsed = parse(render(text, [Entity("", 3, 3, box), Entity("the picture", 7, 18, box)]))
    assert parsed.text == text
    assert parsed.entities == (Entity("", 2, 2, box), Entity("the picture", 7, 18, box))


def test_an_object_without_a_box_and_a_cell_beyond_the_grid_are_refused():
    with pytest.raises(PromptError, match="needs a box"):
        object_block([])
    assert (cell_tag(0), cell_tag(1023)) == ("<patch_index_0000>", "<patch_index_1023>")
    for cell in (-1, 1024):
        with pytest.raises(PromptError, match=str(cell)):
            cell_tag(cell)
