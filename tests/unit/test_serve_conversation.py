"""Conversations become what the model is asked: turns, pictures in their places, a task."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

pytest.importorskip("fastapi", reason="the server needs the serve extra")

from kosmos2.grounder import Seen, tasks
from kosmos2.serve.conversation import Conversation, of_chat, of_responses
from kosmos2.serve.errands import TURNS_UNREAD, UNREAD, WORDS_UNREAD, Errand, errand
from kosmos2.serve.failures import Refused
from kosmos2.serve.settings import Limits
from kosmos2.serve.wire.chat import ChatRequest
from kosmos2.serve.wire.parts import GroundingWish
from kosmos2.serve.wire.responses import ResponseRequest
from kosmos2.serve.wordings import captioning

PICTURE = {"type": "image_url", "image_url": {"url": "data:,"}}
WHOLE = [0.0, 0.0, 1.0, 1.0]


@dataclass(frozen=True)
class Card:
    """A picture, as far as an ask needs to know it."""

    width: int = 200
    height: int = 100
    name: str = "a card"
    digest: str = "0"

    def jpeg(self) -> bytes:
        raise AssertionError("nobody draws here")


def seen(count: int) -> list[Seen]:
    return [Seen(Card(digest=str(at)), None, by=None) for at in range(count)]  # type: ignore


def user(*parts: object) -> dict[str, object]:
    content = [{"type": "text", "text": p} if isinstance(p, str) else p for p in parts]
    return {"role": "user", "content": content}


def said(text: str) -> dict[str, object]:
    return {"role": "assistant", "content": text}


def talk(*messages: object) -> Conversation:
    return of_chat(ChatRequest.model_validate({"messages": list(messages)}).messages)


def job(*messages: object, limits: Limits | None = None, **wish: object) -> Errand:
    return errand(talk(*messages), GroundingWish.model_validate(wish), limits or Limits())


def shown(*messages: object, **wish: object) -> str:
    """What the model is shown, as markup; pictures as (P)."""
    done = job(*messages, **wish)
    (ask,) = done.asks(seen(len(done.talk.pictures)))
    return ask.prompt.markup.replace("<image></image>", "(P)").strip()


def refused(*messages: object, limits: Limits | None = None, **wish: object) -> tuple[str, str]:
    def ask() -> None:
        done = job(*messages, limits=limits, **wish)
        done.asks(seen(len(done.talk.pictures)))

    with pytest.raises(Refused) as caught:
        ask()
    return caught.value.code, caught.value.param or ""


def test_messages_of_one_side_in_a_row_are_one_turn():
    turns = talk(user("one"), user(PICTURE, "two"), said("a"), said("b"), user("three")).turns
    assert [(turn.words, turn.answer) for turn in turns] == [("one two", "a b"), ("three", None)]


def test_a_conversation_ends_with_somebody_who_asks():
    assert refused(user("x", PICTURE), said("y")) == ("invalid_request", "messages[1].role")
    assert refused({"role": "system", "content": "x"}) == ("invalid_request", "messages[0].role")


def test_each_picture_is_known_by_its_place_in_the_request():
    bare = {"type": "image_url", "image_url": "data:text/x,1"}
    found = talk(user("x", PICTURE), said("y"), user(bare, "z")).pictures
    expected = [("data:,", "messages[0].content[1]"), ("data:text/x,1", "messages[2].content[0]")]
    assert found == expected


def test_chat_and_responses_say_the_same_in_other_words():
    text, image = (
        {"type": "input_text", "text": "x"},
        {"type": "input_image", "image_url": "data:,"},
    )
    answer = {
        "type": "message",
        "role": "assistant",
        "content": [{"type": "output_text", "text": "y"}],
    }
    items = [{"role": "user", "content": [text, image]}, answer, {"role": "user", "content": "z"}]
    other = of_responses(ResponseRequest.model_validate({"input": items}).input)
    same = talk(user("x", PICTURE), said("y"), user("z"))
    assert [turn.words for turn in other.turns] == [turn.words for turn in same.turns]
    assert [turn.answer for turn in other.turns] == [turn.answer for turn in same.turns]
    assert other.pictures == [("data:,", "input[0].content[1]")]


@pytest.mark.parametrize(
    ("words", "kind"),
    [
        ("", "caption"),
        ("An image of", "caption"),
        ("Describe the image", "caption"),
        ("Caption this picture.", "caption"),
        ("What's in this image?", "caption"),
        ("Please write a short caption for the photo", "caption"),
        ("Describe this image in detail:", "detailed"),
        ("describe the photo in great detail", "detailed"),
        ("Give me a detailed description of this image.", "detailed"),
        ("Describe the dog", None),
        ("What is this?", None),
        ("An image of a cat and", None),
        ("caption " * 50, None),
    ],
)
def test_words_that_ask_for_a_caption_are_known(words, kind):
    assert captioning(words) == kind


@pytest.mark.parametrize(
    ("words", "wish", "task"),
    [
        ("", {}, "caption"),
        ("Describe this image in detail:", {}, "detailed"),
        ("What is this?", {}, "ask"),
        ("Is there <phrase> a cat</phrase>?", {}, "ask"),
        ("<grounding><phrase> a cat</phrase>", {"raw": True}, "complete"),
        ("whatever", {"phrases": ["a cat"]}, "ground"),
        ("", {"boxes": [WHOLE]}, "describe"),
        ("What is [this]?", {"boxes": [WHOLE]}, "ask"),
        ("An image of", {"task": "ask"}, "ask"),
        ("a cat", {"task": "ground"}, "ground"),
    ],
)
def test_the_task_follows_from_words_and_boxes_where_it_is_left_open(words, wish, task):
    assert job(user(words, PICTURE), **wish).task == task


def test_one_question_about_one_picture_is_what_the_verbs_ask():
    (picture,) = seen(1)
    for words, ask in (
        ("", tasks.caption(picture, detailed=False, grounded=True)),
        ("Describe this image in detail:", tasks.caption(picture, detailed=True, grounded=True)),
        ("What is it?", tasks.ask(picture, "What is it?", None, grounded=True)),
    ):
        for message in (user(words, PICTURE), user(PICTURE, words)):
            assert job(message).asks([picture]) == [ask]
    asks = job(user(PICTURE), phrases=["a cat", "a dog"]).asks([picture])
    assert asks == tasks.ground(picture, ["a cat", "a dog"])


def test_boxes_may_stand_in_the_words_or_beside_them():
    (picture,) = seen(1)
    box = [0.1, 0.2, 0.5, 0.9]
    expected = tasks.ask(picture, "What is [this]?", box, grounded=True)
    inside = job(user("What is [this](box:0.1,0.2,0.5,0.9)?", PICTURE)).asks([picture])
    beside = job(user("What is [this]?", PICTURE), boxes=[box]).asks([picture])
    assert inside == beside == [expected]
    px = job(user("What is [this](box:20,20,100,90)?", PICTURE), coords="px").asks([picture])
    assert px == [expected]


def test_boxes_of_both_kinds_find_their_brackets():
    text = "Is [this](box:0,0,0.5,0.5; 0.5,0.5,1,1) on [that]?"
    markup = shown(user(text, PICTURE), boxes=[WHOLE])
    assert markup.count("<object>") == 2
    assert markup.count("</delimiter_of_multi_objects/>") == 1


def test_brackets_without_boxes_are_just_brackets():
    assert "[sic]" in shown(user("What is this [sic]?", PICTURE))


def test_several_boxes_are_described_one_after_the_other():
    asks = job(user(PICTURE), boxes=[[0, 0, 0.5, 0.5], [0.5, 0.5, 1, 1]]).asks(seen(1))
    assert [ask.prompt.markup.count("<object>") for ask in asks] == [1, 1]
    assert asks[0] != asks[1]


def test_tags_that_somebody_typed_stay_words():
    markup = shown(user("What is <phrase> this</phrase><image>?", PICTURE))
    assert "<phrase>" not in markup
    assert "(P)" not in markup  # the one picture is in front, where it needs no mark
    assert "<image>" not in markup


def test_several_pictures_keep_their_places_among_the_words():
    markup = shown(user(PICTURE, "Is this", PICTURE, "larger than", PICTURE, "?"))
    assert markup == "(P)<grounding> Question: Is this (P) larger than (P) ? Answer:"


def test_tasks_with_a_wording_of_their_own_have_all_pictures_in_front():
    (ask,) = job(user("Caption this image", PICTURE, PICTURE)).asks(seen(2))
    assert ask.prompt.images == 0  # no marks: in front
    assert len(ask.seen) == 2


def test_earlier_turns_come_first_with_their_pictures_and_answers():
    markup = shown(user("What is it?", PICTURE), said("a cat."), user("What colour?"))
    expected = "(P)Question: What is it? Answer: a cat.<grounding> Question: What colour? Answer:"
    assert markup == expected


def test_earlier_captions_are_told_without_their_requests():
    markup = shown(user("caption", PICTURE), said("An image of a cat."), user("caption", PICTURE))
    assert markup == "(P) An image of a cat.(P)<grounding> An image of"


def test_what_came_before_is_no_part_of_the_answer():
    done = job(user("What is it?", PICTURE), said("a cat."), user("caption"))
    (ask,) = done.asks(seen(1))
    assert ask.with_prompt
    assert (
        "".join(part.text for part in ask.prompt.parts[ask.context :]) == "<grounding> An image of"
    )


def test_instructions_are_not_read_and_that_is_told():
    done = job({"role": "system", "content": "Be rude."}, user("What is it?", PICTURE))
    assert done.warnings == (UNREAD,)
    (ask,) = done.asks(seen(1))
    assert "rude" not in ask.prompt.markup


def test_words_that_a_task_does_not_read_are_told_of():
    assert job(user("Hello there", PICTURE), task="caption").warnings == (WORDS_UNREAD,)
    assert job(user("Caption this image", PICTURE), task="detailed").warnings == ()
    assert job(user("a cat", PICTURE), phrases=["a cat"]).warnings == ()


def test_boxes_are_looked_for_in_the_last_picture_alone():
    first, second = seen(2)
    talked = [user("What is it?", PICTURE), said("a cat."), user(PICTURE)]
    done = job(*talked, phrases=["a dog"])
    assert done.asks([first, second]) == tasks.ground(second, ["a dog"])
    assert done.warnings == (TURNS_UNREAD,)
    assert job(user(PICTURE), phrases=["a dog"]).warnings == ()


def test_words_to_go_on_from_stay_words_unless_they_are_raw():
    text = "<phrase> a cat</phrase>"
    words = shown(user(text, PICTURE), task="complete")
    assert words.startswith("<grounding>")
    assert "<phrase>" not in words
    assert shown(user(text, PICTURE), raw=True) == text
    assert "<object>" in shown(user(text, PICTURE), raw=True, boxes=[WHOLE])


def test_nobody_has_to_show_a_picture_to_have_words_gone_on_with():
    assert job(user("Once upon a time"), task="complete").asks([])[0].seen == ()


@pytest.mark.parametrize(
    ("messages", "wish", "code", "param"),
    [
        ([user("What is it?")], {}, "image_missing", "messages"),
        ([user(PICTURE)], {"task": "ground"}, "phrase_invalid", "grounding.phrases"),
        ([user(PICTURE)], {"task": "describe"}, "box_invalid", "grounding.boxes"),
        ([user(PICTURE)], {"task": "ask"}, "prompt_invalid", "messages"),
        ([user("x", PICTURE)], {"heatmap": True}, "unsupported_value", "grounding.heatmap"),
        ([user("x", PICTURE)], {"boxes": [WHOLE]}, "prompt_invalid", "grounding.boxes"),
        ([user("[x] [y]", PICTURE)], {"boxes": [WHOLE]}, "prompt_invalid", "grounding.boxes"),
        ([user("[x]", PICTURE)], {"boxes": [[1, 1, 0, 0]]}, "box_invalid", "grounding.boxes[0]"),
        ([user("[x]", PICTURE)], {"boxes": [[0, 1]]}, "box_invalid", "grounding.boxes[0]"),
        ([user("[x](box:1,2)", PICTURE)], {}, "box_invalid", "messages"),
        ([user("[x](box:1,-,2,e)", PICTURE)], {}, "box_invalid", "messages"),
        ([user("[x](box:0,0,1e999,1)", PICTURE)], {}, "box_invalid", "messages"),
        ([user("a <image> b", PICTURE)], {"raw": True}, "prompt_invalid", "messages"),
    ],
)
def test_what_cannot_be_asked_is_refused_by_name(messages, wish, code, param):
    assert refused(*messages, **wish) == (code, param)


def test_a_server_may_take_less_than_its_documents_allow():
    limits = Limits(messages=1, pictures=1, characters=10, phrases=1, boxes=1)
    turns = [user("x", PICTURE), said("y"), user("z")]
    assert refused(*turns, limits=limits) == ("too_many", "messages")
    pictures = ("too_many_images", "messages[0].content[1]")
    assert refused(user(PICTURE, PICTURE), limits=limits) == pictures
    longer = ("context_length_exceeded", "messages")
    assert refused(user("x" * 11, PICTURE), limits=limits) == longer
    several = ("too_many", "grounding.phrases")
    assert refused(user(PICTURE), limits=limits, phrases=["a", "b"]) == several
    boxes = ("too_many", "grounding.boxes")
    assert refused(user(PICTURE), limits=limits, boxes=[WHOLE, WHOLE]) == boxes
