"""Responses: items in, items and events out, as the official client reads them."""

from __future__ import annotations

import json
from typing import Any

import pytest

pytest.importorskip("fastapi", reason="the server needs the serve extra")

from doors import data_url, door, events, example
from kosmos2 import Kosmos2
from kosmos2.serve.wire.responses import ResponseReply

URL = "/v1/responses"
PICTURE = {"type": "input_image", "image_url": data_url(example(), "jpeg"), "detail": "auto"}

# What the official schemas require (openai-openapi: Response, ResponseUsage, OutputMessage,
# OutputTextContent, and each event of ResponseStreamEvent that is sent here).
REQUIRED = {
    "response": {
        "id", "object", "created_at", "error", "incomplete_details", "instructions", "metadata",
        "model", "output", "parallel_tool_calls", "temperature", "tool_choice", "tools", "top_p",
    },
    "usage": {
        "input_tokens", "input_tokens_details", "output_tokens", "output_tokens_details",
        "total_tokens",
    },
    "input details": {"cached_tokens", "cache_write_tokens"},
    "output details": {"reasoning_tokens"},
    "message": {"id", "type", "role", "content", "status"},
    "text": {"type", "text", "annotations", "logprobs"},
    "logprob": {"token", "bytes", "logprob", "top_logprobs"},
}  # fmt: skip
PLACE = {"item_id", "output_index", "content_index"}
EVENTS = {
    "response.created": {"response"},
    "response.in_progress": {"response"},
    "response.output_item.added": {"output_index", "item"},
    "response.content_part.added": {*PLACE, "part"},
    "response.output_text.delta": {*PLACE, "delta", "logprobs"},
    "response.output_text.done": {*PLACE, "text", "logprobs"},
    "response.content_part.done": {*PLACE, "part"},
    "response.output_item.done": {"output_index", "item"},
    "response.completed": {"response"},
    "response.incomplete": {"response"},
    "response.refusal.delta": {*PLACE, "delta"},
    "response.refusal.done": {*PLACE, "refusal"},
}
OURS = "response.grounding.delta"
ITEM = {
    "type": "object",
    "properties": {
        "label": {"type": "string"},
        "bbox": {"type": "array", "items": {"type": "number"}},
    },
    "required": ["label", "bbox"],
}


@pytest.fixture(scope="module")
def model():
    return Kosmos2.load("demo")


@pytest.fixture(scope="module")
def client(model):
    with door(model) as client:
        yield client


def items(words: str) -> list[dict[str, Any]]:
    return [{"role": "user", "content": [{"type": "input_text", "text": words}, PICTURE]}]


@pytest.fixture(scope="module")
def ask(client):
    """Ask for a response; the reply's body."""

    def ask(words: str = "An image of", **more: Any) -> dict[str, Any]:
        reply = client.post(URL, json={"input": items(words), **more})
        assert reply.status_code == 200, reply.text
        body: dict[str, Any] = reply.json()
        ResponseReply.model_validate(body)
        return body

    return ask


@pytest.fixture(scope="module")
def stream(client):
    """Ask for a stream; its events."""

    def stream(words: str = "An image of", **more: Any) -> list[dict[str, Any]]:
        reply = client.post(URL, json={"input": items(words), "stream": True, **more})
        assert reply.status_code == 200, reply.text
        found = []
        for at, (name, data) in enumerate(events(reply.text)):
            found.append(json.loads(data))
            assert found[-1]["type"] == name
            assert found[-1]["sequence_number"] == at
        return found

    return stream


def part(body: dict[str, Any]) -> dict[str, Any]:
    ((found,),) = (item["content"] for item in body["output"])
    assert isinstance(found, dict)
    return found


def test_the_reply_has_what_the_official_schema_requires(ask):
    body = ask(top_logprobs=2)
    (item,) = body["output"]
    for name, found in (
        ("response", body),
        ("usage", body["usage"]),
        ("input details", body["usage"]["input_tokens_details"]),
        ("output details", body["usage"]["output_tokens_details"]),
        ("message", item),
        ("text", item["content"][0]),
        ("logprob", item["content"][0]["logprobs"][0]),
    ):
        assert REQUIRED[name] <= set(found), name
    assert body["id"].startswith("resp_")
    assert (body["status"], item["status"]) == ("completed", "completed")


