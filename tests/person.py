"""What a person does at the page, for tests in a real browser."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from browser import Fake, Said, Visit, visit

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Locator, Page

EXAMPLES = Path(__file__).parents[1] / "src/kosmos2/assets/examples"
PHONE = {"viewport": {"width": 375, "height": 780}, "has_touch": True, "is_mobile": True}
CAPTION = "An image of a snowman to the left of a fire."  # of the server that says what it is told


@contextmanager
def told(chromium: Browser, *answers: Said, **how: Any) -> Iterator[tuple[Page, Fake, Visit]]:
    """The page before a server that says what it is told."""
    with Fake(*answers) as fake, visit(chromium, fake.url, **how) as one:
        yield one.open(), fake, one


def choose(page: Page, task: str) -> None:
    page.locator(f"input[name=task][value={task}]").check()


def ask(page: Page) -> None:
    page.locator("#run").click()


def done(page: Page) -> None:
    page.locator("#status", has_text="Done in").wait_for()


def asked(page: Page, task: str = "", words: str = "") -> None:
    """Ask, and wait for all of the answer."""
    if task:
        choose(page, task)
    if words:
        page.locator("#words").fill(words)
    ask(page)
    done(page)


def draw(page: Page, box: tuple[float, float, float, float]) -> None:
    """Drag a box over the picture, in fractions of it."""
    frame = page.locator(".frame").first.bounding_box()
    assert frame is not None
    x1, y1, x2, y2 = (
        frame["xy"[i % 2]] + edge * frame[("width", "height")[i % 2]] for i, edge in enumerate(box)
    )
    page.mouse.move(x1, y1)
    page.mouse.down()
    page.mouse.move((x1 + x2) / 2, (y1 + y2) / 2, steps=3)
    page.mouse.move(x2, y2, steps=3)
    page.mouse.up()


def words(page: Page, side: int = 0) -> str:
    return page.locator(".words").nth(side).inner_text()


def given(page: Page) -> list[str]:
    """The boxes that the person drew, as they are told to those who do not see them."""
    return [one.get_attribute("aria-label") or "" for one in page.locator(".given .mine").all()]


def on(locator: Locator) -> bool:
    return "on" in (locator.get_attribute("class") or "").split()


def shown(locator: Locator) -> int:
    return sum(one.is_visible() for one in locator.all())


def copies(page: Page, kind: str) -> str:
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    button = page.locator(f"[data-copy={kind}]").first
    button.click()
    page.locator(f"[data-copy={kind}]", has_text="Copied").first.wait_for()
    text: str = page.evaluate("navigator.clipboard.readText()")
    return text
