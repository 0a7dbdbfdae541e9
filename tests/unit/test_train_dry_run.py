"""A dry run shows rows as the network gets them: what is learnt, and where boxes really are."""

import json

import numpy as np
import pytest
from PIL import Image

from kosmos2.config import Config
from kosmos2.data.encoding import encode
from kosmos2.data.instructions import find
from kosmos2.data.lesson import Lesson, Linked, Said
from kosmos2.data.mixture import Mixture
from kosmos2.data.prepared import Prepared
from kosmos2.data.rows import IGNORED, pack
from kosmos2.data.sources import Source, open_source
from kosmos2.data.wording import Wording
from kosmos2.errors import DataError
from kosmos2.geometry import Box, box_of, cells_of
from kosmos2.markup import GROUNDING
from kosmos2.prompts import PICTURE, Markup, Words
from kosmos2.tokenizer import Tokenizer
from kosmos2.train import vocabulary
from kosmos2.train.dry_run import PAGE, SHEET, draw
from kosmos2.train.watching.told import told
from runs import EVIL, Page

WHOLE = [0, 0, 1, 1]
LEFT, RIGHT = Box(0.0, 0.25, 0.375, 0.75), Box(0.5, 0.25, 0.875, 0.75)


def seen(box: Box) -> Box:
    """What two cells say of a box."""
    return box_of(*cells_of(box))


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return vocabulary.build()


@pytest.fixture(scope="module")
def config(tokenizer) -> Config:
    return Config.tiny(vocabulary=tokenizer.size)


@pytest.fixture
def data(tmp_path):
    """Five rows of all kinds; the left half of every picture is red."""
    pixels = np.zeros((60, 80, 3), np.uint8)
    pixels[:, :40] = (220, 30, 30)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    spans = [{"phrase": "a cat", "boxes": [LEFT.corners]}]
    rows = [
        {"picture": "a.png", "text": "a cat", "spans": spans},
        {
            "picture": "a.png",
            "objects": {"dog": [LEFT.corners, RIGHT.corners], "cup": [[0, 0, 1, 1]]},
        },
        {"picture": "a.png", "turns": [{"text": EVIL}, {"text": "a cat", "spans": spans}]},
        {"pieces": [{"text": "one"}, {"picture": "a.png"}, {"text": "two"}]},
        {"text": "a cat"},
    ]
    (tmp_path / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)))
    return tmp_path / "rows.jsonl"


def prepared(data, config, tokenizer, **how) -> Prepared:
    mixture = Mixture([open_source(Source(path=str(data)))], [1.0], seed=1, shuffle=False)
    wording = Wording(boxes_share=1.0, **how)
    return Prepared(mixture, [wording], config, tokenizer, seed=1)


def test_coloured_are_exactly_the_tokens_that_labels_teach(data, config, tokenizer):
    rows = prepared(data, config, tokenizer)
    for row in (rows[i] for i in range(len(rows))):
        lessons = told(row, tokenizer).lessons
        assert sum(one.learnt for one in lessons) == (row.labels != IGNORED).sum()
        assert sum(one.count for one in lessons) == len(row.ids)
        assert [one.segment for one in lessons] == sorted(set(row.segments.tolist()))
        assert [one.task for one in lessons if one.segment] == list(row.kinds)


def test_words_that_are_learnt_read_as_they_will_be_said(config, tokenizer):
    answer = Said((Words(" It is"), Linked(" a cat", (LEFT,)), Words(".")), True)
    asked = Said((Markup(GROUNDING), Words(" What is it?")), False)
    tokens = encode(Lesson((asked, answer), "ask", True, 0.5), tokenizer)
    side = config.vision.image_size
    row = pack(np.zeros((1, side, side, 3), np.uint8), [tokens], config, tokenizer, 90)
    lesson = told(row, tokenizer).lessons[-1]
    read = "".join(one.text for one in lesson.tokens if not one.learnt)
    learnt = "".join(one.text for one in lesson.tokens if one.learnt)
    upper, lower = cells_of(LEFT)
    assert read == "<grounding> What is it?"
    assert learnt == (f" It is<phrase> a cat</phrase><object>{upper:04d}{lower:04d}</object>.</s>")
    assert lesson.weight == 0.5


def test_the_end_of_an_answer_is_learnt_where_it_does_not_stand(config, tokenizer):
    said = [Said((Words(f" {word}"),), word == "yes") for word in ("is", "yes", "are", "yes")]
    opening = Said((PICTURE, *said[0].parts), False)
    tokens = encode(
        Lesson((opening, *said[1:]), "dialogue", False), tokenizer, latents=config.latents
    )
    side = config.vision.image_size
    row = pack(np.zeros((1, side, side, 3), np.uint8), [tokens], config, tokenizer, 90)
    lesson = told(row, tokenizer).lessons[-1]
    shown = [(one.text, one.learnt, one.unwritten) for one in lesson.tokens]
    assert shown == [
        ("<image>", False, False), ("picture", False, False), ("</image>", False, False),
        (" is", False, False), (" yes", True, False), ("</s>", True, True),
        (" are", False, False), (" yes", True, False), ("</s>", True, False),
    ]  # fmt: skip


