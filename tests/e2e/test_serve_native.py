"""A live server's native routes: the same entities as in Python, and replies as documented."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator
from typing import Any

import jsonschema
import pytest

from kosmos2 import Grounded, Kosmos2

pytest.importorskip("fastapi", reason="the server needs the serve extra")

from doors import data_url, events, example
from serving import Server, serving

EXAMPLES = ["snowman", "drum", "hamburger", "pumpkin"]
BOX = [0.1, 0.4, 0.6, 0.9]
PHRASES = ["a snowman", "a hat", "a candle"]


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with serving() as server:
        yield server


@pytest.fixture(scope="module")
def model() -> Kosmos2:
    return Kosmos2.load("demo")


VERBS: dict[str, tuple[str, dict[str, Any], Any]] = {
    "caption": ("/v1/caption", {}, lambda m, p: m.caption(p)),
    "detailed": ("/v1/caption", {"detailed": True}, lambda m, p: m.caption(p, detailed=True)),
    "ground": ("/v1/ground", {"phrases": PHRASES}, lambda m, p: m.ground(p, PHRASES)),
    "describe": ("/v1/describe", {"box": BOX}, lambda m, p: m.describe(p, BOX)),
    "ask": (
        "/v1/ask", {"question": "What is [this]?", "boxes": [BOX]},
        lambda m, p: m.ask(p, "What is [this]?", [BOX]),
    ),
}  # fmt: skip


def facts(answer: Grounded) -> list[Any]:
    return [
        (e.phrase, e.start, e.end, [(list(b.corners), like(b.score or 0)) for b in e.boxes])
        for e in answer.entities
    ]


def like(score: float) -> Any:
    """The same to four digits, where the last may be rounded either way."""
    return pytest.approx(score, abs=1.01e-4)


def facts_of(reply: Any) -> list[Any]:
    return [
        (e["phrase"], e["start"], e["end"],
         [(b["box"], b["score"] or 0) for b in e["boxes"]])
        for e in reply["entities"]
    ]  # fmt: skip


@pytest.mark.parametrize("name", EXAMPLES)
@pytest.mark.parametrize(("path", "body", "verb"), VERBS.values(), ids=VERBS)
def test_a_server_says_what_the_python_object_says(
    model: Kosmos2, server: Server, path: str, body: dict[str, Any], verb: Any, name: str
) -> None:
    body = {"image": data_url(example(name), "jpeg"), **body}
    reply = server.client.post(path, json=body)
    assert reply.status_code == 200, reply.text
    told = reply.json()
    told = told["descriptions"][0] if path == "/v1/describe" else told
    answer = verb(model, example(name))
    assert told["text"] == answer.text
    assert facts_of(told) == facts(answer)
    stream = server.client.post(path, json={**body, "stream": True})
    whole = [json.loads(data) for event, data in events(stream.text) if event == "entity"]
    assert facts_of({"entities": [one["entity"] for one in whole]}) == facts(answer)


@pytest.mark.parametrize(
    ("path", "body"),
    [
        *((path, body) for path, body, _ in VERBS.values()),
        ("/v1/ground", {"phrases": ["a hat"], "heatmap": True, "format": "qwen3", "raw": True}),
        ("/v1/locate", {"phrases": PHRASES, "heatmap": True, "coords": "cells"}),
        ("/v1/caption", {"image": None, "image_url": ...}),
        ("/v1/query", {"image": None, "image_url": ..., "question": "What?", "reasoning": True}),
        ("/v1/detect", {"image": None, "image_url": ..., "object": "a hat"}),
        ("/v1/point", {"image": None, "image_url": ..., "object": "a hat"}),
        ("/v1/vlm/microsoft/kosmos-2", {"image": None, "messages": ...}),
        ("/v1/caption", {"detailed": "x"}),
    ],
)
def test_bodies_and_replies_are_as_the_server_documents_them(
    server: Server, path: str, body: dict[str, Any]
) -> None:
    url = data_url(example("drum"), "jpeg")
    messages = [{"role": "user", "content": f'<img src="{url}" />'}]
    filled = {"image": url, **body}
    filled = {k: (messages if k == "messages" else url) if v is ... else v
              for k, v in filled.items() if v is not None}  # fmt: skip
    schema = server.client.get("/openapi.json").json()
    operation = schema["paths"][path]["post"]

    def checker(content: Any) -> Any:
        components = {"components": schema["components"]}
        return jsonschema.Draft202012Validator(
            {**content["content"]["application/json"]["schema"], **components}
        )

    reply = server.client.post(path, json=filled)
    assert checker(operation["requestBody"]).is_valid(filled) == (reply.status_code == 200)
    checker(operation["responses"][str(reply.status_code)]).validate(reply.json())


def test_who_leaves_a_stream_frees_its_place(server: Server) -> None:
    """The answer is cancelled: it counts as such, and nobody is inside any more."""
    before = figure(server, "kosmos2_requests_cancelled_total")
    url = data_url(example("drum"), "jpeg")
    # Boxes of many phrases, one after the other: hardly over before the client has left.
    body = {"image": url, "phrases": [f"thing {at}" for at in range(60)], "stream": True}
    for _ in range(5):
        with server.client.stream("POST", "/v1/ground", json={**body, "every": True}) as reply:
            next(reply.iter_bytes())
        empty(server)
        if figure(server, "kosmos2_requests_cancelled_total") > before:
            break
    assert figure(server, "kosmos2_requests_cancelled_total") > before
    assert empty(server)


def empty(server: Server) -> bool:
    """Wait until nobody is in the engine, nor on the way into it: seen so five times in a row."""
    until, quiet = time.monotonic() + 30, 0
    while quiet < 5 and time.monotonic() < until:
        quiet = 0 if figure(server, "kosmos2_engine_running") else quiet + 1
        time.sleep(0.02)
    return quiet == 5


def figure(server: Server, name: str) -> float:
    found = re.search(rf"^{name} (\S+)$", server.client.get("/metrics").text, re.MULTILINE)
    assert found, name
    return float(found[1])
