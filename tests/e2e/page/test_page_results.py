"""What a person takes away from the page, or lays side by side."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

pytest.importorskip("fastapi", reason="the server needs the serve extra")

from PIL import Image

from browser import Fake, Visit, visit
from kosmos2 import Kosmos2
from kosmos2.palette import colour
from person import EXAMPLES, ask, asked, choose, copies, done, draw, given, words

if TYPE_CHECKING:
    from playwright.sync_api import Browser


def test_an_answer_is_copied_as_coco_and_as_markup(person: Visit, model: Kosmos2) -> None:
    page = person.open()
    asked(page)
    coco = json.loads(copies(page, "coco"))
    answer = model.caption(EXAMPLES / "snowman.jpg")
    assert coco["images"] == [
        {"id": 1, "file_name": "snowman.jpg", "width": 640, "height": 640, "caption": answer.text}
    ]
    assert [one["name"] for one in coco["categories"]] == [e.phrase for e in answer.entities]
    for row, box in zip(coco["annotations"], answer.boxes("px"), strict=True):
        x, y, wide, high = row["bbox"]
        assert (x, y, x + wide, y + high) == pytest.approx(box, abs=0.02)
        assert row["area"] == pytest.approx(wide * high, abs=0.02)
    assert copies(page, "markup") == answer.markup.removeprefix("<grounding>").strip()


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed here")
def test_the_copied_curl_command_gets_the_same_answer(person: Visit, tmp_path: Path) -> None:
    page = person.open()
    asked(page, "ground", "a snowman, $(touch broken) `touch broken` a \"fire\" \\ 'x'")
    command = copies(page, "curl")
    shutil.copy(EXAMPLES / "snowman.jpg", tmp_path)
    ran = subprocess.run(
        ["bash", "-c", command],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    said = json.loads(ran.stdout)["choices"][0]["message"]
    assert said["content"] == words(page)
    assert len(said["grounding"]["entities"]) == page.locator(".things li").count()
    assert not (tmp_path / "broken").exists()


def test_the_picture_with_its_boxes_is_saved_in_full_size(person: Visit, tmp_path: Path) -> None:
    page = person.open()
    asked(page)
    with page.expect_download() as download:
        page.locator("[data-save=png]").first.click()
    assert download.value.suggested_filename == "snowman-answer.png"
    download.value.save_as(tmp_path / "saved.png")
    with Image.open(tmp_path / "saved.png") as saved, Image.open(EXAMPLES / "snowman.jpg") as bare:
        assert saved.size == bare.size == (640, 640)
        pixels = saved.convert("RGB").getcolors(640 * 640) or []
    assert colour(0) in {pixel for _, pixel in pixels}
    assert colour(1) in {pixel for _, pixel in pixels}


def test_a_link_restores_everything_but_the_picture(person: Visit, shoot: Any) -> None:
    page = person.open()
    page.get_by_role("button", name=re.compile("Example: A hat")).click()
    page.locator("img[alt^='A hat']").first.wait_for()
    page.locator("#settings summary").click()
    page.locator("[name=a-max_tokens]").fill("64")
    page.locator("[name=a-every]").check()
    choose(page, "ask")
    draw(page, (0.0, 0.45, 0.5, 0.95))
    asked(page, words="What is [this]? & #more=1")
    link = copies(page, "link")
    said = words(page)
    assert "base64" not in link
    page.goto("about:blank")
    page.goto(link)
    done(page)  # the picture is one of ours, so the answer comes, too
    assert words(page) == said
    assert page.locator("input[value=ask]").is_checked()
    assert page.locator("#words").input_value() == "What is [this]? & #more=1"
    assert page.locator("[name=a-max_tokens]").input_value() == "64"
    assert page.locator("[name=a-every]").is_checked()
    assert given(page) == ["Your box 1: 0 to 50 % across, 45 to 95 % down"]
    shoot(page, "10-from-a-link")


def test_a_link_without_a_picture_says_so_and_asks_nothing(chromium: Browser, shoot: Any) -> None:
    with Fake() as fake, visit(chromium, fake.url) as one:
        page = one.open("#task=ground&words=a+fire&box=9,9,9,9&temperature=1e9&seed=x&evil=%3Cb%3E")
        assert "has the question but not the picture" in page.locator("#note").inner_text()
        assert page.locator("#words").input_value() == "a fire"
        assert page.locator("[name=a-temperature]").input_value() == "2"  # kept in bounds
        shoot(page, "11-link-without-picture")
        ask(page)
        page.locator("#alert", has_text="Choose a picture first").wait_for()
        assert fake.asked == []


def test_two_settings_are_compared_side_by_side(person: Visit, model: Kosmos2, shoot: Any) -> None:
    page = person.open()
    page.locator("#settings summary").click()
    page.locator("#compare").check()
    page.locator("[name=b-task]").select_option("detailed")
    asked(page)
    answers = [words(page, 0), words(page, 1)]
    picture = EXAMPLES / "snowman.jpg"
    assert answers[0] == model.caption(picture).text
    assert answers[1] == model.caption(picture, detailed=True).text
    left, right = (page.locator(".view").nth(side).bounding_box() for side in (0, 1))
    assert left is not None
    assert right is not None
    assert left["x"] + left["width"] <= right["x"]
    assert page.locator(".which").all_inner_texts() == ["A · the usual settings", "B · Details"]
    shoot(page, "12-compare", whole=True)
    page.reload()
    done(page)
    assert [words(page, 0), words(page, 1)] == answers
    page.locator("#compare").uncheck()
    assert page.locator(".view").count() == 1
