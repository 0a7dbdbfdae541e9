"""Chat completions: every field is followed or refused, and the reply is what clients expect."""

from __future__ import annotations

import json
from typing import Any

import pytest

pytest.importorskip("fastapi", reason="the server needs the serve extra")

from doors import PART, assert_refused, door, events, example, user
from kosmos2 import Kosmos2
from kosmos2.serve.harnesses import READ_AS
from kosmos2.serve.wire.chat import ChatChunk, ChatCompletion

URL = "/v1/chat/completions"

# What the official schemas of replies require (openai-openapi: CreateChatCompletionResponse,
# CreateChatCompletionStreamResponse, CompletionUsage, ChatCompletionTokenLogprob).
REQUIRED = {
    "completion": {"id", "object", "created", "model", "choices"},
    "choice": {"index", "message", "finish_reason", "logprobs"},
    "message": {"role", "content", "refusal"},
    "chunk": {"id", "object", "created", "model", "choices"},
    "chunk choice": {"index", "delta", "finish_reason"},
    "usage": {"prompt_tokens", "completion_tokens", "total_tokens"},
    "token": {"token", "logprob", "bytes", "top_logprobs"},
    "top": {"token", "logprob", "bytes"},
}


@pytest.fixture(scope="module")
def model():
    return Kosmos2.load("demo")


@pytest.fixture(scope="module")
def client(model):
    with door(model) as client:
        yield client


@pytest.fixture(scope="module")
def ask(client):
    """Ask for a completion; the reply's body."""

    def ask(words: str = "An image of", **more: Any) -> dict[str, Any]:
        reply = client.post(URL, json={"messages": [user(words)], **more})
        assert reply.status_code == 200, reply.text
        body: dict[str, Any] = reply.json()
        ChatCompletion.model_validate(body)
        return body

    return ask


@pytest.fixture(scope="module")
def stream(client):
    """Ask for a stream; its chunks."""

    def stream(words: str = "An image of", **more: Any) -> list[dict[str, Any]]:
        reply = client.post(URL, json={"messages": [user(words)], "stream": True, **more})
        assert reply.status_code == 200, reply.text
        names, data = zip(*events(reply.text))
        assert set(names) == {""}
        assert data[-1] == "[DONE]"
        chunks = [json.loads(one) for one in data[:-1]]
        for chunk in chunks:
            ChatChunk.model_validate(chunk)
        return chunks

    return stream


def content(body: dict[str, Any], at: int = 0) -> Any:
    return body["choices"][at]["message"]["content"]


def entities(body: dict[str, Any], at: int = 0) -> Any:
    return body["choices"][at]["message"]["grounding"]["entities"]


def joined(chunks: list[dict[str, Any]], at: int = 0) -> dict[str, Any]:
    """A stream put together as clients do: `content` and `grounding`."""
    whole: dict[str, Any] = {"content": "", "entities": [], "warnings": [], "finish": None}
    for chunk in chunks:
        for choice in chunk["choices"]:
            if choice["index"] != at:
                continue
            delta = choice["delta"]
            whole["content"] += delta.get("content") or ""
            grounding = delta.get("grounding", {})
            whole["entities"] += grounding.get("entities", [])
            whole["warnings"] += grounding.get("warnings", [])
            whole["finish"] = choice["finish_reason"] or whole["finish"]
    return whole


def test_the_reply_has_what_the_official_schema_requires(ask):
    body = ask(logprobs=True, top_logprobs=2)
    (choice,) = body["choices"]
    token = choice["logprobs"]["content"][0]
    for name, part in (
        ("completion", body),
        ("choice", choice),
        ("message", choice["message"]),
        ("usage", body["usage"]),
        ("token", token),
        ("top", token["top_logprobs"][0]),
    ):
        assert REQUIRED[name] <= set(part), name
    assert body["id"].startswith("chatcmpl-")
    assert body["object"] == "chat.completion"
    assert body["model"] == "kosmos-2-demo"


def test_the_fields_written_down_are_those_that_the_official_client_requires():
    types = pytest.importorskip("openai.types.chat", reason="the official client has the types")
    chunk = pytest.importorskip("openai.types.chat.chat_completion_chunk")
    whole = pytest.importorskip("openai.types.chat.chat_completion")
    for kind, name in (
        (types.ChatCompletion, "completion"),
        (whole.Choice, "choice"),
        (types.ChatCompletionMessage, "message"),
        (types.ChatCompletionChunk, "chunk"),
        (chunk.Choice, "chunk choice"),
        (types.ChatCompletionTokenLogprob, "token"),
    ):
        needed = {n for n, field in kind.model_fields.items() if field.is_required()}
        assert needed <= REQUIRED[name], name


