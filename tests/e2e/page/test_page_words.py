"""Words and boxes at the page light each other, and go by their scores."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

pytest.importorskip("fastapi", reason="the server needs the serve extra")

from browser import Visit
from kosmos2.palette import colour, css
from person import asked, copies, on, shown, told

if TYPE_CHECKING:
    from playwright.sync_api import Browser


def test_a_word_lights_its_box_and_a_box_its_word(person: Visit, shoot: Any) -> None:
    page = person.open()
    asked(page)
    for index in (0, 1):
        mark, box = (page.locator(f"{kind}[data-entity='{index}']") for kind in (".mark", ".box"))
        other = page.locator(f".box[data-entity='{1 - index}']")
        mark.hover()
        assert on(box)
        assert not on(other)
        page.locator("h1").hover()
        assert not on(box)
        box.hover()
        assert on(mark)
        page.locator("h1").hover()
    page.locator(".mark").first.hover()
    shoot(page, "06-hover")
    page.locator("h1").hover()
    page.locator(".mark").nth(1).focus()
    assert on(page.locator(".box[data-entity='1']"))
    page.locator(".box[data-entity='0']").focus()
    assert on(page.locator(".mark").first)


def test_words_and_boxes_have_the_colours_of_the_house(person: Visit) -> None:
    page = person.open()
    asked(page)
    for index in (0, 1):
        for kind in (".mark", ".box", ".labels span"):
            part = page.locator(f"{kind}[data-entity='{index}']")
            assert part.evaluate("one => one.style.getPropertyValue('--c')") == css(colour(index))
    colours = page.evaluate(
        "async () => { const { colour } = await import('/page/palette.js');"
        " return Array.from({ length: 60 }, (_, index) => colour(index)); }"
    )
    for index, there in enumerate(colours):
        ours = colour(index)
        parts = [int(there[at : at + 2], 16) for at in (1, 3, 5)]
        assert parts == pytest.approx(ours, abs=1), index


def test_the_slider_hides_boxes_of_a_low_score_everywhere(chromium: Browser, shoot: Any) -> None:
    with told(chromium) as (page, _, __):
        asked(page)
        slider = page.locator("input[type=range]").first
        assert shown(page.locator(".box")) == 2
        slider.fill("0.5")
        assert page.locator(".score output").first.inner_text() == "0.50"
        assert [box.get_attribute("data-entity") for box in page.locator(".box").all()] == ["0"]
        assert shown(page.locator(".labels span")) == 1
        shoot(page, "07-slider")
        taken = json.loads(copies(page, "json"))
        assert [len(one["boxes"]) for one in taken["entities"]] == [1, 0]
        slider.fill("0")
        assert shown(page.locator(".box")) == 2


def test_a_phrase_has_a_heat_map(person: Visit, shoot: Any) -> None:
    page = person.open()
    asked(page, "ground", "a fire")
    button = page.get_by_role("button", name="Heat map of a fire")
    button.click()
    page.locator(".legend", has_text="Where “a fire” may be").wait_for()
    heat = page.locator("canvas.heat").first
    assert heat.is_visible()
    warm, cold = heat.evaluate(
        """canvas => {
            const cells = canvas.getContext("2d").getImageData(0, 0, 32, 32).data;
            return [[25, 15], [30, 29]].map(([x, y]) => cells[4 * (32 * y + x) + 3]);
        }"""
    )
    assert warm > 150 > 50 > cold  # the fire is right of the middle
    shoot(page, "08-heat-map")
    button.click()
    assert not heat.is_visible()
