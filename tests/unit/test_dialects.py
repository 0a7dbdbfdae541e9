"""Boxes and answers in other people's forms: each is read back, here and by a library of others."""

from __future__ import annotations

import html
import json
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kosmos2 import dialects, markup
from kosmos2.errors import InputError
from kosmos2.geometry import COORDS, SIDE, Box, box_of
from kosmos2.markup import Entity
from kosmos2.result import Grounded, ImageSize

WIDTH, HEIGHT = 1024, 683
# How far a whole number may be from the edge it stands for, in fractions of the picture.
COARSE = {"qwen": 5e-4, "qwen3": 5e-4, "gemini": 5e-4, "paligemma": 1e-3, "qwen2.5": 0.5 / HEIGHT}

edges = st.floats(0, 1, width=32)
pairs = st.tuples(edges, edges).map(sorted).filter(lambda pair: pair[1] - pair[0] > 0.01)
boxes = st.tuples(pairs, pairs).map(lambda p: Box(p[0][0], p[1][0], p[0][1], p[1][1]))
on_cells = st.tuples(*[st.integers(0, SIDE - 1)] * 4).map(
    lambda c: box_of(
        min(c[0], c[1]) * SIDE + min(c[2], c[3]), max(c[0], c[1]) * SIDE + max(c[2], c[3])
    )
)


def an_answer(label: str = "a snowman", *more: Box) -> Grounded:
    text = f"An image of {label} by a fire."
    at = text.index(label)
    snowman = Box(0.390625, 0.046875, 0.984375, 0.828125, 0.83)
    fire = Box(0.171875, 0.015625, 0.484375, 0.890625, 0.41)
    return Grounded(
        text=text,
        entities=(
            Entity(label, at, at + len(label), (snowman, *more)),
            Entity("a fire", text.index("a fire"), len(text) - 1, (fire,)),
        ),
        image=ImageSize(WIDTH, HEIGHT),
    )


# One box


@given(boxes, st.sampled_from([name for name in dialects.COORDINATES if name not in COARSE]))
def test_numbers_are_read_back_as_the_box_they_came_from(box: Box, name: str) -> None:
    if name in ("cells", "patch"):  # a cell for each corner is all that they keep
        box = box_of(*map(int, dialects.coordinates(box, name)))
    numbers = dialects.coordinates(box, name, WIDTH, HEIGHT)
    assert dialects.box_from(numbers, name, WIDTH, HEIGHT).corners == pytest.approx(box.corners)


@given(boxes, st.sampled_from(list(COARSE)))
def test_whole_numbers_are_read_back_within_half_a_unit(box: Box, name: str) -> None:
    numbers = dialects.coordinates(box, name, WIDTH, HEIGHT)
    assert all(type(number) is int for number in numbers)
    back = dialects.box_from(numbers, name, WIDTH, HEIGHT)
    assert back.corners == pytest.approx(box.corners, abs=COARSE[name] * 1.001)


@pytest.mark.parametrize("name", COORDS)
def test_the_units_of_the_library_are_the_same_numbers_here(name: str) -> None:
    box = Box(0.1, 0.2, 0.3, 0.9)
    assert tuple(dialects.coordinates(box, name, WIDTH, HEIGHT)) == box.scaled(name, WIDTH, HEIGHT)


def test_each_family_has_its_own_order_and_scale() -> None:
    box = Box(0.390625, 0.046875, 0.984375, 0.828125)
    said = {name: dialects.coordinates(box, name, WIDTH, HEIGHT) for name in dialects.COORDINATES}
    assert said["percent"] == [39.0625, 4.6875, 98.4375, 82.8125]
    assert said["cells"] == said["patch"] == [44, 863]
    assert said["qwen"] == said["qwen3"] == [391, 47, 984, 828]
    assert said["qwen2.5"] == [400, 32, 1008, 566]
    assert said["gemini"] == [47, 391, 828, 984]
    assert said["paligemma"] == [48, 400, 848, 1008]


@pytest.mark.parametrize("name", ["px", "qwen2.5"])
def test_pixels_want_the_size_of_the_picture(name: str) -> None:
    with pytest.raises(InputError, match="need the picture's size"):
        dialects.coordinates(Box(0, 0, 1, 1), name)


@pytest.mark.parametrize(
    ("numbers", "name"),
    [
        ([0.5, 0.5, 0.1, 0.9], "norm01"),
        ([1, 2, 3], "gemini"),
        ([float("nan"), 0, 1, 1], "percent"),
        ([5, 4.5], "cells"),
        ([5, 1024], "cells"),
        ([40, 3], "cells"),
        ([5, 40, 60], "cells"),
    ],
)
def test_numbers_that_make_no_box_are_refused(numbers: list[float], name: str) -> None:
    with pytest.raises(InputError):
        dialects.box_from(numbers, name, WIDTH, HEIGHT)


@pytest.mark.parametrize("name", [*dialects.COORDINATES, *dialects.DIALECTS])
def test_every_form_says_what_its_numbers_mean(name: str) -> None:
    assert len(dialects.unit_of(name)) > 10


@pytest.mark.parametrize(
    ("ask", "near"),
    [
        (lambda: dialects.coordinates(Box(0, 0, 1, 1), "norm1"), "norm01"),
        (lambda: dialects.box_from([0, 0, 1, 1], "pixel"), "px"),
        (lambda: dialects.render(an_answer(), "florence"), "florence2"),
        (lambda: dialects.unit_of("markdwon"), "markdown"),
    ],
    ids=["numbers", "numbers read", "answer", "unit"],
)
def test_an_unknown_name_is_refused_with_the_nearest_known(ask: Any, near: str) -> None:
    with pytest.raises(InputError, match=near):
        ask()


# A whole answer


