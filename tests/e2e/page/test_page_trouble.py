"""What goes wrong before the page, told in words."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

pytest.importorskip("fastapi", reason="the server needs the serve extra")

from browser import SNOWMAN, Said
from person import CAPTION, ask, done, told, words

if TYPE_CHECKING:
    from playwright.sync_api import Browser


def test_a_server_that_is_gone_is_told_in_words(chromium: Browser, shoot: Any) -> None:
    with told(chromium, expected=("ERR_CONNECTION_REFUSED",)) as (page, fake, _):
        fake.stop()
        ask(page)
        page.locator(".answer [role=alert]", has_text="The server does not answer").wait_for()
        assert page.locator("#run").is_visible()
        shoot(page, "13-server-down")


@pytest.mark.parametrize(
    ("said", "telling"),
    [
        (Said(status=401, code="invalid_api_key"), "wants a key"),
        (Said(status=400, code="image_invalid"), "cannot open this picture"),
        (Said(status=418, code="strange", message="A fixed text of the server."), "A fixed text"),
        (Said(SNOWMAN.chunks[:3], broken=True), "The answer broke off"),
        (Said(({"content": "half"}, {"error": {"code": "deadline_exceeded"}})), "took longer"),
    ],
    ids=["no key", "damaged picture", "something new", "broken off", "late"],
)
def test_each_failure_is_told_in_words(chromium: Browser, said: Said, telling: str) -> None:
    with told(chromium, said, expected=("Failed to load resource",)) as (page, _, __):
        ask(page)
        page.locator(".answer [role=alert]", has_text=telling).wait_for()
        assert page.locator("#run").is_visible()


def test_a_busy_server_is_asked_again_after_the_time_it_says(chromium: Browser) -> None:
    busy = Said(status=429, code="overloaded", message="busy", retry_after_s=2)
    with told(chromium, busy, SNOWMAN, expected=("429",)) as (page, fake, _):
        ask(page)
        page.locator("#status", has_text="Asking again in 2 s").wait_for()
        done(page)
        assert words(page) == CAPTION
        assert len(fake.asked) == 2
