"""A browser, a server with the embedded model, and a person in front of them.

What a model cannot be made to do (wait, fail, be busy) is asked of a server that says what it is
told. Screenshots are written to the folder that KOSMOS2_SCREENSHOTS names, else to the test's own.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

pytest.importorskip("fastapi", reason="the server needs the serve extra")

from browser import Visit, browser, visit
from kosmos2 import Kosmos2
from serving import serving

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    with browser() as opened:
        yield opened


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    """The address of a server with the embedded model."""
    with serving() as running:
        yield running.url


@pytest.fixture(scope="module")
def model() -> Kosmos2:
    """What the server asks, to be asked directly."""
    return Kosmos2.load()


@pytest.fixture
def person(chromium: Browser, server: str) -> Iterator[Visit]:
    with visit(chromium, server) as one:
        yield one


@pytest.fixture
def shoot(tmp_path: Path) -> Any:
    folder = Path(os.environ.get("KOSMOS2_SCREENSHOTS") or tmp_path)
    folder.mkdir(parents=True, exist_ok=True)

    def shot(page: Page, name: str, *, whole: bool = False) -> None:
        page.wait_for_timeout(350)  # what appears has faded in
        page.screenshot(path=folder / f"{name}.png", full_page=whole)

    return shot
