"""Others' descriptions of what we send hold: our own `/openapi.json`, and OpenAI's types.

The large run over our description is `benchmarks/serving_conformance.py`; here it is a small one.
OpenAI's types are those of its official client, which itself takes whatever comes; here they are
validated, and the fields that its documents require are written down.
"""

from __future__ import annotations

import importlib.util
import json
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("openai", reason="its types say what has to be there")
pytest.importorskip("schemathesis", reason="it makes requests from our description")
pytest.importorskip("uvicorn", reason="the server needs the serve extra")

import httpx
from openai.types import CompletionUsage
from openai.types.chat import ChatCompletion, ChatCompletionChunk
from openai.types.responses import Response, ResponseStreamEvent
from pydantic import BaseModel, TypeAdapter

from doors import data_url, events, example
from kosmos2.serve.keys import line_for, new_key
from serving import Server, serving

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"
EXAMPLES = 10
KEY = new_key()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    keys = tmp_path_factory.mktemp("keys") / "keys.txt"
    keys.write_text(line_for("conformance", KEY) + "\n")
    with serving("--api-key-file", str(keys)) as server:
        yield server


@pytest.fixture(scope="module")
def client(server: Server) -> Iterator[httpx.Client]:
    head = {"Authorization": f"Bearer {KEY}"}
    with httpx.Client(base_url=server.url, headers=head, timeout=60.0) as client:
        yield client


def test_whatever_is_sent_the_description_is_true(server: Server) -> None:
    found = benchmark("serving_conformance").conformance(
        server.url, KEY, examples=EXAMPLES, phases="fuzzing"
    )
    assert found["true"], "\n".join(found["said"])
    assert found["operations"] >= 16
    assert found["accepted"] >= EXAMPLES  # or nothing but refusals was looked at
    assert server.process.poll() is None


