"""Boxes drawn onto a new picture, and answers saved by the name of the file."""

import base64
import json
import xml.etree.ElementTree as ET

import numpy as np
import pytest
from PIL import Image, ImageChops

from kosmos2.drawing import FORMATS, draw, draw_heat, save
from kosmos2.errors import ImageError, InputError
from kosmos2.geometry import Box
from kosmos2.markup import Entity, Problem
from kosmos2.palette import HALO, colour
from kosmos2.result import Grounded, ImageSize


def entity(phrase: str, *boxes: Box) -> Entity:
    return Entity(phrase, 0, len(phrase), boxes)


ANSWER = Grounded(
    text="a dog and 2 cats",
    entities=(
        entity("a dog", Box(0.25, 0.25, 0.75, 0.75, 0.83)),
        Entity("2 cats", 10, 16, (Box(0, 0, 0.2, 0.2), Box(0.8, 0.8, 1, 1, 0.5))),
    ),
    problems=(Problem("lone_location", 3, "a location outside an object"),),
)


def plain(size=(400, 300), shade=(128, 128, 128)) -> Image.Image:
    return Image.new("RGB", size, shade)


def colours_in(picture: Image.Image) -> set:
    return {tuple(pixel) for pixel in np.asarray(picture).reshape(-1, 3)}


def test_the_picture_drawn_on_is_a_new_one(photo):
    before = photo.tobytes()
    drawn = draw(photo, ANSWER)
    assert photo.tobytes() == before
    assert drawn is not photo
    assert (drawn.mode, drawn.size) == ("RGB", photo.size)
    assert ImageChops.difference(drawn, photo).getbbox()


def test_entities_alone_are_drawn_like_their_answer(photo):
    assert draw(photo, ANSWER.entities).tobytes() == draw(photo, ANSWER).tobytes()


def test_the_outline_stands_on_the_box_and_leaves_its_inside_alone():
    drawn = draw(plain(), [entity("", Box(0.25, 0.25, 0.75, 0.75))])
    changed = ImageChops.difference(drawn, plain())
    assert changed.getbbox() == (100, 75, 300, 225)
    assert changed.crop((110, 85, 290, 215)).getbbox() is None
    assert colours_in(drawn) == {(128, 128, 128), HALO, colour(0)}


@pytest.mark.parametrize("shade", [colour(0), (0, 0, 0), (255, 255, 255)])
def test_an_outline_can_be_seen_on_any_ground(shade):
    drawn = draw(plain(shade=shade), [entity("", Box(0.25, 0.25, 0.75, 0.75))])
    assert {HALO, colour(0)} - {shade} <= colours_in(drawn)


def test_every_entity_has_one_colour_for_all_its_boxes():
    drawn = np.asarray(draw(plain(), ANSWER, scores=False))
    for index, (x, y) in enumerate([(102, 150), (79, 40), (398, 270)]):
        near = {tuple(p) for p in drawn[y, max(x - 8, 0) : x + 8]}
        assert colour(min(index, 1)) in near


def test_scores_are_drawn_unless_refused():
    with_scores, without = draw(plain(), ANSWER), draw(plain(), ANSWER, scores=False)
    unscored = [entity(e.phrase, *(Box(*b.corners) for b in e.boxes)) for e in ANSWER.entities]
    assert with_scores.tobytes() != without.tobytes()
    assert without.tobytes() == draw(plain(), unscored).tobytes()


@pytest.mark.parametrize(
    "size", [(1, 1), (1, 2), (3, 2), (16, 16), (1, 200), (2000, 10), (1600, 1200)]
)
def test_pictures_of_any_size_can_be_drawn_on(size):
    drawn = draw(plain(size), ANSWER)
    assert drawn.size == size
    assert ImageChops.difference(drawn, plain(size)).getbbox()


@pytest.mark.parametrize(
    "phrase",
    [
        "雪だるま",
        "снеговик",
        "שלום עולם",
        "مرحبا",
        "☃️👨‍👩‍👧",
        "a\nb\x00c\x1b[0m",
        "\ud800",
        "x" * 9000,
        " ",
    ],
    ids=["japanese", "russian", "hebrew", "arabic", "emoji", "control", "half", "long", "blank"],
)
def test_any_phrase_can_be_drawn(phrase):
    drawn = draw(plain(), [entity(phrase, Box(0.1, 0.3, 0.9, 0.9, 0.5))])
    assert len(colours_in(drawn)) > 3  # smoothed letters: a label is there


