"""NVIDIA's route: pictures among the words, and boxes beside them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from doors import data_url, door, events, example
from kosmos2 import Kosmos2

pytest.importorskip("fastapi", reason="the server needs the serve extra")

from kosmos2.serve.conversation import Shown
from kosmos2.serve.failures import Refused
from kosmos2.serve.routes.nvidia import words_and_pictures

PATH = "/v1/vlm/microsoft/kosmos-2"
PICTURE = data_url(example("drum"), "jpeg")
IMG = f'<img src="{PICTURE}" />'


@pytest.fixture(scope="module")
def model() -> Kosmos2:
    return Kosmos2.load("demo")


@pytest.fixture(scope="module")
def client(model: Kosmos2) -> Iterator[Any]:
    with door(model) as client:
        yield client


def body(*contents: str, **more: Any) -> dict[str, Any]:
    roles = ("user", "assistant")
    messages = [{"role": roles[at % 2], "content": content} for at, content in enumerate(contents)]
    return {"messages": messages, **more}


# Pictures among words


@pytest.mark.parametrize(
    ("content", "parts"),
    [
        ("no picture", ["no picture"]),
        ('a <img src="x" /> b', ["a ", "=x", " b"]),
        ("<img src='x'>", ["=x"]),
        ('<IMG  alt="a > b"  SRC = "x"/>', ["=x"]),
        ('<img src="x"/><img src="y" />', ["=x", "=y"]),
        ('<img\nsrc="it\'s"\n>', ["=it's"]),
        ("1 < 2, <imgur>, <image>, </img>", ["1 < 2, <imgur>, <image>, </img>"]),
        ("", []),
    ],
)
def test_tags_are_pictures_and_the_rest_is_words(content: str, parts: list[str]) -> None:
    found = words_and_pictures(content, param="p")
    assert [f"={part.url}" if isinstance(part, Shown) else part for part in found] == parts


@pytest.mark.parametrize(
    "content",
    [
        "<img>", "<img/>", '<img src="x"', '<img src="x', "<img src=x />", '<img src="x" src="y"/>',
        '<img src="x" onerror="y"/>', '<img src="x" hidden/>', '<img alt="x"/>', '<img src="x"y>',
        "<img " + " " * 100 + 'src="x">',
    ],
)  # fmt: skip
def test_a_tag_of_another_form_is_refused(content: str) -> None:
    with pytest.raises(Refused) as refused:
        words_and_pictures(f"What? {content}", param="messages[0].content")
    assert refused.value.code == "image_url_invalid"
    assert refused.value.param == "messages[0].content"


@pytest.mark.parametrize("content", ["<img" + " " * 10**6, "<img src='" * 10**5, "<" * 10**6])
def test_a_flood_of_beginnings_is_looked_through_once(content: str) -> None:
    """With a second look at each character this would take hours; the time limit would end it."""
    if content.startswith("<<"):
        assert words_and_pictures(content, param="p") == (content,)
    else:
        with pytest.raises(Refused):
            words_and_pictures(content, param="p")


words = st.text(st.characters(exclude_characters="<", codec="utf-8"), min_size=1)
urls = st.text(st.characters(exclude_characters='"', codec="utf-8"), min_size=1)


@given(st.lists(st.tuples(words, urls)), words)
def test_nothing_is_lost_between_words_and_pictures(said: list[tuple[str, str]], end: str) -> None:
    content = "".join(f'{text}<img src="{url}" />' for text, url in said) + end
    found = words_and_pictures(content, param="p")
    assert found == (
        *(part for text, url in said for part in (text, Shown(url.strip(), "p"))),
        end,
    )


# Answers


def test_an_answer_has_words_and_the_boxes_of_its_phrases(model: Kosmos2, client: Any) -> None:
    reply = client.post(PATH, json=body(f"Describe the image. {IMG}", max_tokens=1024))
    assert reply.status_code == 200, reply.text
    answer = model.caption(example("drum"))
    (choice,) = reply.json()["choices"]
    assert answer.entities
    assert choice == {
        "index": 0,
        "message": {
            "role": "assistant",
            "content": answer.text,
            "entities": [
                {
                    "phrase": entity.phrase,
                    "bboxes": [list(box.corners) for box in entity.boxes],
                    "scores": [pytest.approx(box.score, abs=1e-4) for box in entity.boxes],
                }
                for entity in answer.entities
            ],
        },
        "finish_reason": "stop",
    }
    assert reply.json()["usage"]["completion_tokens"] == answer.tokens


@pytest.mark.parametrize(
    ("content", "verb"),
    [
        (IMG, lambda m, p: m.caption(p)),
        (f"Describe the image in detail: {IMG}", lambda m, p: m.caption(p, detailed=True)),
        (f"{IMG} What is below the hat?", lambda m, p: m.ask(p, "What is below the hat?")),
        (f"{IMG} Is <phrase> a tag?", lambda m, p: m.ask(p, "Is <phrase> a tag?")),
    ],
    ids=["a picture alone", "in detail", "a question", "a question with a tag"],
)
def test_words_say_what_is_wanted(model: Kosmos2, client: Any, content: str, verb: Any) -> None:
    reply = client.post(PATH, json=body(content))
    message = reply.json()["choices"][0]["message"]
    answer = verb(model, example("drum"))
    assert message["content"] == answer.text
    assert [entity["phrase"] for entity in message["entities"]] == [
        entity.phrase for entity in answer.entities
    ]


def test_a_conversation_goes_on(client: Any) -> None:
    turns = (f"What is below the hat? {IMG}", "a bell", "What is to the left of it?")
    reply = client.post(PATH, json=body(*turns, max_tokens=9))
    assert reply.status_code == 200, reply.text
    first = client.post(PATH, json=body(turns[0], max_tokens=9))
    assert reply.json()["usage"]["prompt_tokens"] > first.json()["usage"]["prompt_tokens"], (
        "earlier turns were not read"
    )


def test_a_stream_has_the_same_words_and_boxes(client: Any) -> None:
    asked = body(f"Describe the image in detail: {IMG}")
    whole = client.post(PATH, json=asked).json()
    reply = client.post(PATH, json={**asked, "stream": True})
    told = [data for _, data in events(reply.text)]
    assert told.pop() == "[DONE]"
    chunks = [json.loads(data) for data in told]
    deltas = [chunk["choices"][0]["delta"] for chunk in chunks]
    message = whole["choices"][0]["message"]
    assert "".join(delta["content"] for delta in deltas) == message["content"]
    phrases = [entity["phrase"] for delta in deltas for entity in delta.get("entities", [])]
    assert phrases == [entity["phrase"] for entity in message["entities"]]
    assert chunks[-1]["choices"][0]["finish_reason"] == "stop"
    assert chunks[-1]["usage"]["total_tokens"] == whole["usage"]["total_tokens"]


@pytest.mark.parametrize(
    ("asked", "code", "param"),
    [
        (body("What is this?"), "image_missing", "messages"),
        (body('<img src="data:image/png;asset_id,12-ab" />'), "asset_not_supported",
         "messages[0].content"),
        (body('<img src="https://example.com/a.png" />'), "image_url_not_allowed",
         "messages[0].content"),
        (body("hm", "ok", '<img src="x" />'), "image_url_", "messages[2].content"),
        (body(IMG, "a drum"), "invalid_request", "messages[1].role"),
        (body(IMG, tools=[]), "unknown_parameter", "tools"),
        (body(IMG, seed=-1), "invalid_request", "seed"),
        (body(IMG * 9), "too_many_images", "messages[0].content"),
        ({"messages": []}, "invalid_request", "messages"),
        ({"messages": [{"role": "user", "content": []}]}, "invalid_request",
         "messages[0].content"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("stream", [False, True])
def test_what_cannot_be_answered_is_refused(
    client: Any, asked: dict[str, Any], code: str, param: str, stream: bool
) -> None:
    reply = client.post(PATH, json={**asked, "stream": stream})
    assert reply.status_code == 400
    assert reply.json()["error"]["code"].startswith(code)
    assert reply.json()["error"]["param"] == param


@pytest.mark.parametrize("path", ["/v1/ask", "/v1/query"])
def test_elsewhere_such_a_tag_is_words(client: Any, path: str) -> None:
    field = "image" if path == "/v1/ask" else "image_url"
    reply = client.post(path, json={field: PICTURE, "question": 'Is <img src="x" /> a tag?'})
    assert reply.status_code == 200