def test_replies_are_read_by_the_official_types_without_a_doubt(ask, stream):
    types = pytest.importorskip("openai.types.chat", reason="the official client has the types")
    whole = types.ChatCompletion.model_validate(ask(logprobs=True, top_logprobs=3))
    assert whole.usage.prompt_tokens_details.image_tokens == 64
    for chunk in stream(logprobs=True, stream_options={"include_usage": True}):
        types.ChatCompletionChunk.model_validate(chunk)


@pytest.mark.parametrize(
    ("words", "more", "verb", "given"),
    [
        ("An image of", {}, "caption", {}),
        ("Describe this image in detail:", {}, "caption", {"detailed": True}),
        ("What is this?", {}, "ask", {"question": "What is this?"}),
        ("", {"phrases": ["a snowman", "a cow"]}, "ground", {"phrases": ["a snowman", "a cow"]}),
        ("", {"boxes": [[0.1, 0, 0.5, 0.5]]}, "describe", {"box": [0.1, 0, 0.5, 0.5]}),
        ("What is [this]?", {"boxes": [[0.1, 0, 0.5, 0.5]]}, "ask",
         {"question": "What is [this]?", "boxes": [0.1, 0, 0.5, 0.5]}),
        ("An image of", {"enabled": False}, "caption", {"grounded": False}),
        ("", {"phrases": ["a fire"], "every": True, "min_score": 0.1}, "ground",
         {"phrases": ["a fire"], "every": True, "min_score": 0.1}),
        ("", {"phrases": ["a zebra"], "min_presence": 0.0}, "ground",
         {"phrases": ["a zebra"], "min_presence": 0.0}),
        ("<grounding><phrase> a fire</phrase>", {"raw": True}, "complete",
         {"prompt": "<grounding><phrase> a fire</phrase>"}),
    ],
)  # fmt: skip
def test_the_route_answers_as_the_object_does(ask, stream, model, words, more, verb, given):
    expected = getattr(model, verb)(example(), **given)
    body = ask(words, grounding=more)
    assert content(body) == expected.text
    found = [(e["phrase"], e["start"], e["end"]) for e in entities(body)]
    assert found == [(e.phrase, e.start, e.end) for e in expected.entities]
    boxes = [box["box"] for e in entities(body) for box in e["boxes"]]
    assert boxes == [list(corners) for corners in expected.boxes()]
    scores = [box["score"] for e in entities(body) for box in e["boxes"]]
    wanted = [box.score for e in expected.entities for box in e.boxes]
    assert scores == pytest.approx(wanted, abs=1e-4)
    assert body["choices"][0]["finish_reason"] == expected.finish
    # In parts it is the same, with each entity after its words.
    chunks = stream(words, grounding=more)
    whole = joined(chunks)
    assert whole["content"] == expected.text
    assert [e["phrase"] for e in whole["entities"]] == [e.phrase for e in expected.entities]
    assert whole["finish"] == expected.finish
    said = ""
    for chunk in chunks:
        delta = chunk["choices"][0]["delta"]
        said += delta.get("content") or ""
        for entity in delta.get("grounding", {}).get("entities", []):
            assert said[entity["start"] : entity["end"]] == entity["phrase"]


@pytest.mark.parametrize("coords", ["px", "norm1000", "percent", "cells", "gemini"])
def test_boxes_go_in_and_come_out_in_the_unit_that_was_named(ask, coords):
    plain = entities(ask("", grounding={"phrases": ["a fire"]}))[0]["boxes"][0]
    body = ask("", grounding={"phrases": ["a fire"], "coords": coords})
    box = entities(body)[0]["boxes"][0]
    assert box["cells"] == plain["cells"]
    again = ask("", grounding={"boxes": [box["box"]], "coords": coords})
    expected = ask("", grounding={"boxes": [plain["box"]]})
    assert content(again) == content(expected)
    assert body["choices"][0]["message"]["grounding"]["coords"] == coords


def test_locations_never_stand_in_the_content(ask):
    for more in ({}, {"raw": True, "task": "caption"}, {"phrases": ["a fire"]}):
        assert "<" not in content(ask("An image of", grounding=more))
    raw = ask("An image of", grounding={"raw": True, "task": "caption"})
    assert "<patch_index_" in raw["choices"][0]["message"]["grounding"]["markup"]


def test_several_choices_have_seeds_of_their_own_and_one_prompt(ask, model):
    options = {"temperature": 1.5, "seed": 5}
    body = ask(n=3, **options)
    texts = [content(body, at) for at in range(3)]
    assert len(set(texts)) > 1
    expected = [model.caption(example(), temperature=1.5, seed=5 + at).text for at in range(3)]
    assert texts == expected
    alone = ask(**options)
    assert content(alone) == texts[0]
    assert body["usage"]["prompt_tokens"] == alone["usage"]["prompt_tokens"]
    assert body["usage"]["completion_tokens"] > alone["usage"]["completion_tokens"]


