"""Answers are written in the shape that was asked for, and a schema holds whatever was found."""

from __future__ import annotations

import json
from typing import Any

import pytest

pytest.importorskip("fastapi", reason="the server needs the serve extra")

from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel

from kosmos2 import Kosmos2
from kosmos2.dialects import DIALECTS, unit_of
from kosmos2.engine import Token
from kosmos2.geometry import box_of
from kosmos2.grounder import tasks
from kosmos2.markup import Entity, Problem, Text, parse
from kosmos2.result import Grounded, ImageSize
from kosmos2.serve.answers import Answered, Usage
from kosmos2.serve.conversation import Conversation, Shown, Turn
from kosmos2.serve.errands import errand
from kosmos2.serve.failures import Refused
from kosmos2.serve.rendering import Logprobs, Manner
from kosmos2.serve.schemas import recognise
from kosmos2.serve.settings import Limits
from kosmos2.serve.speech import Speech
from kosmos2.serve.wire.parts import GroundingReply, GroundingWish

SIZE = ImageSize(640, 480)
CAT = Entity("a cat", 0, 5, (box_of(36, 493, 0.5), box_of(0, 1023, 0.25)))
DOG = Entity("a dog", 10, 15, (box_of(100, 400, 0.75),))
ANSWER = Grounded(text="a cat and a dog", entities=(CAT, DOG), image=SIZE)
NOTHING = Grounded(text="nothing", image=SIZE)

NUMBERS = {"type": "array", "items": {"type": "number"}}
WHOLE = {"type": "array", "items": {"type": "integer"}, "minItems": 4, "maxItems": 4}
LABEL = {"type": "string"}


def thing(**properties: Any) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


def listed(item: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"type": "array", "items": item, **more}


class Found(BaseModel):
    label: str
    bbox: tuple[float, float, float, float]
    score: float | None


class Corner(BaseModel):
    x1: int
    y1: int
    x2: int
    y2: int


class Framed(BaseModel):
    phrase: str
    box: Corner


class Everything(BaseModel):
    """What a client makes of a class of its own."""

    caption: str
    things: list[Found]


class Frames(BaseModel):
    objects: list[Framed]


SCHEMAS = {
    "a list": listed(thing(bbox_2d=WHOLE, label=LABEL)),
    "a list of bare boxes": listed(NUMBERS),
    "an object around it": thing(objects=listed(thing(box_2d=WHOLE, label=LABEL))),
    "with the words": thing(caption=LABEL, boxes=listed(thing(box=NUMBERS, phrase=LABEL))),
    "sides": listed(
        thing(**{n: {"type": "number"} for n in ("x_min", "y_min", "x_max", "y_max")}, name=LABEL)
    ),
    "sides of a box": listed(
        thing(box=thing(**{n: {"type": "integer"} for n in ("left", "top", "right", "bottom")}))
    ),
    "scores": listed(
        thing(bbox=NUMBERS, confidence={"type": "number", "minimum": 0, "maximum": 1})
    ),
    "limits": listed(
        thing(bbox={"type": "array", "items": {"type": "number", "minimum": 0, "maximum": 1}}),
        maxItems=2,
    ),
    "percent": listed(
        thing(bbox={"type": "array", "items": {"type": "integer", "minimum": 0, "maximum": 100}})
    ),
    "what may be missing": {
        "type": "array",
        "items": {
            "properties": {"bbox": NUMBERS, "age": {"type": "integer"}, "mood": {"enum": ["glad"]}},
            "required": ["bbox"],
        },
    },
    "a class": Everything.model_json_schema(),
    "a class in a class": Frames.model_json_schema(),
}

cells = st.integers(0, 1023)