def test_lessons_about_one_place_share_its_colour(config, tokenizer):
    lessons = [find("the cat", (LEFT,)), find("a cat", (LEFT,)), find("two cats", (LEFT, RIGHT))]
    tokens = [encode(lesson, tokenizer) for lesson in lessons]
    side = config.vision.image_size
    read = told(
        pack(np.zeros((1, side, side, 3), np.uint8), tokens, config, tokenizer, 90), tokenizer
    )
    assert [(number, one.phrase, one.boxes) for number, one in read.places] == [
        (0, "the cat", (seen(LEFT),)), (0, "two cats", (seen(LEFT), seen(RIGHT))),
    ]  # fmt: skip
    tied = [{one.place for one in lesson.tokens} - {None} for lesson in read.lessons]
    assert tied == [set(), {0}, {0}, {1}]
    # One of several is outlined, and named once.
    assert [one.phrase for one in read.entities(0)] == ["", "two cats"]
    assert [one.boxes for one in read.entities(1)] == [(), ()]


def test_boxes_are_shown_where_flips_and_crops_moved_them(data, config, tokenizer):
    def boxes(**how):
        return told(prepared(data, config, tokenizer, **how)[0], tokenizer).entities(0)[0].boxes

    assert boxes() == (seen(LEFT),)
    assert boxes(flip=1.0) == (seen(Box(1 - LEFT.x2, LEFT.y1, 1 - LEFT.x1, LEFT.y2)),)
    (cropped,) = boxes(transform="crop")
    # Of 80 x 60 pixels the middle 60 x 60 are left: a third less across, nothing less down.
    assert cropped.x2 == pytest.approx((LEFT.x2 * 80 - 10) / 60, abs=1 / 32)
    assert cropped.y1 == pytest.approx(LEFT.y1, abs=1 / 32)


def test_pictures_are_those_that_the_network_gets(data, config, tokenizer, tmp_path):
    import base64
    import io
    import re

    rows = prepared(data, config, tokenizer, flip=1.0)
    text = draw(rows, tokenizer, tmp_path / "out").read_text()
    found = re.findall(r'href="data:image/png;base64,([^"]*)"', text)
    wanted = [pixels for i in range(len(rows)) for pixels in rows[i].pixels]
    assert len(found) == len(wanted) == 4
    for code, pixels in zip(found, wanted):
        shown = np.asarray(Image.open(io.BytesIO(base64.b64decode(code))))
        assert np.array_equal(shown, pixels)
    assert wanted[0][15, 25, 0] > 200  # the red half is on the right now
    assert text.count("seen, 30 x 30") == 4
    assert text.count("stored, 80 x 60") == 4


def test_a_page_runs_nothing_asks_for_nothing_and_escapes_every_word(
    data, config, tokenizer, tmp_path
):
    text = draw(prepared(data, config, tokenizer), tokenizer, tmp_path / "out").read_text()
    page = Page(text)
    assert page.open == []
    assert page.asks_for() == []
    policy = next(one["content"] for _, one in page.tags if "http-equiv" in one)
    assert policy.startswith("default-src 'none'; img-src data:;")
    assert "url(" not in text
    assert "<script>alert" in "".join(page.words)
    assert "\x1b" not in text


def test_the_sheet_has_a_tile_for_each_row(data, config, tokenizer, tmp_path):
    draw(prepared(data, config, tokenizer), tokenizer, tmp_path / "out")
    assert {file.name for file in (tmp_path / "out").iterdir()} == {PAGE, SHEET}
    sheet = Image.open(tmp_path / "out" / SHEET)
    assert sheet.size == (4 * 336 + 16, 2 * 380 + 16)
    assert sheet.getpixel((16 + 200, 16 + 30))[0] < 40  # right of the red half


def test_rows_that_were_passed_over_are_told(data, config, tokenizer, tmp_path):
    rows = data.read_text().splitlines()
    data.write_text("\n".join([json.dumps({"picture": "gone.png", "text": "a cat"}), *rows]))
    text = draw(prepared(data, config, tokenizer), tokenizer, tmp_path / "out").read_text()
    assert "Left out on the way" in text
    assert "gone.png" in text


def test_only_the_first_rows_are_drawn_and_none_is_an_error(data, config, tokenizer, tmp_path):
    rows = prepared(data, config, tokenizer)

    class Many(list):
        def __getitem__(self, position):
            return rows[position % 5]

    page = Page(draw(Many([0] * 40), tokenizer, tmp_path / "out").read_text())
    assert sum(tag == "article" for tag, _ in page.tags) == 16
    with pytest.raises(DataError, match="no rows"):
        draw(Many(), tokenizer, tmp_path / "none")
    with pytest.raises(DataError, match="cannot write"):
        draw(rows, tokenizer, data / "below")
