"""An answer as a value: out to plain data and back, in every unit."""

import json
from dataclasses import FrozenInstanceError, dataclass

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kosmos2.errors import InputError
from kosmos2.geometry import COORDS, Box, box_of
from kosmos2.markup import Entity, Problem, parse, reference_extract
from kosmos2.result import Grounded, ImageSize

CAPTION = (
    "<grounding> An image of<phrase> a snowman</phrase><object><patch_index_0044>"
    "<patch_index_0863></object> warming himself by<phrase> a fire</phrase>"
    "<object><patch_index_0005><patch_index_0911></object>."
)
TWO_BOXES = (
    "<grounding><phrase> two dogs</phrase><object><patch_index_0079><patch_index_1016>"
    "</delimiter_of_multi_objects/><patch_index_0135><patch_index_1008></object> play"
)
NAMELESS = (
    "<grounding> see<object><patch_index_0003><patch_index_0004></delimiter_of_multi_objects/>"
    "<patch_index_0005><patch_index_0006></object> here"
)


@dataclass
class OnePixel:
    width: int = 640
    height: int = 480

    def jpeg(self) -> bytes:
        return b"not really"


def read(markup: str, **more) -> Grounded:
    parsed = parse(markup)
    return Grounded(
        text=parsed.text,
        entities=parsed.entities,
        problems=parsed.problems,
        markup=markup,
        **more,
    )


ANSWER = Grounded(
    text="a dog, 2 cats <b>",
    entities=(
        Entity("a dog", 0, 5, (box_of(44, 863, 0.83),)),
        Entity("2 cats", 7, 13, (box_of(0, 1), box_of(100, 300, 0.25))),
        Entity("", 13, 13, (box_of(3, 4),)),
        Entity("dog", 2, 5),
    ),
    problems=(Problem("lone_location", 9, "a location outside an object"),),
    markup="<phrase> a dog</phrase>…",
    finish="length",
    prompt="<grounding>",
    model="demo",
    image=ImageSize(641, 479),
    tokens=12,
)


@pytest.mark.parametrize("coords", COORDS)
def test_an_answer_survives_json_in_every_unit(coords):
    back = Grounded.from_dict(json.loads(json.dumps(ANSWER.to_dict(coords))))
    for ours, theirs in zip(ANSWER.boxes(), back.boxes(), strict=True):
        assert ours == pytest.approx(theirs, abs=1e-12)
    # Everything but the last bits of the corners is the same.
    assert back.to_dict() | {"entities": 0} == ANSWER.to_dict() | {"entities": 0}
    assert [(e.phrase, e.start, e.end, [b.score for b in e.boxes]) for e in back.entities] == [
        (e.phrase, e.start, e.end, [b.score for b in e.boxes]) for e in ANSWER.entities
    ]


def test_fractions_survive_exactly():
    assert Grounded.from_dict(ANSWER.to_dict()) == ANSWER


def test_the_keys_that_others_rely_on_are_there():
    values = ANSWER.to_dict("px")
    assert {
        "text", "markup", "entities", "problems", "coords", "image", "model", "finish",
    } <= values.keys()  # fmt: skip
    assert values["coords"] == "px"
    assert values["image"] == {"width": 641, "height": 479}
    first = values["entities"][0]
    assert first.keys() == {"phrase", "start", "end", "boxes"}
    assert first["boxes"][0]["box"] == [
        0.390625 * 641,
        0.046875 * 479,
        0.984375 * 641,
        0.828125 * 479,
    ]
    assert first["boxes"][0]["score"] == 0.83
    assert values["problems"][0].keys() == {"kind", "at", "detail"}


def test_the_size_comes_from_the_picture_and_the_picture_is_no_part_of_the_value():
    seen = read(CAPTION, picture=OnePixel())
    assert seen.image == ImageSize(640, 480)
    assert seen == read(CAPTION, image=ImageSize(640, 480))
    assert "OnePixel" not in repr(seen)


def test_pixels_without_a_size_are_refused():
    with pytest.raises(InputError, match="size"):
        read(CAPTION).to_dict("px")
    values = ANSWER.to_dict("px") | {"image": None}
    with pytest.raises(InputError, match="size"):
        Grounded.from_dict(values)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"text": 3}, "'text'"),
        ({"finish": "tired"}, "tired"),
        ({"coords": "inches"}, "inches"),
        ({"image": {"width": 0, "height": 3}}, "0 x 3"),
        ({"image": {"width": 3}}, "no 'height'"),
        ({"entities": [{"phrase": "a", "start": 0}]}, "no 'end'"),
        ({"entities": [3]}, "3 stands"),
        ({"entities": {}}, "'entities'"),
        ({"entities": [{"phrase": "", "start": 0, "end": 0, "boxes": [{"box": [1]}]}]}, "not 1"),
        ({"problems": [{"kind": "x", "at": True}]}, "'at'"),
    ],
)
def test_data_that_is_no_answer_is_refused_by_name(change, says):
    with pytest.raises(InputError, match=says):
        Grounded.from_dict(ANSWER.to_dict() | change)


def test_an_answer_needs_only_its_text():
    assert Grounded.from_dict({"text": "hi"}) == Grounded(text="hi")
    with pytest.raises(InputError, match="no 'text'"):
        Grounded.from_dict({})
    with pytest.raises(InputError, match="list"):
        Grounded.from_dict([])


@pytest.mark.parametrize("markup", [CAPTION, TWO_BOXES, NAMELESS])
def test_the_tuple_is_the_one_of_the_reference(markup):
    ours, theirs = read(markup).to_tuple(), reference_extract(markup)
    assert [(name, boxes) for name, _, boxes in ours[1]] == [
        (name, boxes) for name, _, boxes in theirs[1]
    ]
    if markup != NAMELESS:  # there the reference keeps two spaces where the box stood
        assert ours == theirs


def test_an_answer_cannot_be_changed():
    with pytest.raises(FrozenInstanceError):
        ANSWER.text = "other"


fractions = st.floats(0, 1)
boxes = st.builds(Box, fractions, fractions, fractions, fractions, st.none() | fractions)
entities = st.builds(
    Entity, st.text(), st.integers(0, 99), st.integers(0, 99), st.lists(boxes).map(tuple)
)


@settings(deadline=None)
@given(st.text(), st.lists(entities, max_size=4), st.sampled_from(COORDS))
def test_any_answer_survives(text, found, coords):
    answer = Grounded(text=text, entities=tuple(found), image=ImageSize(123, 4567))
    back = Grounded.from_dict(answer.to_dict(coords))
    assert back.text == answer.text
    for ours, theirs in zip(answer.boxes(), back.boxes(), strict=True):
        assert ours == pytest.approx(theirs, abs=1e-12)


def test_a_notebook_shows_the_picture_where_there_is_one_and_the_text_anyway():
    with_picture = read(CAPTION, picture=OnePixel())._repr_html_()
    without = read(CAPTION)._repr_html_()
    assert "data:image/jpeg;base64,bm90IHJlYWxseQ==" in with_picture
    assert "<svg" not in without
    assert "a snowman" in with_picture
    assert "a snowman" in without
