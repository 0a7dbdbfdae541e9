"""Pictures at the page: picked, dropped, pasted, too large, or none at all."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

pytest.importorskip("fastapi", reason="the server needs the serve extra")

from PIL import Image

from browser import SNOWMAN, Said, Visit
from person import CAPTION, EXAMPLES, asked, told, words

if TYPE_CHECKING:
    from playwright.sync_api import Browser


def test_it_opens_with_a_picture_and_says_which_model_answers(person: Visit, shoot: Any) -> None:
    page = person.open()
    assert page.locator(".frame img").first.is_visible()
    assert "knows our cartoon things, not photographs" in page.locator("#model").inner_text()
    assert page.locator("#examples button").count() == 4
    shoot(page, "01-first-sight")


def test_a_picture_of_ones_own_is_picked_and_asked_about(
    person: Visit, shoot: Any, tmp_path: Path
) -> None:
    with Image.open(EXAMPLES / "pumpkin.jpg") as picture:
        picture.crop((0, 100, 640, 540)).save(tmp_path / "mine.png")
    page = person.open()
    with page.expect_file_chooser() as chooser:
        page.get_by_role("button", name="Your own").click()
    chooser.value.set_files(tmp_path / "mine.png")
    page.locator("img[alt='mine.png']").first.wait_for()
    assert "knows only drawn scenes" in page.locator("#note").inner_text()
    asked(page, "detailed")
    assert "pumpkin" in words(page)
    assert page.locator(".box").count() >= 2
    shoot(page, "02-own-picture")


@pytest.mark.parametrize("way", ["drop", "paste"])
def test_a_picture_can_be_dropped_or_pasted(person: Visit, way: str) -> None:
    page = person.open()
    data = base64.b64encode((EXAMPLES / "drum.jpg").read_bytes()).decode()
    page.evaluate(
        """async ([way, data]) => {
            const bytes = Uint8Array.from(atob(data), (letter) => letter.charCodeAt(0));
            const file = new File([bytes], "handed over.jpg", { type: "image/jpeg" });
            const carried = new DataTransfer();
            carried.items.add(file);
            const event = way === "drop"
                ? new DragEvent("drop", { dataTransfer: carried, bubbles: true, cancelable: true })
                : new ClipboardEvent("paste", { clipboardData: carried, bubbles: true });
            document.body.dispatchEvent(event);
        }""",
        [way, data],
    )
    page.locator("img[alt='handed over.jpg']").first.wait_for()


def test_a_file_that_is_no_picture_is_told_and_the_old_picture_stays(
    person: Visit, shoot: Any, tmp_path: Path
) -> None:
    (tmp_path / "notes.txt").write_text("no picture at all")
    (tmp_path / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n and then nothing")
    page = person.open()
    for name in ("notes.txt", "broken.png"):
        page.locator("#file").set_input_files(tmp_path / name)
        page.locator("#alert", has_text=name).wait_for()
        assert "is not a picture that opens here" in page.locator("#alert").inner_text()
    shoot(page, "03-wrong-file")
    asked(page)
    assert "snowman" in words(page)
    assert not page.locator("#alert").is_visible()


def test_a_picture_that_is_too_large_is_sent_as_a_smaller_copy_which_is_said(
    chromium: Browser, tmp_path: Path
) -> None:
    noise = Image.effect_noise((2500, 2300), 90).convert("RGB")
    noise.save(tmp_path / "huge.bmp")  # 16 MiB
    with told(chromium) as (page, fake, _):
        page.locator("#file").set_input_files(tmp_path / "huge.bmp")
        page.locator("#note", has_text="2048 × 1884 is sent instead").wait_for()
        assert (
            "huge.bmp (16.5 MiB) is more than the server takes"
            in page.locator("#note").inner_text()
        )
        asked(page)
        url = fake.asked[0]["messages"][0]["content"][0]["image_url"]["url"]
        assert url.startswith("data:image/jpeg;base64,")
        assert len(url) < 10 * 2**20


def test_a_server_that_takes_less_gets_a_smaller_copy_by_itself(chromium: Browser) -> None:
    refused = Said(status=413, code="body_too_large", message="too large")
    complaint = "Failed to load resource"
    with told(chromium, refused, SNOWMAN, expected=(complaint,)) as (page, fake, _):
        asked(page)
        assert words(page) == CAPTION
        assert "is more than the server takes" in page.locator("#note").inner_text()
        assert len(fake.asked) == 2
