"""Ways to be at the page: keys, phones, the dark, a password."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

pytest.importorskip("fastapi", reason="the server needs the serve extra")

from browser import Said, Visit, entity, visit
from person import PHONE, asked, choose, done, given, on, told, words
from serving import serving

if TYPE_CHECKING:
    from playwright.sync_api import Browser


def test_everything_can_be_done_by_keys_alone(person: Visit, shoot: Any) -> None:
    page = person.open()
    press = page.keyboard.press
    press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    press("Enter")  # past the pictures, to the questions
    press("Tab")
    assert page.evaluate("document.activeElement.value") == "caption"
    for _ in range(3):
        press("ArrowRight")
    assert page.locator("input[value=describe]").is_checked()
    press("Tab")
    assert page.evaluate("document.activeElement.id") == "add-box"
    press("Enter")
    assert given(page) == ["Your box 1: 30 to 70 % across, 30 to 70 % down"]
    for _ in range(2):
        press("ArrowLeft")
        press("ArrowDown")
    for _ in range(5):
        press("Shift+ArrowLeft")
        press("Shift+ArrowDown")
    assert given(page) == ["Your box 1: 28 to 63 % across, 32 to 77 % down"]
    assert "28 to 63 % across" in page.locator("#live").inner_text()
    shoot(page, "14-keyboard")
    press("Delete")
    assert given(page) == []
    page.locator("#run").focus()
    choose(page, "caption")
    page.locator("#run").focus()
    press("Enter")
    done(page)
    assert page.locator("#live").inner_text().startswith("Answer: An image of")
    mark = page.locator(".mark").first
    for _ in range(8):
        press("Tab")
        if mark.evaluate("one => one === document.activeElement"):
            break
    assert on(page.locator(".box[data-entity='0']"))
    assert mark.evaluate("one => getComputedStyle(one).outlineStyle") != "none"
    press("Enter")
    assert mark.get_attribute("aria-pressed") == "true"
    press("Escape")
    assert mark.get_attribute("aria-pressed") == "false"


def test_a_server_with_keys_is_used_with_the_key_as_password(
    chromium: Browser, tmp_path: Path
) -> None:
    """The browser asks for it once; every file and every question then carries it."""
    made = subprocess.run(
        [sys.executable, "-m", "kosmos2", "keys", "new", "anna"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    (tmp_path / "keys.txt").write_text(made.stdout)
    key = made.stderr.split()[-1]
    who = {"username": "anna", "password": key}
    with (
        serving("--api-key-file", str(tmp_path / "keys.txt")) as closed,
        visit(chromium, closed.url, http_credentials=who, expected=("401",)) as one,
    ):
        page = one.open()
        asked(page)
        assert "snowman" in words(page)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_fits_a_phone(chromium: Browser, server: str, shoot: Any, scheme: Any) -> None:
    with visit(chromium, server, color_scheme=scheme, **PHONE) as one:
        page = one.open()
        shoot(page, f"15-phone-{scheme}")
        asked(page, "detailed")
        wide = "document.documentElement.scrollWidth"
        assert page.evaluate(wide) == 375
        shoot(page, f"16-phone-answer-{scheme}", whole=True)
        page.locator("#settings summary").click()
        page.locator("#compare").check()
        choose(page, "ask")
        assert page.evaluate(wide) == 375
        shoot(page, f"17-phone-compare-{scheme}", whole=True)


def test_dark_is_what_the_system_says_until_somebody_says_otherwise(
    chromium: Browser, server: str, shoot: Any
) -> None:
    ground = "getComputedStyle(document.body).backgroundColor"
    with visit(chromium, server, color_scheme="dark") as one:
        page = one.open()
        dark = page.evaluate(ground)
        toggle = page.get_by_role("button", name="Dark colours")
        assert toggle.get_attribute("aria-pressed") == "true"
        asked(page)
        shoot(page, "18-dark")
        toggle.click()
        light = page.evaluate(ground)
        assert light != dark
        one.open()
        assert page.evaluate(ground) == light  # kept
    with visit(chromium, server, color_scheme="light") as one:
        assert one.open().evaluate(ground) == light


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_letters_stand_out_from_their_ground(chromium: Browser, server: str, scheme: Any) -> None:
    """4.5 to 1, as WCAG AA wants of letters; 3 to 1 for the edges of what can be used."""
    with visit(chromium, server, color_scheme=scheme) as one:
        page = one.open()
        asked(page)
        for selector, ground in (
            ("h1", "body"), (".top p", "body"), ("#hint", ".ask"), ("#status", ".ask"),
            ("#run", "#run"), (".words", ".answer"), (".sure", ".answer"), ("#model", "body"),
            (".tasks span", ".tasks"), ("footer p", "body"), ("#choose", "#choose"),
        ):  # fmt: skip
            front, back = (
                page.locator(where).last.evaluate(f"one => getComputedStyle(one).{what}")
                for where, what in ((selector, "color"), (ground, "backgroundColor"))
            )
            assert contrast(front, back) >= 4.5, (selector, front, back)
        edge, back = (
            page.locator("[data-copy=json]").evaluate(f"one => getComputedStyle(one).{what}")
            for what in ("borderTopColor", "backgroundColor")
        )
        assert contrast(edge, back) >= 3


def test_nothing_moves_for_those_who_ask_for_that(chromium: Browser, server: str) -> None:
    with visit(chromium, server, reduced_motion="reduce") as one:
        page = one.open()
        asked(page)
        assert (
            page.locator(".box").first.evaluate("one => getComputedStyle(one).animationName")
            == "none"
        )


def test_words_of_a_model_are_words_whatever_they_look_like(chromium: Browser) -> None:
    evil = "<img src=x onerror=alert(1)><script>alert(1)</script>"
    said = Said(
        (
            {"content": evil},
            {"grounding": {"entities": [entity(0, evil, 0, ([0.1, 0.1, 0.5, 0.5], 0.9))]}},
        )
    )
    with told(chromium, said) as (page, _, __):
        asked(page)
        assert words(page) == evil
        assert page.locator("main img").count() == page.locator(".frame img, #examples img").count()


def contrast(front: str, back: str) -> float:
    """Between two colours as a browser tells them, by WCAG's formula."""

    def light(colour: str) -> float:
        parts = [float(part) for part in re.findall(r"[\d.]+", colour)[:3]]
        if colour.startswith("rgb"):
            parts = [part / 255 for part in parts]
        linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    one, other = sorted((light(front), light(back)))
    return (other + 0.05) / (one + 0.05)