def benchmark(name: str) -> Any:
    spec = importlib.util.spec_from_file_location(name, BENCHMARKS / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


# What OpenAI's documents require, by the place in a reply; `*` is each of a list.

TOKEN = ("token", "logprob", "bytes")
USAGE = ("prompt_tokens", "completion_tokens", "total_tokens")
CHAT: dict[str, tuple[str, ...]] = {
    "": ("id", "object", "created", "model", "choices"),
    "choices.*": ("index", "message", "finish_reason", "logprobs"),
    "choices.*.message": ("role", "content", "refusal"),
    "choices.*.logprobs": ("content", "refusal"),
    "choices.*.logprobs.content.*": (*TOKEN, "top_logprobs"),
    "choices.*.logprobs.content.*.top_logprobs.*": TOKEN,
    "usage": USAGE,
}
CHUNK: dict[str, tuple[str, ...]] = {
    "": ("id", "object", "created", "model", "choices"),
    "choices.*": ("index", "delta", "finish_reason"),
    "choices.*.logprobs": ("content", "refusal"),
    "choices.*.logprobs.content.*": (*TOKEN, "top_logprobs"),
    "usage": USAGE,
}
RESPONSE: dict[str, tuple[str, ...]] = {
    "": (
        *("id", "object", "created_at", "model", "output", "error", "incomplete_details"),
        *("instructions", "metadata", "parallel_tool_calls", "temperature", "top_p"),
        *("tool_choice", "tools"),
    ),
    "output.*": ("id", "type", "role", "status", "content"),
    "output.*.content.*": ("type",),
    "usage": (
        *("input_tokens", "output_tokens", "total_tokens"),
        *("input_tokens_details", "output_tokens_details"),
    ),
    "usage.input_tokens_details": ("cached_tokens", "cache_write_tokens"),
    "usage.output_tokens_details": ("reasoning_tokens",),
}
PLACE = ("item_id", "output_index", "content_index")
EVENTS: dict[str, tuple[str, ...]] = {
    "response.created": ("response",),
    "response.in_progress": ("response",),
    "response.completed": ("response",),
    "response.incomplete": ("response",),
    "response.output_item.added": ("output_index", "item"),
    "response.output_item.done": ("output_index", "item"),
    "response.content_part.added": (*PLACE, "part"),
    "response.content_part.done": (*PLACE, "part"),
    "response.output_text.delta": (*PLACE, "delta", "logprobs"),
    "response.output_text.done": (*PLACE, "text", "logprobs"),
    "response.refusal.delta": (*PLACE, "delta"),
    "response.refusal.done": (*PLACE, "refusal"),
}
OURS = "response.grounding.delta"  # clients pass over events that they do not know


def check(reply: Any, required: Mapping[str, tuple[str, ...]]) -> None:
    """All that is required is there, wherever its place is."""
    for place, names in required.items():
        for value in at(reply, place):
            missing = set(names) - set(value)
            assert not missing, f"{place or 'the reply'} has no {missing}"


def at(reply: Any, place: str) -> list[Any]:
    found = [reply]
    for name in place.split(".") if place else ():
        if name == "*":
            found = [one for values in found for one in values]
        else:
            found = [value[name] for value in found if value.get(name) is not None]
    return found


def test_the_official_types_require_nothing_that_is_not_written_down() -> None:
    """Their optional fields are those that may be null, too, so the lists here are longer."""

    def needed(model: type[BaseModel]) -> set[str]:
        return {name for name, field in model.model_fields.items() if field.is_required()}

    assert needed(ChatCompletion) <= set(CHAT[""])
    assert needed(ChatCompletionChunk) <= set(CHUNK[""])
    assert needed(Response) <= set(RESPONSE[""])
    assert needed(CompletionUsage) <= set(USAGE)
    told = {
        model.model_fields["type"].annotation.__args__[0]: needed(model)
        for model in ResponseStreamEvent.__origin__.__args__
    }
    for name, fields in EVENTS.items():
        assert told[name] <= {*fields, "type", "sequence_number"}, name


def things(*, several: bool) -> dict[str, Any]:
    """A shape of the caller's; a single thing cannot be written where there is none."""
    one = {
        "type": "object",
        "properties": {
            "label": {"type": "string"},
            "bbox": {"type": "array", "items": {"type": "number"}},
        },
        "required": ["label", "bbox"],
        "additionalProperties": False,
    }
    return {"type": "array", "items": one} if several else one


NOWHERE = {"phrases": ["a zebra"], "min_score": 1.0}
CASES: dict[str, dict[str, Any]] = {
    "words": {},
    "a question": {"words": "Is there a fire?"},
    "phrases": {"grounding": {"phrases": ["a snowman", "a zebra"], "heatmap": True}},
    "a box": {"grounding": {"task": "describe", "boxes": [[0.1, 0.2, 0.5, 0.7]], "raw": True}},
    "cut short": {"most": 3},
    "by chance": {"temperature": 1.5, "top_p": 0.9},
    "probabilities": {"probabilities": True},
    "an object": {"format": {"type": "json_object"}},
    "a schema": {"format": things(several=True)},
    "a schema that nothing fits": {"format": things(several=False), "grounding": NOWHERE},
}
CHOICES = {"choices": {"n": 3, "temperature": 1.0, "seed": 5}}
STREAMED: dict[str, dict[str, Any]] = {
    "no usage": {},
    "usage": {"stream_options": {"include_usage": True}},
    "usage all the time": {"stream_options": {"continuous_usage_stats": True}},
}
PICTURE = data_url(example(), "jpeg")


def chat_body(case: Mapping[str, Any]) -> dict[str, Any]:
    rest = dict(case)
    text = {"type": "text", "text": rest.pop("words", "An image of")}
    picture = {"type": "image_url", "image_url": {"url": PICTURE}}
    body: dict[str, Any] = {"messages": [{"role": "user", "content": [text, picture]}]}
    if most := rest.pop("most", None):
        body["max_completion_tokens"] = most
    if rest.pop("probabilities", False):
        body |= {"logprobs": True, "top_logprobs": 3}
    if form := rest.pop("format", None):
        named = {"type": "json_schema", "json_schema": {"name": "things", "schema": form}}
        body["response_format"] = form if form["type"] == "json_object" else named
    return body | rest


def response_body(case: Mapping[str, Any]) -> dict[str, Any]:
    rest = dict(case)
    text = {"type": "input_text", "text": rest.pop("words", "An image of")}
    picture = {"type": "input_image", "image_url": PICTURE}
    body: dict[str, Any] = {"input": [{"role": "user", "content": [text, picture]}]}
    if most := rest.pop("most", None):
        body["max_output_tokens"] = most
    if rest.pop("probabilities", False):
        body |= {"top_logprobs": 3, "include": ["message.output_text.logprobs"]}
    if form := rest.pop("format", None):
        named = {"type": "json_schema", "name": "things", "schema": form}
        body["text"] = {"format": form if form["type"] == "json_object" else named}
    return body | rest


def posted(client: httpx.Client, path: str, body: Any) -> httpx.Response:
    reply = client.post(path, json=body)
    assert reply.status_code == 200, reply.text
    return reply


@pytest.mark.parametrize("name", [*CASES, *CHOICES])
def test_a_chat_completion_has_what_openais_documents_require(
    client: httpx.Client, name: str
) -> None:
    body = chat_body((CASES | CHOICES)[name])
    reply = posted(client, "/v1/chat/completions", body).json()
    check(reply, CHAT)
    ChatCompletion.model_validate(reply, strict=True)
    assert "usage" in reply
    assert len(reply["choices"]) == body.get("n", 1)
    if name == "probabilities":
        assert reply["choices"][0]["logprobs"]["content"]
    if name == "cut short":
        assert reply["choices"][0]["finish_reason"] == "length"
    if name == "a schema that nothing fits":
        assert reply["choices"][0]["message"]["refusal"]


@pytest.mark.parametrize("name", [*CASES, *CHOICES])
@pytest.mark.parametrize("kind", STREAMED)
def test_each_chunk_has_what_openais_documents_require(
    client: httpx.Client, name: str, kind: str
) -> None:
    body = chat_body((CASES | CHOICES)[name]) | STREAMED[kind] | {"stream": True}
    *chunks, (_, done) = events(posted(client, "/v1/chat/completions", body).text)
    assert done == "[DONE]"
    read = [json.loads(data) for _, data in chunks]
    for chunk in read:
        check(chunk, CHUNK)
        ChatCompletionChunk.model_validate(chunk, strict=True)
    ends = [choice["finish_reason"] for chunk in read for choice in chunk["choices"]]
    assert len([end for end in ends if end]) == body.get("n", 1)
    assert (read[-1].get("usage") is not None) == ("stream_options" in body)


@pytest.mark.parametrize("name", CASES)
def test_a_response_has_what_openais_documents_require(client: httpx.Client, name: str) -> None:
    reply = posted(client, "/v1/responses", response_body(CASES[name])).json()
    check(reply, RESPONSE)
    Response.model_validate(reply, strict=True)
    assert reply["status"] == ("incomplete" if name == "cut short" else "completed")
    if name == "a schema that nothing fits":
        assert reply["output"][0]["content"][0]["type"] == "refusal"


@pytest.mark.parametrize("name", CASES)
def test_each_event_has_what_openais_documents_require(client: httpx.Client, name: str) -> None:
    body = response_body(CASES[name]) | {"stream": True}
    told = events(posted(client, "/v1/responses", body).text)
    one_of_theirs: TypeAdapter[Any] = TypeAdapter(ResponseStreamEvent)
    for number, (kind, data) in enumerate(told):
        event = json.loads(data)
        assert event["type"] == kind
        assert event["sequence_number"] == number
        if kind == OURS:
            continue
        check(event, {"": EVENTS[kind]})
        one_of_theirs.validate_python(event, strict=True)
        if "response" in event:
            check(event["response"], RESPONSE)
    assert told[-1][0] in ("response.completed", "response.incomplete")
