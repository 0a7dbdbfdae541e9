"""Moondream's routes: the shapes that its official client reads, and what it is told otherwise."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from doors import data_url, door, events, example
from kosmos2 import Kosmos2

PICTURE = data_url(example("hamburger"), "jpeg")


@pytest.fixture(scope="module")
def model() -> Kosmos2:
    return Kosmos2.load("demo")


@pytest.fixture(scope="module")
def client(model: Kosmos2) -> Iterator[Any]:
    with door(model) as client:
        yield client


def asked(client: Any, path: str, **body: Any) -> Any:
    reply = client.post(path, json={"image_url": PICTURE, **body})
    assert reply.status_code == 200, reply.text
    told = reply.json()
    assert told.pop("request_id") == reply.headers["x-request-id"]
    return told


@pytest.mark.parametrize(
    ("length", "how"),
    [
        ("short", {"detailed": False}),
        ("normal", {"detailed": True}),
        ("long", {"detailed": True, "max_new_tokens": 256}),
    ],
)
def test_a_caption_has_the_length_that_was_asked_for(
    model: Kosmos2, client: Any, length: str, how: dict[str, Any]
) -> None:
    told = asked(client, "/v1/caption", length=length)
    assert told == {"caption": model.caption(example("hamburger"), **how).text}


def test_settings_of_the_client_count(model: Kosmos2, client: Any) -> None:
    settings = {"temperature": 0.0, "top_p": 0.5, "max_tokens": 6}
    told = asked(client, "/v1/caption", length="long", settings=settings)
    answer = model.caption(example("hamburger"), detailed=True, max_new_tokens=6)
    assert told == {"caption": answer.text}
    assert answer.finish == "length"


def test_a_question_is_answered_in_words_alone(model: Kosmos2, client: Any) -> None:
    question = "What is above the cup?"
    told = asked(client, "/v1/query", question=question, reasoning=False)
    assert told == {"answer": model.ask(example("hamburger"), question).text}


def test_reasoning_says_where_the_phrases_of_the_answer_are(model: Kosmos2, client: Any) -> None:
    question = "What is above the cup?"
    told = asked(client, "/v1/query", question=question, reasoning=True)
    answer = model.ask(example("hamburger"), question)
    assert answer.entities
    assert told["answer"] == told["reasoning"]["text"] == answer.text
    for pointed, entity in zip(told["reasoning"]["grounding"], answer.entities, strict=True):
        assert answer.text[pointed["start_idx"] : pointed["end_idx"]] == entity.phrase
        for (x, y), box in zip(pointed["points"], entity.boxes, strict=True):
            assert box.x1 < x < box.x2
            assert box.y1 < y < box.y2


def test_objects_and_points_are_the_boxes_of_every_thing(model: Kosmos2, client: Any) -> None:
    boxes = model.ground(example("hamburger"), "a cup", every=True).entities[0].boxes
    assert boxes
    objects = asked(client, "/v1/detect", object="a cup")
    assert objects == {
        "objects": [
            {
                "x_min": box.x1, "y_min": box.y1, "x_max": box.x2, "y_max": box.y2,
                "score": pytest.approx(box.score, abs=1e-4),
            }
            for box in boxes
        ]
    }  # fmt: skip
    points = asked(client, "/v1/point", object="a cup")
    assert points == {"points": [{"x": (b.x1 + b.x2) / 2, "y": (b.y1 + b.y2) / 2} for b in boxes]}


def test_no_more_objects_come_than_were_asked_for(client: Any) -> None:
    settings = {"max_objects": 1}
    assert len(asked(client, "/v1/detect", object="a cup", settings=settings)["objects"]) == 1


@pytest.mark.parametrize(
    ("path", "body", "field"),
    [("/v1/caption", {}, "caption"), ("/v1/query", {"question": "What is this?"}, "answer")],
)
def test_a_stream_has_the_words_in_chunks_and_then_says_that_it_is_whole(
    client: Any, path: str, body: dict[str, Any], field: str
) -> None:
    reply = client.post(path, json={"image_url": PICTURE, **body, "stream": True})
    told = [json.loads(data) for name, data in events(reply.text) if not name]
    assert told.pop() == {"completed": True}
    assert all(set(one) == {"chunk"} for one in told)
    assert "".join(one["chunk"] for one in told) == asked(client, path, **body)[field]


@pytest.mark.parametrize(
    ("path", "body", "code", "param"),
    [
        ("/v1/caption", {"length": "endless"}, "invalid_request", "length"),
        ("/v1/caption", {"image": PICTURE}, "unknown_parameter", "image"),
        ("/v1/query", {}, "missing_parameter", "question"),
        ("/v1/query", {"question": " "}, "invalid_request", "question"),
        ("/v1/query", {"question": "x", "image_url": None}, "invalid_request", "image_url"),
        ("/v1/query", {"question": "x", "spatial_refs": [[0, 0]]}, "too_many", "spatial_refs"),
        ("/v1/detect", {"object": ""}, "invalid_request", "object"),
        ("/v1/detect", {"object": "a", "stream": True}, "unknown_parameter", "stream"),
        ("/v1/point", {"object": "a", "settings": {"variant": "x"}}, "unknown_parameter",
         "settings.variant"),
        ("/v1/point", {"object": "a", "model": "moondream3"}, "model_not_found", "model"),
        ("/v1/point", {"object": "a", "image_url": "http://example.com/"}, "image_url_not_allowed",
         "image_url"),
    ],
)  # fmt: skip
def test_what_would_change_the_answer_and_is_not_done_is_refused(
    client: Any, path: str, body: dict[str, Any], code: str, param: str
) -> None:
    reply = client.post(path, json={"image_url": PICTURE, **body})
    assert reply.status_code in (400, 404), reply.text
    assert (reply.json()["error"]["code"], reply.json()["error"]["param"]) == (code, param)


def test_a_question_without_a_picture_is_refused(client: Any) -> None:
    reply = client.post("/v1/query", json={"question": "What is love?"})
    assert reply.json()["error"]["code"] == "missing_parameter"
    assert reply.json()["error"]["param"] == "image_url"