def test_choices_are_told_side_by_side_in_a_stream(ask, stream):
    options = {"temperature": 1.5, "seed": 5, "n": 3}
    body, chunks = ask(**options), stream(**options)
    for at in range(3):
        assert joined(chunks, at)["content"] == content(body, at)
        assert joined(chunks, at)["finish"] == body["choices"][at]["finish_reason"]


def test_the_end_is_told_truthfully(ask):
    cut = ask(max_completion_tokens=2)
    assert cut["choices"][0]["finish_reason"] == "length"
    assert cut["usage"]["completion_tokens"] == 2
    assert ask(max_tokens=3)["usage"]["completion_tokens"] == 3
    stopped = ask(stop=[" above"])
    assert stopped["choices"][0]["finish_reason"] == "stop"
    assert " above" not in content(stopped)
    longer = ask(min_tokens=30, max_tokens=40)
    assert 30 <= longer["usage"]["completion_tokens"] <= 40
    endless = ask(ignore_eos=True, max_tokens=40)
    assert endless["usage"]["completion_tokens"] == 40
    assert endless["choices"][0]["finish_reason"] == "length"


def test_tokens_are_counted_with_those_of_pictures_and_those_not_read_again(ask):
    first, again = ask("Is there a tree?")["usage"], ask("Is there a tree?")["usage"]
    assert first["prompt_tokens_details"]["image_tokens"] == 64
    assert first["total_tokens"] == first["prompt_tokens"] + first["completion_tokens"]
    assert again["prompt_tokens_details"]["cached_tokens"] >= 64
    assert again["prompt_tokens"] == first["prompt_tokens"]


def test_probabilities_are_told_of_every_token(ask, stream):
    body = ask(logprobs=True, top_logprobs=3)
    tokens = body["choices"][0]["logprobs"]["content"]
    # Whatever was written but the end; the prompt's own words were not.
    assert len(tokens) == body["usage"]["completion_tokens"] - 1
    assert "".join(t["token"] for t in tokens).startswith("<phrase> a fire")
    for token in tokens:
        assert len(token["top_logprobs"]) == 3
        assert token["logprob"] <= token["top_logprobs"][0]["logprob"] + 1e-6
        place = token["token"].startswith("<patch_index_")
        assert token["bytes"] is None if place else bytes(token["bytes"]).decode() == token["token"]
    parts = [
        token
        for chunk in stream(logprobs=True, top_logprobs=3)
        for choice in chunk["choices"]
        for token in choice["logprobs"]["content"]
    ]
    assert [part["token"] for part in parts] == [token["token"] for token in tokens]
    assert ask()["choices"][0]["logprobs"] is None


def test_a_stream_tells_its_usage_if_asked(stream):
    for chunk in stream():
        assert "usage" not in chunk
    *others, last = stream(stream_options={"include_usage": True})
    assert all(chunk["usage"] is None for chunk in others)
    assert last["choices"] == []
    assert REQUIRED["usage"] <= set(last["usage"])
    usages = [c["usage"] for c in stream(stream_options={"continuous_usage_stats": True})]
    counts = [usage["completion_tokens"] for usage in usages]
    assert counts == sorted(counts)
    assert counts[-1] == last["usage"]["completion_tokens"]
    assert {usage["prompt_tokens"] for usage in usages} == {last["usage"]["prompt_tokens"]}
    details = [usage["prompt_tokens_details"] for usage in usages]
    assert {detail["image_tokens"] for detail in details} == {64}
    assert details[-2] == details[-1]


def test_the_first_chunk_has_the_role_and_the_picture(stream):
    first = stream()[0]
    assert REQUIRED["chunk"] <= set(first)
    assert REQUIRED["chunk choice"] <= set(first["choices"][0])
    delta = first["choices"][0]["delta"]
    assert (delta["role"], delta["content"]) == ("assistant", "")
    assert delta["grounding"]["image"] == {"width": 640, "height": 640, "rotated": 0}


def test_nobody_between_keeps_a_stream_back(client):
    reply = client.post(URL, json={"messages": [user("An image of")], "stream": True})
    assert reply.headers["content-type"].startswith("text/event-stream")
    assert reply.headers["cache-control"] == "no-store"
    assert reply.headers["x-accel-buffering"] == "no"


def test_a_json_object_is_the_grounding(ask, stream):
    wanted = {"response_format": {"type": "json_object"}}
    body = ask(**wanted)
    found = json.loads(content(body))
    assert found["entities"] == entities(body)
    assert json.loads(joined(stream(**wanted))["content"]) == found