def test_the_fields_written_down_are_those_that_the_official_client_requires():
    types = pytest.importorskip(
        "openai.types.responses", reason="the official client has the types"
    )
    usage = pytest.importorskip("openai.types.responses.response_usage")
    text = pytest.importorskip("openai.types.responses.response_output_text")
    for kind, name in (
        (types.Response, "response"),
        (types.ResponseUsage, "usage"),
        (usage.InputTokensDetails, "input details"),
        (usage.OutputTokensDetails, "output details"),
        (types.ResponseOutputMessage, "message"),
        (types.ResponseOutputText, "text"),
        (text.Logprob, "logprob"),
    ):
        needed = {n for n, field in kind.model_fields.items() if field.is_required()}
        assert needed <= REQUIRED[name], name


def kinds() -> dict[str, Any]:
    """The official type of each event that is sent here."""
    types = pytest.importorskip(
        "openai.types.responses", reason="the official client has the types"
    )
    special = {"response.output_text": "ResponseText"}
    found = {}
    for name in EVENTS:
        head, _, verb = name.rpartition(".")
        stem = special.get(head, "".join(w.title() for w in head.replace(".", "_").split("_")))
        found[name] = getattr(types, f"{stem}{verb.title().replace('_', '')}Event")
    return found


def test_the_events_written_down_are_those_that_the_official_client_knows():
    for name, kind in kinds().items():
        needed = {n for n, field in kind.model_fields.items() if field.is_required()}
        assert needed == {*EVENTS[name], "type", "sequence_number"}, name


@pytest.mark.parametrize(
    "more",
    [
        {},
        {"top_logprobs": 2},
        {"max_output_tokens": 3},
        {"text": {"format": {"type": "json_object"}}},
        {"text": {"format": {"type": "json_schema", "name": "x", "schema": ITEM}},
         "grounding": {"phrases": ["a cow"], "min_score": 0.99}},
    ],
    ids=["words", "probabilities", "cut", "json", "refusal"],
)  # fmt: skip
def test_replies_and_events_are_read_by_the_official_types_without_a_doubt(ask, stream, more):
    types = pytest.importorskip(
        "openai.types.responses", reason="the official client has the types"
    )
    whole = types.Response.model_validate(ask(**more))
    known = kinds()
    for event in stream(**more):
        if event["type"] != OURS:
            assert set(event) >= EVENTS[event["type"]]
            known[event["type"]].model_validate(event)
    assert whole.output_text == types.Response.model_validate(event["response"]).output_text


def test_the_answer_is_that_of_the_object(ask, model):
    expected = model.caption(example())
    found = part(ask())
    assert found["text"] == expected.text
    entities = found["grounding"]["entities"]
    assert [e["phrase"] for e in entities] == [e.phrase for e in expected.entities]
    boxes = [box["box"] for e in entities for box in e["boxes"]]
    assert boxes == [list(box) for box in expected.boxes()]


def test_a_stream_has_its_events_in_the_order_of_the_standard(stream):
    names = [event["type"] for event in stream()]
    once = list(dict.fromkeys(names))
    assert once == [
        "response.created", "response.in_progress", "response.output_item.added",
        "response.content_part.added", "response.output_text.delta", OURS,
        "response.output_text.done", "response.content_part.done", "response.output_item.done",
        "response.completed",
    ]  # fmt: skip


def test_a_stream_put_together_is_the_whole(ask, stream):
    found, whole = stream(), part(ask())
    words = [e["delta"] for e in found if e["type"] == "response.output_text.delta"]
    assert len(words) > 3
    assert "".join(words) == whole["text"]
    told = [row for e in found if e["type"] == OURS for row in e["delta"]["entities"]]
    assert [row["phrase"] for row in told] == [e["phrase"] for e in whole["grounding"]["entities"]]
    last = found[-1]["response"]
    assert part(last)["grounding"]["entities"] == told
    assert last["usage"]["output_tokens"] > 0
    assert found[0]["response"]["usage"] is None


def test_an_entity_is_told_as_soon_as_its_words_are(stream):
    said = ""
    for event in stream():
        if event["type"] == "response.output_text.delta":
            said += event["delta"]
        elif event["type"] == OURS:
            (entity,) = event["delta"]["entities"]
            assert said.endswith(entity["phrase"])


def test_an_answer_that_was_cut_is_incomplete(ask, stream):
    body = ask(max_output_tokens=3)
    assert body["status"] == body["output"][0]["status"] == "incomplete"
    assert body["incomplete_details"] == {"reason": "max_output_tokens"}
    assert body["usage"]["output_tokens"] == 3
    assert stream(max_output_tokens=3)[-1]["type"] == "response.incomplete"