def test_what_has_no_place_leaves_the_picture_as_it_was():
    nowhere = [entity("a dog"), entity("b", Box(float("nan"), 0, 1, 1))]
    assert draw(plain(), nowhere).tobytes() == plain().tobytes()
    assert draw(plain(), Grounded(text="nothing")).tobytes() == plain().tobytes()


def test_an_inverted_box_is_drawn_like_the_upright_one():
    flipped, upright = Box(0.8, 0.9, 0.2, 0.3), Box(0.2, 0.3, 0.8, 0.9)
    assert draw(plain(), [entity("a", flipped)]).tobytes() == (
        draw(plain(), [entity("a", upright)]).tobytes()
    )


@pytest.mark.parametrize("make", [bytes, str])
def test_what_is_no_picture_is_refused(make):
    with pytest.raises(ImageError):
        draw(make(), ANSWER)


def test_every_format_is_saved_whole_and_nothing_else_is_left(tmp_path, photo):
    for suffix in FORMATS:
        assert save(photo, ANSWER, tmp_path / f"answer{suffix.upper()}").is_file()
    assert sorted(p.suffix.lower() for p in tmp_path.iterdir()) == sorted(FORMATS)
    with Image.open(tmp_path / "answer.PNG") as saved:
        assert saved.tobytes() == draw(photo, ANSWER).tobytes()
    ET.parse(tmp_path / "answer.SVG")
    page = (tmp_path / "answer.HTML").read_text("utf-8")
    assert page.startswith("<!doctype html>")
    assert "lone_location" in page


def test_saved_data_reads_back_as_the_answer(tmp_path, photo):
    save(photo, ANSWER, tmp_path / "a.json", coords="px")
    values = json.loads((tmp_path / "a.json").read_text("utf-8"))
    assert values["image"] == {"width": photo.width, "height": photo.height}
    assert values["entities"][0]["boxes"][0]["box"] == [128, 128, 384, 384]
    back = Grounded.from_dict(values)
    assert back.image == ImageSize(*photo.size)
    assert back.text == ANSWER.text
    for ours, theirs in zip(ANSWER.boxes(), back.boxes(), strict=True):
        assert ours == pytest.approx(theirs)


def test_the_picture_travels_inside_the_svg(tmp_path, photo):
    path = save(photo, ANSWER, tmp_path / "a.svg")
    image = ET.parse(path).getroot().find("{http://www.w3.org/2000/svg}image")
    head, data = image.get("href").split(",")
    assert head == "data:image/jpeg;base64"
    (tmp_path / "inside.jpg").write_bytes(base64.b64decode(data))
    with Image.open(tmp_path / "inside.jpg") as inside:
        assert inside.size == photo.size


@pytest.mark.parametrize("name", ["answer.gif", "answer", "answer.", ".png"])
def test_an_unknown_ending_is_refused_with_the_known_ones(tmp_path, photo, name):
    with pytest.raises(InputError, match=r"\.png, \.svg, \.html, \.json"):
        save(photo, ANSWER, tmp_path / name)
    assert list(tmp_path.iterdir()) == []


def test_a_missing_folder_is_named(tmp_path, photo):
    with pytest.raises(InputError, match=r"no folder .*nowhere"):
        save(photo, ANSWER, tmp_path / "nowhere" / "a.png")


def test_a_disk_that_fills_up_leaves_the_old_file_and_no_half_one(tmp_path, photo, monkeypatch):
    path = save(photo, ANSWER, tmp_path / "a.png")
    before = path.read_bytes()

    def full(*args, **more):
        (tmp_path / args[1].name).write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Image.Image, "save", full)
    with pytest.raises(OSError, match="No space left"):
        save(photo, Grounded(text="other"), path)
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["a.png"]


def test_a_heat_map_leaves_the_warm_bright_and_dims_the_cold():
    plain = Image.new("RGB", (64, 64), (120, 200, 90))
    heat = [[1.0 if column >= 16 else 0.0 for column in range(32)] for _ in range(32)]
    drawn = draw_heat(plain, heat)
    assert drawn.size == plain.size
    cold, warm = drawn.getpixel((4, 32)), drawn.getpixel((60, 32))
    assert sum(cold) < sum(warm) / 2
    assert len(set(cold)) == 1  # grey
    assert plain.getpixel((4, 32)) == (120, 200, 90)
