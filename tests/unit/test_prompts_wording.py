"""The tasks in the very words of the released model's card, and users' words kept as words."""

import numpy as np
import pytest

from kosmos2.errors import PromptError
from kosmos2.geometry import Box, box_of
from kosmos2.markup import TAG, parse, with_boxes
from kosmos2.prompts import (
    PICTURE,
    Markup,
    Prompt,
    Words,
    ask,
    caption,
    complete,
    describe,
    ground,
)

SNOWMAN = box_of(44, 863)
FIRE = box_of(5, 911)
FIRE_BLOCK = "<object><patch_index_0005><patch_index_0911></object>"
CARD = {
    "<grounding><phrase> a snowman</phrase>": ground("a snowman"),
    "<grounding><phrase> a snowman next to a fire</phrase>": ground("a snowman next to a fire"),
    "<grounding><phrase> It</phrase><object><patch_index_0044><patch_index_0863></object> is": (
        describe(SNOWMAN)
    ),
    "<grounding> Question: What is special about this image? Answer:": (
        ask("What is special about this image?")
    ),
    f"<grounding> Question: Where is<phrase> the fire</phrase>{FIRE_BLOCK} next to? Answer:": (
        ask("Where is [the fire] next to?", boxes=[FIRE])
    ),
    "<grounding> An image of": caption(),
    "<grounding> Describe this image in detail:": caption(detailed=True),
}


@pytest.mark.parametrize("wording", CARD)
def test_a_task_is_worded_as_on_the_model_card(wording):
    assert CARD[wording].markup == wording


def test_without_grounding_the_tag_is_gone_and_nothing_else():
    for plain, grounded in [
        (caption(grounded=False), caption()),
        (caption(grounded=False, detailed=True), caption(detailed=True)),
        (describe(SNOWMAN, grounded=False), describe(SNOWMAN)),
        (ask("Why?", grounded=False), ask("Why?")),
    ]:
        assert "<grounding>" not in plain.markup
        assert plain.markup == grounded.markup.removeprefix("<grounding>").lstrip()


def test_brackets_and_a_mapping_say_the_same():
    bracketed = ask("Is [the dog] near [the fire]?", boxes=[SNOWMAN, [FIRE, SNOWMAN]])
    named = ask(
        "Is the dog near the fire?", boxes={"the fire": [FIRE, SNOWMAN], "the dog": SNOWMAN}
    )
    assert bracketed == named


def test_ask_writes_what_with_boxes_writes():
    written = with_boxes(
        "<grounding> Question: Is<phrase> the dog</phrase> by<phrase> the fire</phrase>? Answer:",
        [SNOWMAN, [FIRE, SNOWMAN]],
    )
    assert ask("Is [the dog] by [the fire]?", boxes=[SNOWMAN, [FIRE, SNOWMAN]]).markup == written


@pytest.mark.parametrize(
    "boxes",
    [FIRE, FIRE.corners, [FIRE.corners], [[FIRE.corners]], np.array(FIRE.corners),
     np.array([FIRE.corners], dtype=np.float32), {"the fire": list(FIRE.corners)}],
    ids=["box", "numbers", "list", "nested", "array", "rows", "mapping"],
)  # fmt: skip
def test_a_single_box_may_come_in_any_wrapping(boxes):
    question = "Where is the fire?" if isinstance(boxes, dict) else "Where is [the fire]?"
    assert FIRE_BLOCK in ask(question, boxes=boxes).markup


def test_a_phrase_may_open_or_close_a_question_or_touch_other_signs():
    text = ask("[it] ([this])", boxes=[FIRE, FIRE]).markup
    assert text == (
        f"<grounding> Question:<phrase> it</phrase>{FIRE_BLOCK}"
        f" (<phrase>this</phrase>{FIRE_BLOCK}) Answer:"
    )


def test_a_named_phrase_is_found_as_whole_words_first():
    text = ask("Does the category fit the cat?", boxes={"the cat": FIRE}).markup
    assert f"fit<phrase> the cat</phrase>{FIRE_BLOCK}?" in text