def test_a_schema_is_filled_or_there_is_a_refusal(ask, stream):
    text = {"format": {"type": "json_schema", "name": "one", "schema": ITEM, "strict": True}}
    found = json.loads(part(ask(text=text))["text"])
    assert set(found) == {"label", "bbox"}
    none = {"text": text, "grounding": {"phrases": ["a cow"], "min_score": 0.99}}
    refusal = part(ask(**none))
    assert refusal["type"] == "refusal"
    names = [event["type"] for event in stream(**none)]
    assert "response.refusal.done" in names
    assert "response.output_text.delta" not in names


def test_probabilities_are_told_if_asked(ask, stream):
    wanted = {"include": ["message.output_text.logprobs"], "top_logprobs": 2}
    tokens = part(ask(**wanted))["logprobs"]
    assert all(bytes(token["bytes"]).decode() == token["token"] for token in tokens)
    done = [e for e in stream(**wanted) if e["type"] == "response.output_text.done"]
    assert [t["token"] for t in done[0]["logprobs"]] == [t["token"] for t in tokens]
    assert part(ask())["logprobs"] == []


def test_earlier_answers_may_be_sent_back_as_they_came(client, ask):
    first = ask()
    again = [
        *items("An image of"),
        *first["output"],
        {"role": "user", "content": "Is there a fire?"},
    ]
    body = client.post(URL, json={"input": again}).json()
    ResponseReply.model_validate(body)
    assert body["usage"]["input_tokens"] > first["usage"]["input_tokens"]


def test_instructions_are_not_read_and_that_is_told(ask):
    body = ask(instructions="Be rude.", metadata={"a": "b"})
    assert body["instructions"] == "Be rude."
    assert body["metadata"] == {"a": "b"}
    assert any("not read" in warning for warning in part(body)["grounding"]["warnings"])


@pytest.mark.parametrize(
    ("field", "value", "code", "param"),
    [
        ("store", True, "unsupported_value", "store"),
        ("previous_response_id", "resp_1", "unsupported_value", "previous_response_id"),
        ("conversation", "conv_1", "unsupported_value", "conversation"),
        ("background", True, "unsupported_value", "background"),
        ("tools", [{"type": "web_search"}], "unsupported_value", "tools"),
        ("prompt", {"id": "p"}, "unsupported_value", "prompt"),
        ("truncation", "auto", "unsupported_value", "truncation"),
        ("input", "hello", "image_missing", "input"),
        ("input", [], "invalid_request", "input"),
        ("input", [{"type": "item_reference", "id": "x"}], "invalid_request", "input[0]"),
        ("input", [{"role": "user", "content": [{"type": "input_file"}]}],
         "invalid_request", "input[0].content[0]"),
        ("input", [{"role": "assistant", "content": "x"}], "invalid_request", "input[0].role"),
        ("input", [{"role": "user", "content": [{**PICTURE, "image_url": "http://10.0.0.1/"}]}],
         "image_url_not_allowed", "input[0].content[0]"),
        ("text", {"format": {"type": "json_schema", "name": "x", "schema": {}}},
         "unsupported_value", "text.format"),
        ("max_output_tokens", 0, "invalid_request", "max_output_tokens"),
        ("metadata", {"a": 1}, "invalid_request", "metadata.a"),
        ("model", "other", "model_not_found", "model"),
        ("grounding", {"task": "x"}, "invalid_request", "grounding.task"),
    ],
    ids=lambda value: str(value)[:40],
)  # fmt: skip
def test_what_cannot_be_followed_is_refused_by_name(client, field, value, code, param):
    reply = client.post(URL, json={"input": items("An image of"), field: value})
    assert reply.status_code == (404 if code == "model_not_found" else 400), reply.text
    error = reply.json()["error"]
    assert (error["code"], error["param"]) == (code, param)


def test_neutral_values_may_come(ask):
    more = {
        "store": False, "previous_response_id": None, "tools": [], "tool_choice": "auto",
        "truncation": "disabled", "reasoning": {"effort": "low"}, "user": "u", "temperature": None,
        "text": {"format": {"type": "text"}, "verbosity": "low"}, "parallel_tool_calls": False,
    }  # fmt: skip
    assert part(ask(**more))["text"] == part(ask())["text"]