@st.composite
def answers(draw: st.DrawFn) -> Grounded:
    """Whatever a model may have found."""
    text, entities = "", []
    for phrase in draw(st.lists(st.text(max_size=8), max_size=4)):
        rows = draw(st.lists(st.tuples(cells, cells, st.floats(0, 1)), max_size=3))
        boxes = [
            box_of(min(a // 32, b // 32) * 32 + min(a % 32, b % 32),
                   max(a // 32, b // 32) * 32 + max(a % 32, b % 32), score)
            for a, b, score in rows
        ]  # fmt: skip
        entities.append(Entity(phrase, len(text), len(text) + len(phrase), tuple(boxes)))
        text += phrase
    return Grounded(text=text, entities=tuple(entities), image=SIZE)


@pytest.mark.parametrize("name", SCHEMAS)
@pytest.mark.parametrize("coords", ["norm01", "px", "gemini", "cells"])
def test_a_recognised_schema_holds_whatever_was_found(name, coords):
    jsonschema = pytest.importorskip("jsonschema", reason="jsonschema checks what was written")
    check = jsonschema.Draft202012Validator(SCHEMAS[name])
    schema = recognise(SCHEMAS[name], coords, param="p")

    @settings(max_examples=20)
    @given(answer=answers())
    def held(answer: Grounded) -> None:
        check.validate(json.loads(json.dumps(schema.write(answer))))

    held()


def test_what_a_class_asks_for_is_what_it_gets():
    found = Everything.model_validate(
        recognise(SCHEMAS["a class"], "norm01", param="p").write(ANSWER)
    )
    assert found.caption == ANSWER.text
    assert [thing.label for thing in found.things] == ["a cat", "a cat", "a dog"]
    assert found.things[2].bbox == DOG.boxes[0].corners
    assert [thing.score for thing in found.things] == [0.5, 0.25, 0.75]


def test_names_of_boxes_keep_the_meaning_their_families_gave_them():
    x1, y1, x2, y2 = (round(1000 * value) for value in DOG.boxes[0].corners)
    for name, box in (("bbox_2d", [x1, y1, x2, y2]), ("box_2d", [y1, x1, y2, x2])):
        schema = recognise(listed(thing(**{name: WHOLE})), "px", param="p")
        assert schema.write(ANSWER)[2] == {name: box}
        assert "thousandths" in schema.unit


def test_other_boxes_are_in_the_unit_of_the_request_unless_their_limits_say_more():
    limited = {"type": "array", "items": {"type": "number", "maximum": 100}}
    for box, coords, unit in (
        (NUMBERS, "norm01", "norm01"),
        (NUMBERS, "px", "px"),
        (WHOLE, "norm01", "norm1000"),  # no whole number lies within a fraction
        (WHOLE, "percent", "percent"),
        (limited, "norm01", "percent"),
    ):
        assert recognise(listed(thing(bbox=box)), coords, param="p").unit == unit_of(unit)


def test_one_thing_alone_is_the_surest_or_none():
    schema = recognise(thing(label=LABEL, bbox=NUMBERS), "norm01", param="p")
    assert schema.write(ANSWER) == {"label": "a dog", "bbox": list(DOG.boxes[0].corners)}
    assert schema.write(NOTHING) is None


@pytest.mark.parametrize(
    "schema",
    [
        {},
        {"type": "object"},
        {"type": "array"},
        {"type": "string"},
        thing(answer=LABEL),
        listed(thing(label=LABEL)),
        listed(thing(bbox=NUMBERS), minItems=1),
        listed(thing(bbox=NUMBERS), uniqueItems=True),
        listed(thing(bbox=NUMBERS, label={"type": "string", "enum": ["cat", "dog"]})),
        listed(thing(bbox=NUMBERS, label={"type": "string", "pattern": "^a"})),
        listed(thing(bbox=NUMBERS, age={"type": "integer"})),
        listed(thing(bbox={"type": "array", "items": {"type": "string"}})),
        listed(thing(bbox={"type": "array", "items": {"type": "number"}, "maxItems": 3})),
        listed(thing(bbox={"type": "array", "items": {"type": "number", "minimum": 0.5}})),
        listed(thing(bbox={"type": "array", "items": {"type": "number", "multipleOf": 2}})),
        listed(thing(bbox={"type": "array", "items": {"type": "number", "maximum": []}})),
        listed(thing(bbox={"type": "array", "items": {"type": ["number", "string"]}})),
        listed({**thing(bbox=NUMBERS), "required": ["bbox", "other"]}),
        listed({**thing(bbox=NUMBERS), "required": "bbox"}),
        listed({**thing(bbox=NUMBERS), "properties": []}),
        listed({**thing(bbox=NUMBERS), "not": {}}),
        {"$ref": "#"},
        {"$ref": "#/$defs/A", "$defs": {"A": {"$ref": "#/$defs/A"}}},
        {"$ref": "https://example.com/schema"},
        {"anyOf": [listed(NUMBERS), thing(answer=LABEL)]},
        {"type": {}, "properties": 3},
        thing(**{f"p{at}": NUMBERS for at in range(100)}),
    ],
    ids=str,
)
def test_any_other_schema_is_refused(schema):
    with pytest.raises(Refused) as caught:
        recognise(schema, "norm01", param="p")
    assert (caught.value.code, caught.value.param) == ("unsupported_value", "p")


def manner(kind: Any = "text", schema: Any = None, *, pictures: int = 1, **wish: Any) -> Manner:
    talk = Conversation((Turn(("caption", *[Shown("data:,", "p")] * pictures)),), False, "messages")
    job = errand(talk, GroundingWish.model_validate(wish), Limits())
    return Manner.of(job, kind, schema)


def test_words_are_told_as_they_are_unless_something_else_was_wanted():
    assert manner().plain
    assert manner(format="text").plain
    assert manner().content(ANSWER) == ANSWER.text
    for other in (
        manner("json_object"),
        manner(format="qwen3"),
        manner("json_schema", SCHEMAS["a list"]),
    ):
        assert not other.plain
        assert other.grounding(ANSWER, None)["text"] == ANSWER.text  # spans count in this


@pytest.mark.parametrize("name", DIALECTS)
def test_every_dialect_can_be_asked_for(name):
    content = manner(format=name).content(ANSWER)
    assert content is not None
    assert "cat" in content or name == "moondream"


def test_a_slip_that_a_dialect_cannot_write_is_told_in_words():
    crossed = Grounded(text="a cat", entities=(CAT, CAT), image=SIZE)
    assert manner(format="kosmos").content(crossed) == "a cat"


def test_a_json_object_is_the_grounding():
    found = json.loads(manner("json_object", coords="px").content(ANSWER) or "")
    assert found["entities"][1]["boxes"][0]["box"] == list(DOG.boxes[0].scaled("px", 640, 480))
    assert (found["coords"], found["unit"]) == ("px", unit_of("px"))


def test_the_grounding_is_what_its_document_says():
    answer = Grounded(
        text="a cat",
        entities=(CAT,),
        image=SIZE,
        markup="<phrase>",
        problems=(Problem("empty_object", 3, ""),),
    )
    told = manner(coords="cells", raw=True, task="caption").grounding(answer, None)
    GroundingReply.model_validate(told)
    assert told["entities"][0]["boxes"][0]["box"] == told["entities"][0]["boxes"][0]["cells"]
    assert told["markup"] == "<phrase>"
    assert told["warnings"] == ["empty_object: an object without locations"]


def test_pixels_of_no_picture_are_refused():
    for wish in ({"coords": "px"}, {"format": "roboflow"}):
        with pytest.raises(Refused) as caught:
            manner(pictures=0, task="complete", **wish)
        assert caught.value.code == "unsupported_value"


def test_two_ways_to_write_at_once_are_refused():
    with pytest.raises(Refused):
        manner("json_object", format="qwen3")


# Speeches


def said_of(phrase: str, boxed: bool) -> list[Any]:
    """What comes of one phrase, in order."""
    entity = Entity(phrase, 0, len(phrase), (box_of(0, 99, 0.5),))
    answer = Grounded(text=phrase, entities=(entity,) if boxed else (), image=SIZE)
    usage = Usage(prompt=70, completion=2, cached=60, image=64)
    token = Token(id=9, logprob=-0.5)
    end = Answered(grounded=answer, tokens=(token,), usage=usage)
    return [Text(phrase), token, *([entity] if boxed else []), end]


@given(boxed=st.lists(st.booleans(), min_size=1, max_size=4), data=st.data())
def test_phrases_are_told_in_order_however_their_answers_come(boxed, data):
    phrases = [f"thing {at}" for at in range(len(boxed))]
    each = [said_of(*one) for one in zip(phrases, boxed)]
    turns = [at for at, said in enumerate(each) for _ in said]
    speech, told = Speech(len(each), phrases), []
    for at in data.draw(st.permutations(turns)):
        assert not speech.done
        told += speech.hear(at, each[at].pop(0))
    assert speech.done
    whole = speech.whole()
    assert "".join(one.text for one in told if isinstance(one, Text)) == whole.text
    assert tuple(one for one in told if isinstance(one, Entity)) == whole.entities
    assert [entity.phrase for entity in whole.entities] == phrases
    assert [bool(entity.boxes) for entity in whole.entities] == boxed
    assert all(whole.text[e.start : e.end] == e.phrase for e in whole.entities)
    assert speech.usage == Usage(
        prompt=70 * len(each), completion=2 * len(each), cached=60 * len(each), image=64 * len(each)
    )


def test_one_ask_is_told_as_it_comes():
    markup = (
        "An image of<phrase> a cat</phrase><object><patch_index_0000><patch_index_0099></object>."
    )
    parsed = parse(markup)
    answer = Grounded(text=parsed.text, entities=parsed.entities)
    speech = Speech(1, ())
    end = Answered(grounded=answer, tokens=(), usage=Usage())
    told = [*speech.hear(0, Text(parsed.text)), *speech.hear(0, parsed.entities[0])]
    assert told == [Text(parsed.text), parsed.entities[0]]
    assert list(speech.hear(0, end)) == []
    assert speech.whole() == tasks.together([answer])


# Probabilities of tokens


def test_tokens_are_told_with_their_bytes_but_places_have_none(tiny_model: Kosmos2):
    tokenizer = tiny_model.tokenizer
    (cat,) = tokenizer.encode("cat")[:1]
    place, end = tokenizer.cell(44), tokenizer.eos
    tokens = [
        Token(id=cat, logprob=-0.5, top=((cat, -0.5), (place, -2.0))),
        Token(id=place, logprob=-1e9),
        Token(id=end, logprob=-0.1),
    ]
    first, second = Logprobs(tokenizer)(tokens)  # the end is no part of the text
    assert bytes(first["bytes"]).decode() == first["token"]
    assert first["token"].startswith(" ")
    assert [one["bytes"] for one in first["top_logprobs"]] == [first["bytes"], None]
    assert (second["token"], second["bytes"]) == ("<patch_index_0044>", None)
    assert second["logprob"] == -9999.0
    (_, other) = Logprobs(tokenizer, bytes_of_locations=True)(tokens)
    assert bytes(other["bytes"]).decode() == "<patch_index_0044>"
