"""Asking at the page: the answer is that of the Python object, and comes as it is made."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

pytest.importorskip("fastapi", reason="the server needs the serve extra")

from browser import SNOWMAN, Said, Visit, entity
from kosmos2 import Kosmos2
from person import CAPTION, EXAMPLES, ask, asked, choose, copies, done, told, words

if TYPE_CHECKING:
    from playwright.sync_api import Browser


def test_each_task_is_answered(person: Visit, model: Kosmos2, shoot: Any) -> None:
    page = person.open()
    picture = EXAMPLES / "snowman.jpg"
    asked(page, "caption")
    assert words(page) == model.caption(picture).text
    asked(page, "detailed")
    assert words(page) == model.caption(picture, detailed=True).text
    asked(page, "ground", "a snowman, a fire, the balloon below the snowman")
    assert words(page) == "a snowman, a fire, the balloon below the snowman"
    assert page.locator(".things li").count() == 3
    shoot(page, "04-find")
    asked(page, "ask", "What is below the fire?")
    assert words(page) == model.ask(picture, "What is below the fire?").text
    asked(page, "complete", "<grounding><phrase> a fire</phrase>")
    assert "fire" in words(page)
    assert page.locator(".box").count() == 1


def test_the_page_says_what_the_python_object_says(person: Visit, model: Kosmos2) -> None:
    page = person.open()
    asked(page, "detailed")
    answer = model.caption(EXAMPLES / "snowman.jpg", detailed=True)
    taken = json.loads(copies(page, "json"))
    assert taken["text"] == words(page) == answer.text
    assert [(e["phrase"], e["start"], e["end"]) for e in taken["entities"]] == [
        (e.phrase, e.start, e.end) for e in answer.entities
    ]
    for told_entity, there in zip(taken["entities"], answer.entities, strict=True):
        for one, box in zip(told_entity["boxes"], there.boxes, strict=True):
            assert one["box"] == pytest.approx(box.corners, abs=1e-4)
            assert one["score"] == pytest.approx(box.score, abs=1e-4)


def test_boxes_appear_while_the_answer_is_still_coming(chromium: Browser, shoot: Any) -> None:
    held = Said(SNOWMAN.chunks, held_before=5)
    with told(chromium, held) as (page, fake, _):
        ask(page)
        page.locator(".box[data-entity='0']").wait_for()
        assert words(page).startswith("An image of a snowman")
        assert page.locator("#stop").is_visible()
        assert page.locator(".box").count() == 1
        shoot(page, "05-streaming")
        fake.go_on.set()
        page.locator(".box[data-entity='1']").wait_for()
        done(page)
        assert words(page) == CAPTION


def test_a_phrase_that_is_found_nowhere_is_told_too(chromium: Browser) -> None:
    said = Said(({"content": "a cactus"}, {"grounding": {"entities": [entity(0, "a cactus", 0)]}}))
    with told(chromium, said) as (page, fake, _):
        asked(page, "ground", "a cactus,\n , a cactus")
        assert fake.asked[0]["grounding"]["phrases"] == ["a cactus", "a cactus"]
        assert page.locator(".things .sure").inner_text() == "found nowhere"
        assert page.locator(".mark").get_attribute("tabindex") is None
        assert not page.locator("input[type=range]").is_visible()


def test_examples_come_with_things_to_ask(person: Visit) -> None:
    page = person.open()
    choose(page, "ground")
    page.get_by_role("button", name="a snowman", exact=True).click()
    page.get_by_role("button", name="a fire", exact=True).click()
    assert page.locator("#words").input_value() == "a snowman, a fire"
    assert page.locator(".idea").all_inner_texts() == ["the balloon below the snowman"]
    page.keyboard.press("Enter")
    done(page)
    assert words(page) == "a snowman, a fire"


def test_places_in_the_text_are_counted_in_whole_characters(chromium: Browser) -> None:
    said = Said(
        (
            {"content": "\N{SNOWMAN WITHOUT SNOW}\N{GRINNING FACE}\N{FIRE} then a fire"},
            {"grounding": {"entities": [entity(0, "a fire", 9, ([0.0, 0.0, 0.5, 0.5], 0.5))]}},
        )
    )
    with told(chromium, said) as (page, _, __):
        asked(page)
        assert page.locator(".mark").inner_text() == "a fire"


def test_an_answer_can_be_stopped_and_the_server_hears_of_it(chromium: Browser) -> None:
    with told(chromium, Said(SNOWMAN.chunks, held_before=4)) as (page, fake, _):
        ask(page)
        page.locator(".box").wait_for()
        page.locator("#stop").click()
        page.locator("#status", has_text="Stopped").wait_for()
        assert fake.left.wait(30)
        assert words(page) == "An image of a snowman"
        assert page.locator("#run").is_visible()
        assert not page.locator("[role=alert]:visible").count()
