"""Boxes of a person's own at the page: drawn, moved, asked about."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

pytest.importorskip("fastapi", reason="the server needs the serve extra")

from browser import Visit, visit
from person import PHONE, ask, asked, choose, draw, given, words

if TYPE_CHECKING:
    from playwright.sync_api import Browser


def test_a_box_is_drawn_and_described(person: Visit, shoot: Any) -> None:
    page = person.open()
    draw(page, (0.15, 0.66, 0.46, 0.98))  # the hamburger
    assert page.locator("input[value=describe]").is_checked()  # drawing says what is wanted
    assert given(page) == ["Your box 1: 15 to 46 % across, 66 to 98 % down"]
    asked(page)
    assert words(page).startswith("a hamburger")
    shoot(page, "09-describe-a-box")


def test_a_box_is_asked_about(person: Visit) -> None:
    page = person.open()
    choose(page, "ask")
    draw(page, (0.06, 0.06, 0.45, 0.57))
    asked(page, words="What is this?")
    assert "snowman" in words(page)


def test_a_box_is_moved_stretched_and_removed_by_pointer(person: Visit) -> None:
    page = person.open()
    choose(page, "describe")
    draw(page, (0.2, 0.2, 0.4, 0.4))
    draw(page, (0.3, 0.3, 0.4, 0.4))  # begins inside the box: moves it by a tenth
    assert given(page) == ["Your box 1: 30 to 50 % across, 30 to 50 % down"]
    draw(page, (0.5, 0.5, 0.7, 0.8))  # begins at its corner
    assert given(page) == ["Your box 1: 30 to 70 % across, 30 to 80 % down"]
    draw(page, (0.4, 0.4, 0.9, 0.9))  # it stays inside the picture
    assert given(page) == ["Your box 1: 60 to 100 % across, 50 to 100 % down"]
    draw(page, (0.1, 0.1, 0.3, 0.3))
    assert len(given(page)) == 2
    page.get_by_role("button", name="Remove box 1").click()
    assert given(page) == ["Your box 1: 10 to 30 % across, 10 to 30 % down"]


def test_a_box_is_drawn_by_touch_without_scrolling_the_page(chromium: Browser, server: str) -> None:
    with visit(chromium, server, **PHONE) as one:
        page = one.open()
        choose(page, "describe")
        page.locator(".frame").first.scroll_into_view_if_needed()
        frame = page.locator(".frame").first.bounding_box()
        assert frame is not None
        touch = page.context.new_cdp_session(page)

        def finger(kind: str, *places: float) -> None:
            points = [
                {"x": frame["x"] + at * frame["width"], "y": frame["y"] + at * frame["height"]}
                for at in places
            ]
            touch.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})

        before = page.evaluate("scrollY")
        finger("touchStart", 0.2)
        for at in (0.3, 0.4, 0.5, 0.6):
            finger("touchMove", at)
        finger("touchEnd")
        page.locator("#box-list li").wait_for()
        assert given(page) == ["Your box 1: 20 to 60 % across, 20 to 60 % down"]
        assert page.evaluate("scrollY") == before


def test_questions_without_what_they_need_are_told_in_words(person: Visit) -> None:
    page = person.open()
    for task, said in (("describe", "Draw a box"), ("ground", "Write what it should find"),
                       ("ask", "Write a question")):  # fmt: skip
        choose(page, task)
        ask(page)
        page.locator("#alert", has_text=said).wait_for()
    draw(page, (0.1, 0.1, 0.4, 0.4))
    draw(page, (0.5, 0.5, 0.8, 0.8))
    page.locator("#words").fill("Which is larger?")
    ask(page)
    page.locator("#alert", has_text="You drew 2 boxes").wait_for()
