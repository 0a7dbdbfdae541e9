"""Code written for NVIDIA's hosted KOSMOS-2, with another host in its address."""

from __future__ import annotations

import base64
import json
import urllib.request
from collections.abc import Iterator
from typing import Any

import pytest

from kosmos2 import Kosmos2

pytest.importorskip("fastapi", reason="the server needs the serve extra")

from doors import example
from serving import Server, serving


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with serving() as server:
        yield server


@pytest.fixture(scope="module")
def model() -> Kosmos2:
    return Kosmos2.load("demo")


def asked(server: Server, picture: bytes, words: str, accept: str, **more: Any) -> bytes:
    """As such code goes about it."""
    encoded = base64.b64encode(picture).decode()
    payload = {
        "messages": [
            {"role": "user", "content": f'{words} <img src="data:image/jpeg;base64,{encoded}" />'}
        ],
        "max_tokens": 1024,
        **more,
    }
    request = urllib.request.Request(
        f"{server.url}/v1/vlm/microsoft/kosmos-2",
        data=json.dumps(payload).encode(),
        headers={
            "Authorization": "Bearer nvapi-none",
            "Accept": accept,
            "Content-Type": "application/json",
        },
    )
    with urllib.request.urlopen(request, timeout=60) as reply:
        assert reply.headers.get_content_type() == accept
        body: bytes = reply.read()
        return body


@pytest.mark.parametrize("name", ["snowman", "drum", "hamburger", "pumpkin"])
@pytest.mark.parametrize(
    ("words", "verb"),
    [
        ("Describe the image in detail.", lambda m, p: m.caption(p, detailed=True)),
        ("What is below the hat?", lambda m, p: m.ask(p, "What is below the hat?")),
    ],
    ids=["caption", "question"],
)
def test_the_same_words_and_boxes_as_the_python_object(
    model: Kosmos2, server: Server, words: str, verb: Any, name: str
) -> None:
    answer = verb(model, example(name))
    boxes = [[list(box.corners) for box in entity.boxes] for entity in answer.entities]
    reply = json.loads(asked(server, example(name), words, "application/json", temperature=0))
    message = reply["choices"][0]["message"]
    assert message["content"] == answer.text
    assert [entity["phrase"] for entity in message["entities"]] == [
        entity.phrase for entity in answer.entities
    ]
    assert [entity["bboxes"] for entity in message["entities"]] == boxes

    stream = asked(server, example(name), words, "text/event-stream", stream=True).decode()
    lines = [line.removeprefix("data: ") for line in stream.split("\n") if line]
    assert lines.pop() == "[DONE]"
    deltas = [json.loads(line)["choices"][0]["delta"] for line in lines]
    assert "".join(delta["content"] for delta in deltas) == answer.text
    assert [e["bboxes"] for delta in deltas for e in delta.get("entities", [])] == boxes


def test_sampling_keeps_to_its_seed(server: Server) -> None:
    how = {"temperature": 1.0, "top_p": 0.9, "seed": 5}
    words = "Describe the image in detail."
    replies = [
        json.loads(asked(server, example(), words, "application/json", **how)) for _ in range(2)
    ]
    assert replies[0]["choices"] == replies[1]["choices"]