def in_fence(text: str) -> Any:
    return json.loads(text.removeprefix("```json\n").removesuffix("\n```"))


def test_json_dialects_name_every_box() -> None:
    answer = an_answer()
    labels = ["a snowman", "a fire"]
    assert [row["label"] for row in in_fence(dialects.render(answer, "qwen3"))] == labels
    assert [row["label"] for row in in_fence(dialects.render(answer, "gemini"))] == labels
    assert [row["label"] for row in json.loads(dialects.render(answer, "hf-detection"))] == labels
    roboflow = json.loads(dialects.render(answer, "roboflow"))
    assert roboflow["image"] == {"width": WIDTH, "height": HEIGHT}
    first = roboflow["predictions"][0]
    assert (first["x"] - first["width"] / 2, first["y"] + first["height"] / 2) == (
        400,
        0.828125 * HEIGHT,
    )
    assert [row["class_id"] for row in roboflow["predictions"]] == [0, 1]


def test_scores_are_kept_where_there_is_a_place_for_them() -> None:
    answer = an_answer()
    for name, key in (("hf-detection", "score"), ("roboflow", "confidence")):
        rows = json.loads(dialects.render(answer, name))
        rows = rows["predictions"] if name == "roboflow" else rows
        assert [row[key] for row in rows] == [0.83, 0.41]


@given(st.lists(on_cells, max_size=3))
def test_markup_is_read_back_as_the_same_answer(more: list[Box]) -> None:
    answer = an_answer("a snowman", *more)
    parsed = markup.parse(dialects.render(answer, "kosmos"))
    assert parsed.text == answer.text
    assert parsed.problems == ()
    assert [[box.corners for box in entity.boxes] for entity in parsed.entities] == [
        [box.corners for box in entity.boxes] for entity in answer.entities
    ]


def test_links_are_read_back_even_if_the_words_have_brackets() -> None:
    answer = an_answer(r"a [big] snow\man", Box(0.25, 0.25, 0.5, 1))
    written = dialects.render(answer, "markdown")
    links = re.findall(r"(?<!\\)\[((?:[^\[\]\\]|\\.)*)\]\(([0-9.,;]*)\)", written)
    words = re.sub(r"(?<!\\)\]\([0-9.,;]*\)|(?<!\\)\[", "", written)
    assert re.sub(r"\\(.)", r"\1", words) == answer.text
    assert [re.sub(r"\\(.)", r"\1", phrase) for phrase, _ in links] == [
        entity.phrase for entity in answer.entities
    ]
    assert [len(boxes.split(";")) for _, boxes in links] == [2, 1]
    assert links[0][1].split(";")[1] == "0.25,0.25,0.5,1"


def test_a_label_cannot_break_out_of_its_place() -> None:
    label = '"><point x="1" y="2"><loc0001> ; no'
    answer = an_answer(label)
    (point, _) = dialects.render(answer, "molmo").split("\n")
    found = re.fullmatch(r'<point x="[\d.]+" y="[\d.]+" alt="([^"<>]*)">([^<>]*)</point>', point)
    assert found
    assert html.unescape(found[1]) == html.unescape(found[2]) == label
    rows = dialects.render(answer, "paligemma").split(" ; ")
    assert len(rows) == 2
    assert all(re.fullmatch(r"(<loc\d{4}>){4} [^<>;]*", row) for row in rows)


@pytest.mark.parametrize("name", dialects.DIALECTS)
def test_an_answer_without_boxes_has_a_form_too(name: str) -> None:
    asked = Entity("a dog", 0, 5)
    written = dialects.render(Grounded(text="a dog", entities=(asked,)), name)
    assert "None" not in written
    if name in ("text", "markdown", "kosmos"):
        assert written == "a dog"


# A library of others


@pytest.fixture(scope="module")
def sv() -> Any:
    return pytest.importorskip("supervision", reason="supervision reads what we write")


@pytest.mark.parametrize(
    ("vlm", "name", "more", "within_px"),
    [
        ("KOSMOS_2", "hf-kosmos", {}, 0),
        ("QWEN_3_VL", "qwen3", {}, 0.6),
        ("QWEN_2_5_VL", "qwen2.5", {"input_wh": (WIDTH, HEIGHT)}, 0.5),
        ("GOOGLE_GEMINI_2_0", "gemini", {}, 0.6),
        ("GOOGLE_GEMINI_2_5", "gemini", {}, 0.6),
        ("FLORENCE_2", "florence2", {}, 1e-3),
        ("PALIGEMMA", "paligemma", {}, 0.6),
        ("MOONDREAM", "moondream", {}, 0),
    ],
)
def test_supervision_finds_our_boxes(
    sv: Any, vlm: str, name: str, more: dict[str, Any], within_px: float
) -> None:
    answer = an_answer("a snowman", Box(0.046875, 0.5, 0.078125, 0.546875, 0.2))
    result: Any = dialects.render(answer, name)
    if name in ("hf-kosmos", "florence2", "moondream"):  # it takes these as values, not as text
        result = json.loads(result)
        result = tuple(result) if name == "hf-kosmos" else result
    found = sv.Detections.from_vlm(
        getattr(sv.VLM, vlm), result, resolution_wh=(WIDTH, HEIGHT), **more
    )
    ours = answer.boxes("px")
    assert len(found) == len(ours) == 3
    for seen, box in zip(found.xyxy.tolist(), ours):
        assert seen == pytest.approx(box, abs=within_px or 1e-9)
    if name != "moondream":  # which has no labels
        assert list(found.data["class_name"]) == ["a snowman", "a snowman", "a fire"]
    if vlm == "GOOGLE_GEMINI_2_5":
        assert found.confidence.tolist() == [0.83, 0.2, 0.41]
