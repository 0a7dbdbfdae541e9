"""The page in a real browser: what a person does there, and what they see.

Most of it against the server with the embedded model; what a model cannot be made to do (wait,
fail, be busy) against a server that says what it is told. Screenshots are written to the folder
that KOSMOS2_SCREENSHOTS names, else to the test's own.
"""

from __future__ import annotations

import base64
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

pytest.importorskip("fastapi", reason="the server needs the serve extra")

from PIL import Image

from browser import SNOWMAN, Fake, Said, Visit, browser, entity, visit
from kosmos2 import Kosmos2
from kosmos2.palette import colour, css
from serving import serving

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Locator, Page

EXAMPLES = Path(__file__).parents[2] / "src/kosmos2/assets/examples"
PHONE = {"viewport": {"width": 375, "height": 780}, "has_touch": True, "is_mobile": True}
CAPTION = "An image of a snowman to the left of a fire."  # of the server that says what it is told


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


@contextmanager
def told(chromium: Browser, *answers: Said, **how: Any) -> Iterator[tuple[Page, Fake, Visit]]:
    """The page before a server that says what it is told."""
    with Fake(*answers) as fake, visit(chromium, fake.url, **how) as one:
        yield one.open(), fake, one


# What a person does


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


# Pictures


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


# Asking


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


# Words and boxes


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
            return [[18, 5], [5, 28]].map(([x, y]) => cells[4 * (32 * y + x) + 3]);
        }"""
    )
    assert warm > 150 > 50 > cold  # the fire is at the top, right of the middle
    shoot(page, "08-heat-map")
    button.click()
    assert not heat.is_visible()


# Boxes of one's own


def test_a_box_is_drawn_and_described(person: Visit, shoot: Any) -> None:
    page = person.open()
    draw(page, (0.28, 0.53, 0.46, 0.8))  # the balloon
    assert page.locator("input[value=describe]").is_checked()  # drawing says what is wanted
    assert given(page) == ["Your box 1: 28 to 46 % across, 53 to 80 % down"]
    asked(page)
    assert words(page).startswith("a balloon")
    shoot(page, "09-describe-a-box")


def test_a_box_is_asked_about(person: Visit) -> None:
    page = person.open()
    choose(page, "ask")
    draw(page, (0.12, 0.05, 0.45, 0.47))
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


# Taking it away


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


# Two settings


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


# What goes wrong


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


# Ways to be there


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