def test_a_schema_of_boxes_is_filled_and_any_other_refused(ask, stream, client):
    item = {
        "type": "object",
        "properties": {
            "label": {"type": "string"},
            "bbox_2d": {"type": "array", "items": {"type": "integer"}},
        },
        "required": ["label", "bbox_2d"],
        "additionalProperties": False,
    }
    schema = {"type": "object", "properties": {"objects": {"type": "array", "items": item}}}

    def wanted(schema: Any) -> dict[str, Any]:
        named = {"name": "boxes", "strict": True, "schema": schema}
        return {"response_format": {"type": "json_schema", "json_schema": named}}

    found = json.loads(content(ask(**wanted(schema))))
    assert [one["label"] for one in found["objects"]] == ["a fire", "a snowman"]
    assert json.loads(joined(stream(**wanted(schema)))["content"]) == found
    # One box alone, of which there is none.
    body = ask("", **wanted(item), grounding={"phrases": ["a cow"], "min_score": 0.99})
    assert content(body) is None
    assert body["choices"][0]["message"]["refusal"]
    other = {"messages": [user("x")], **wanted({"type": "object", "properties": {"a": {}}})}
    assert_refused(client.post(URL, json=other), 400, "unsupported_value", "response_format")


def test_harnesses_get_the_form_that_they_parse(ask):
    phrase = "a fire"
    asked = (
        f'Locate every object that matches the description "{phrase}" in the image. '
        "Report bbox coordinates in JSON format.",
        "Please provide the bounding box coordinate of the region this sentence describes: "
        f"<ref>{phrase}</ref>",
    )
    for words in asked:
        body = ask(words)
        fenced = content(body).removeprefix("```json").removesuffix("```")
        (row,) = json.loads(fenced)
        box = entities(body)[0]["boxes"][0]["box"]
        assert row == {"bbox_2d": [round(1000 * value) for value in box], "label": phrase}
    assert content(ask("", grounding={"phrases": [phrase], "format": READ_AS})).strip() == content(
        ask(asked[0])
    )


def test_a_heat_map_is_told_of_each_phrase(ask, stream):
    wish = {"grounding": {"phrases": ["a fire", "a snowman"], "heatmap": True}}
    heat = ask("", **wish)["choices"][0]["message"]["grounding"]["heat"]
    assert [one["phrase"] for one in heat] == ["a fire", "a snowman"]
    assert [len(heat[0]["heat"]), len(heat[0]["heat"][0])] == [32, 32]
    assert 0 <= heat[0]["presence"] <= 1
    last = stream("", **wish)[-1]["choices"][0]["delta"]["grounding"]
    assert [one["phrase"] for one in last["heat"]] == ["a fire", "a snowman"]


def test_turns_and_pictures_are_one_conversation(client):
    messages = [
        {"role": "system", "content": "Be brief."},
        user("An image of"),
        {"role": "assistant", "content": "An image of a snowman.", "name": "k", "refusal": None},
        user("Is there a fire?", PART),
    ]
    body = client.post(URL, json={"messages": messages}).json()
    ChatCompletion.model_validate(body)
    assert body["usage"]["prompt_tokens_details"]["image_tokens"] == 3 * 64
    first, *_ = body["choices"][0]["message"]["grounding"]["warnings"]
    assert "instructions" in first


def test_an_answer_does_not_repeat_what_came_before_it(client, stream):
    earlier = [user("An image of"), {"role": "assistant", "content": "An image of a cat."}]
    messages = [*earlier, {"role": "user", "content": "caption"}]
    body = client.post(URL, json={"messages": messages}).json()
    assert content(body).startswith("An image of")
    assert "cat" not in content(body)
    assert joined(stream(messages=messages))["content"] == content(body)
    wish = {"phrases": ["a fire"]}
    body = client.post(URL, json={"messages": messages, "grounding": wish}).json()
    assert content(body) == "a fire"
    assert entities(body)[0]["boxes"]


def test_fields_that_change_nothing_may_come(ask):
    more = {
        "user": "u", "metadata": {"a": "b"}, "store": True, "service_tier": "auto",
        "parallel_tool_calls": True, "tools": [], "tool_choice": "none", "logit_bias": {},
        "presence_penalty": 0, "frequency_penalty": 0.0, "modalities": ["text"],
        "reasoning_effort": "low", "n": 1, "logprobs": False, "stop": None, "seed": -3,
        "response_format": {"type": "text"}, "model": "kosmos-2", "stream": False, "top_k": -1,
        "something_new": {"x": 1}, "max_tokens": 128.0,
    }  # fmt: skip
    assert content(ask(**more)) == content(ask())