def test_scripts_without_spaces_can_name_a_phrase():
    assert "<phrase>雪人</phrase>" in ask("这个雪人在哪里?", boxes={"雪人": FIRE}).markup


def test_brackets_without_boxes_are_just_brackets():
    assert "[sic]" in ask("What is ths [sic]?").markup


@pytest.mark.parametrize(
    ("question", "boxes", "says"),
    [
        ("Where is [it]?", [FIRE, SNOWMAN], "2 box lists for 1"),
        ("Where is [it]?", [], "0 box lists for 1"),
        ("Where is it?", FIRE, "1 box lists for 0"),
        ("Where is [ ]?", FIRE, "empty"),
        ("Where is [it]?", [[]], "needs a box"),
        ("Where is [it]?", "0,0,1,1", "boxes are"),
        ("Where is [it]?", [(0, 0, 1)], "not 3"),
        ("Where is [it]?", [(0, 0, float("nan"), 1)], "finite"),
        ("Where is [it]?", [(0.5, 0, 0.2, 1)], "inverted"),
        ("Where is [it]?", [(2, 0, 3, 1)], "outside"),
        ("Where is it?", {"the fire": FIRE}, "not in the question"),
        ("it and it", {"it": FIRE}, "2 times in"),
        ("the big fire", {"the big": FIRE, "big fire": FIRE}, "overlap"),
        ("Where?", {"": FIRE}, "empty"),
        ("Where?", {3: FIRE}, "int"),
        ("  ", None, "question is empty"),
        (None, None, "NoneType"),
    ],
)
def test_what_does_not_fit_is_refused_with_the_reason(question, boxes, says):
    with pytest.raises(PromptError, match=says):
        ask(question, boxes=boxes)


@pytest.mark.parametrize("make", [ground, ask, complete])
def test_no_words_make_no_prompt(make):
    for nothing in ("", " \n\t"):
        with pytest.raises(PromptError, match="empty"):
            make(nothing)


def test_a_prompt_needs_parts_of_the_known_kinds():
    with pytest.raises(PromptError, match="empty"):
        Prompt(())
    with pytest.raises(PromptError, match="str"):
        Prompt(("hello",))
    assert Prompt([PICTURE, Words("a")]) == Prompt((PICTURE, Words("a")))


def test_half_a_character_is_named_and_refused():
    with pytest.raises(PromptError, match=r"character 3 .*U\+DCE9"):
        ground("caf\udce9")


TYPED = "a <phrase> or <object><patch_index_0001><patch_index_0002></object> or </s> sign"


@pytest.mark.parametrize(
    "prompt",
    [ground(TYPED), ask(TYPED), ask(f"Is [{TYPED}] it?", boxes=[FIRE])],
    ids=["ground", "ask", "boxed"],
)
def test_tags_that_a_user_typed_stay_words(prompt):
    assert any(TYPED in part.text for part in prompt.parts if isinstance(part, Words))
    assert not any("sign" in part.text for part in prompt.parts if isinstance(part, Markup))
    meant = [tag for p in prompt.parts if isinstance(p, Markup) for tag in TAG.findall(p.text)]
    assert TAG.findall(prompt.markup) == meant


def test_the_shown_prompt_reads_back_with_the_words_in_it():
    read = parse(ask(f"Is [{TYPED}] it?", boxes=[FIRE]).markup)
    assert [e.boxes for e in read.entities] == [(FIRE,)]
    assert read.entities[0].phrase.replace("\u2060", "") == TYPED
    assert not read.problems


def test_markup_written_by_hand_is_taken_as_it_is():
    assert complete(" <grounding><phrase> a dog</phrase> ").parts == (
        Markup("<grounding><phrase> a dog</phrase>"),
    )


def test_pictures_are_counted_where_they_stand():
    prompt = Prompt((Words("this"), PICTURE, Words(" and"), PICTURE))
    assert prompt.images == 2
    assert prompt.markup == "this<image></image> and<image></image>"
    assert caption().images == 0


def test_a_box_to_describe_is_checked_and_clamped():
    assert describe((-1, -0.5, 2, 9)) == describe(Box(0, 0, 1, 1))
    with pytest.raises(PromptError, match="inverted"):
        describe((1, 0, 0, 1))
