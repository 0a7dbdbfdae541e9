"""The native routes answer as the Python object does, in every unit, whole and as a stream."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from typing import Any

import jsonschema
import pytest

from doors import data_url, door, events, example, random_model
from kosmos2 import Grounded, Kosmos2, dialects
from kosmos2.engine import Cancelled
from kosmos2.geometry import cells_of

PICTURE = data_url(example(), "jpeg")
BOX = [0.1, 0.1, 0.6, 0.6]


@pytest.fixture(scope="module")
def model() -> Kosmos2:
    return Kosmos2.load("demo")


@pytest.fixture(scope="module")
def client(model: Kosmos2) -> Iterator[Any]:
    with door(model) as client:
        yield client


def asked(client: Any, path: str, **body: Any) -> Any:
    reply = client.post(path, json={"image": PICTURE, **body})
    assert reply.status_code == 200, reply.text
    return reply.json()


def same(reply: Any, answer: Grounded, coords: str = "norm01") -> None:
    """The reply says what the answer says."""
    assert reply["text"] == answer.text
    assert reply["finish"] == answer.finish
    assert [
        (e["index"], e["phrase"], e["start"], e["end"], [b["score"] for b in e["boxes"]])
        for e in reply["entities"]
    ] == [
        (index, e.phrase, e.start, e.end, [pytest.approx(box.score, abs=1e-4) for box in e.boxes])
        for index, e in enumerate(answer.entities)
    ]
    size = answer.image.width, answer.image.height
    for told, entity in zip(reply["entities"], answer.entities):
        for one, box in zip(told["boxes"], entity.boxes):
            assert one["box"] == dialects.coordinates(box, coords, *size)
            assert one["cells"] == list(cells_of(box))


VERBS: dict[str, tuple[str, dict[str, Any], Any]] = {
    "caption": ("/v1/caption", {}, lambda m, p: m.caption(p)),
    "caption in detail": (
        "/v1/caption", {"detailed": True}, lambda m, p: m.caption(p, detailed=True),
    ),
    "caption without boxes": (
        "/v1/caption", {"grounded": False}, lambda m, p: m.caption(p, grounded=False),
    ),
    "ground": (
        "/v1/ground", {"phrases": ["a snowman", "a balloon", "a zebra"]},
        lambda m, p: m.ground(p, ["a snowman", "a balloon", "a zebra"]),
    ),
    "ground every": (
        "/v1/ground", {"phrases": ["a snowman"], "every": True, "max_boxes": 3, "min_score": 0.2},
        lambda m, p: m.ground(p, "a snowman", every=True, max_boxes=3, min_score=0.2),
    ),
    "ground at any price": (
        "/v1/ground", {"phrases": ["a snowman", "a zebra"], "min_presence": 0.0},
        lambda m, p: m.ground(p, ["a snowman", "a zebra"], min_presence=0.0),
    ),
    "ask": (
        "/v1/ask", {"question": "What is below the snowman?"},
        lambda m, p: m.ask(p, "What is below the snowman?"),
    ),
    "ask about a box": (
        "/v1/ask", {"question": "What is [this]?", "boxes": [BOX]},
        lambda m, p: m.ask(p, "What is [this]?", [BOX]),
    ),
    "ask about boxes": (
        "/v1/ask", {"question": "What are [they] and [it]?", "boxes": [[BOX, BOX], [BOX]]},
        lambda m, p: m.ask(p, "What are [they] and [it]?", [[BOX, BOX], [BOX]]),
    ),
    "a cut answer": (
        "/v1/caption", {"max_tokens": 4}, lambda m, p: m.caption(p, max_new_tokens=4),
    ),
    "a sampled answer": (
        "/v1/caption", {"temperature": 1.0, "top_p": 0.9, "seed": 7},
        lambda m, p: m.caption(p, temperature=1.0, top_p=0.9, seed=7),
    ),
}  # fmt: skip


@pytest.mark.parametrize(("path", "body", "verb"), VERBS.values(), ids=VERBS)
def test_a_route_says_what_the_verb_says(
    model: Kosmos2, client: Any, path: str, body: dict[str, Any], verb: Any
) -> None:
    answer = verb(model, example())
    reply = asked(client, path, **body)
    same(reply, answer)
    usage = reply["usage"]
    assert usage["completion_tokens"] == answer.tokens
    assert usage["total_tokens"] == usage["prompt_tokens"] + usage["completion_tokens"]
    assert usage["prompt_tokens_details"]["image_tokens"] % model.config.latents == 0
    assert reply["model"] == "kosmos-2-demo"


@pytest.mark.parametrize(("path", "body", "verb"), VERBS.values(), ids=VERBS)
def test_a_stream_adds_up_to_the_reply(
    client: Any, path: str, body: dict[str, Any], verb: Any
) -> None:
    whole = asked(client, path, **body)
    reply = client.post(path, json={"image": PICTURE, **body, "stream": True})
    assert reply.headers["content-type"].startswith("text/event-stream")
    told = [(name, json.loads(data)) for name, data in events(reply.text)]
    assert "".join(data["text"] for name, data in told if name == "text") == whole["text"]
    assert [d["entity"] for name, d in told if name == "entity"] == whole["entities"]
    assert [name for name, _ in told].index("done") == len(told) - 1
    assert said(told[-1][1]) == said(whole)
    assert told[-1][1]["request_id"] == reply.headers["x-request-id"]


def said(reply: Any) -> Any:
    """A reply without what may differ from one time to the next."""
    reply = {**reply, "request_id": "", "usage": {**reply["usage"], "prompt_tokens_details": {}}}
    return json.loads(json.dumps(reply), parse_float=lambda number: round(float(number), 4))


@pytest.mark.parametrize("coords", dialects.COORDINATES)
def test_boxes_go_in_and_out_in_the_unit_that_is_named(
    model: Kosmos2, client: Any, coords: str
) -> None:
    answer = model.caption(example())
    reply = asked(client, "/v1/caption", coords=coords)
    same(reply, answer, coords)
    assert (reply["coords"], reply["unit"]) == (coords, dialects.unit_of(coords))
    size = answer.image.width, answer.image.height
    assert reply["image"] == {"width": size[0], "height": size[1], "rotated": 0}
    box = answer.entities[0].boxes[0]
    numbers = dialects.coordinates(box, coords, *size)
    described = asked(client, "/v1/describe", box=numbers, coords=coords)["descriptions"]
    assert [one["box"] for one in described] == [numbers]
    same(described[0], model.describe(example(), box), coords)


def test_several_boxes_are_described_in_their_order(model: Kosmos2, client: Any) -> None:
    boxes = [BOX, [0.4, 0.4, 0.9, 0.9], [0, 0, 1, 0.5]]
    reply = asked(client, "/v1/describe", boxes=boxes)
    assert [one["box"] for one in reply["descriptions"]] == boxes
    for one, box in zip(reply["descriptions"], boxes):
        same(one, model.describe(example(), box))
    stream = client.post("/v1/describe", json={"image": PICTURE, "boxes": boxes, "stream": True})
    told = [(name, json.loads(data)) for name, data in events(stream.text)]
    for at, one in enumerate(reply["descriptions"]):
        words = [data["text"] for name, data in told if name == "text" and data["answer"] == at]
        assert "".join(words) == one["text"]
    assert said(told[-1][1]) == said(reply)


def test_an_answer_is_told_in_another_dialect_and_as_markup_too(
    model: Kosmos2, client: Any
) -> None:
    answer = model.caption(example())
    reply = asked(client, "/v1/caption", format="kosmos", raw=True)
    assert reply["content"] == dialects.render(answer, "kosmos")
    assert reply["markup"] == answer.markup
    reply = asked(client, "/v1/caption")
    assert (reply["content"], reply["markup"]) == (None, None)


def test_places_are_weighed_as_locate_weighs_them(model: Kosmos2, client: Any) -> None:
    phrases = ["a snowman", "a balloon"]
    how = {"best": 3, "refine": False, "overlap": 0.3}
    reply = asked(client, "/v1/locate", phrases=phrases, coords="px", heatmap=True, **how)
    found = model.locate(example(), phrases, **how)
    assert [place["phrase"] for place in reply["places"]] == phrases
    for told, place in zip(reply["places"], found):
        assert told["presence"] == pytest.approx(place.presence, abs=1e-4)
        size = reply["image"]["width"], reply["image"]["height"]
        assert [one["box"] for one in told["boxes"]] == [
            pytest.approx(box.scaled("px", *size)) for box in place.boxes
        ]
        assert told["heat"] == [pytest.approx(row, abs=1e-4) for row in place.heat]
    alone = asked(client, "/v1/locate", phrase="a snowman", **how)["places"]
    assert [place["heat"] for place in alone] == [None]


def test_a_grounding_can_bring_heat_maps(model: Kosmos2, client: Any) -> None:
    reply = asked(client, "/v1/ground", phrases=["a balloon", "a snowman"], heatmap=True)
    found = model.locate(example(), ["a balloon", "a snowman"])
    assert [heat["phrase"] for heat in reply["heat"]] == ["a balloon", "a snowman"]
    for heat, place in zip(reply["heat"], found):
        assert heat["heat"] == [pytest.approx(row, abs=1e-4) for row in place.heat]


def test_a_whole_number_may_be_written_with_a_point(client: Any) -> None:
    assert said(asked(client, "/v1/caption", max_tokens=4.0)) == said(
        asked(client, "/v1/caption", max_tokens=4)
    )
    reply = client.post("/v1/caption", json={"image": PICTURE, "max_tokens": 4.5})
    assert reply.json()["error"]["param"] == "max_tokens"


def test_a_picture_may_stand_in_an_object(client: Any) -> None:
    assert said(asked(client, "/v1/caption", image={"url": PICTURE})) == said(
        asked(client, "/v1/caption")
    )


REFUSED: dict[str, tuple[str, dict[str, Any], str, str | None]] = {
    "no picture": ("/v1/caption", {"image": None}, "invalid_request", "image"),
    "a picture elsewhere": (
        "/v1/caption", {"image": "https://example.com/a.png"}, "image_url_not_allowed", "image",
    ),
    "words for a picture": (
        "/v1/ask", {"image": {"url": "x"}, "question": "x"}, "image_url_", "image.url",
    ),
    "an unknown field": ("/v1/caption", {"detail": True}, "unknown_parameter", "detail"),
    "an unknown unit": ("/v1/caption", {"coords": "norm1"}, "invalid_request", "coords"),
    "an unknown dialect": ("/v1/caption", {"format": "latin"}, "invalid_request", "format"),
    "a number as a text": ("/v1/caption", {"max_tokens": "5"}, "invalid_request", "max_tokens"),
    "another model": ("/v1/caption", {"model": "gpt-4o"}, "model_not_found", "model"),
    "no phrases": ("/v1/ground", {"phrases": []}, "invalid_request", "phrases"),
    "a blank phrase": ("/v1/ground", {"phrases": ["a", " "]}, "invalid_request", "phrases[1]"),
    "too many phrases": ("/v1/ground", {"phrases": ["a"] * 65}, "too_many", "phrases"),
    "no box": ("/v1/describe", {}, "invalid_request", None),
    "both": ("/v1/describe", {"box": BOX, "boxes": [BOX]}, "invalid_request", None),
    "an inverted box": ("/v1/describe", {"box": [0.9, 0, 0.1, 1]}, "box_invalid", "box"),
    "the second box": (
        "/v1/describe", {"boxes": [BOX, [2, 2, 3, 3]]}, "box_invalid", "boxes[1]",
    ),
    "a box of three": ("/v1/describe", {"box": [0, 0, 1]}, "box_invalid", "box"),
    "a box too few": (
        "/v1/ask", {"question": "[a] or [b]?", "boxes": [BOX]}, "prompt_invalid", "question",
    ),
    "an empty box of boxes": (
        "/v1/ask", {"question": "[a]?", "boxes": [[]]}, "invalid_request", "boxes[0]",
    ),
    "the box of a phrase": (
        "/v1/ask", {"question": "[a]?", "boxes": [[BOX, [1, 1, 0, 0]]]}, "box_invalid",
        "boxes[0][1]",
    ),
    "a question too long": (
        "/v1/ask", {"question": "why " * 5000}, "context_length_exceeded", None,
    ),
    "no phrase": ("/v1/locate", {}, "invalid_request", None),
    "none best": ("/v1/locate", {"phrase": "a", "best": 0}, "invalid_request", "best"),
}  # fmt: skip


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(("path", "body", "code", "param"), REFUSED.values(), ids=REFUSED)
def test_what_cannot_be_answered_is_refused_before_a_stream_begins(
    client: Any, path: str, body: dict[str, Any], code: str, param: str | None, stream: bool
) -> None:
    if stream and path == "/v1/locate":
        code, param = "unknown_parameter", "stream"
        body = {"phrase": "a"}
    reply = client.post(
        path, json={"image": PICTURE, **body, **({"stream": True} if stream else {})}
    )
    assert reply.status_code in (400, 404)
    error = reply.json()["error"]
    assert error["code"].startswith(code)
    assert error["param"] == param


def test_a_form_is_not_taken(client: Any) -> None:
    reply = client.post("/v1/caption", files={"image": example()})
    assert reply.status_code == 415
    assert reply.json()["error"]["code"] == "unsupported_media_type"


def test_the_description_of_captions_tells_both_kinds_apart(client: Any) -> None:
    schema = client.get("/openapi.json").json()
    body = schema["paths"]["/v1/caption"]["post"]["requestBody"]["content"]["application/json"]
    checker = jsonschema.Draft202012Validator(
        {**body["schema"], "components": schema["components"]}
    )
    for good in ({"image": "x"}, {"image": {"url": "x"}, "detailed": True}, {"image_url": "x"}):
        checker.validate(good)
    for bad in ({}, {"image": "x", "image_url": "x"}, {"image_url": "x", "detailed": True}):
        assert not checker.is_valid(bad), bad
        reply = client.post("/v1/caption", json=bad)
        assert reply.status_code == 400


def test_a_client_that_leaves_a_stream_ends_the_answer() -> None:
    """Over ASGI by hand: the client goes away after the first piece of the stream."""
    from kosmos2.serve.app import create_app
    from kosmos2.serve.settings import Limits, Settings

    app = create_app(Settings(open=True, limits=Limits(decode_workers=1)), model=random_model())
    answering = app.state.desk.answering
    begun: list[Any] = []
    answer = answering.answer
    answering.answer = lambda *given, **more: begun.append(answer(*given, **more)) or begun[-1]
    body = json.dumps({"image": PICTURE, "stream": True, "max_tokens": 250}).encode()

    async def leave() -> None:
        gone = asyncio.Event()
        waiting = [{"type": "http.request", "body": body, "more_body": False}]

        async def receive() -> Any:
            if waiting:
                return waiting.pop()
            await gone.wait()
            return {"type": "http.disconnect"}

        async def send(message: Any) -> None:
            if message["type"] == "http.response.body":
                gone.set()
                await asyncio.sleep(0)  # somebody else's turn, as with a socket

        scope = {
            "type": "http", "method": "POST", "path": "/v1/caption", "raw_path": b"/v1/caption",
            "query_string": b"", "root_path": "", "scheme": "http", "http_version": "1.1",
            "headers": [
                (b"host", b"127.0.0.1"), (b"content-type", b"application/json"),
                (b"content-length", str(len(body)).encode()),
            ],
            "client": ("127.0.0.1", 1), "server": ("127.0.0.1", 80),
            "asgi": {"version": "3.0", "spec_version": "2.3"},
        }  # fmt: skip
        async with app.router.lifespan_context(app):
            await app(scope, receive, send)
            (ticket,) = begun[0].tickets
            assert isinstance(ticket.error, Cancelled)

    asyncio.run(leave())


def test_what_breaks_in_the_midst_of_a_stream_is_told_as_its_last_event(
    client: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from kosmos2.serve.routes import native

    def broken(*_: Any) -> Any:
        raise RuntimeError("a path, a name, a secret")

    monkeypatch.setattr(native, "entity_reply", broken)
    reply = client.post("/v1/caption", json={"image": PICTURE, "stream": True})
    told = events(reply.text)
    assert told[0][0] == "text"
    name, data = told[-1]
    assert (name, json.loads(data)["error"]["code"]) == ("error", "internal")
    assert "secret" not in reply.text
