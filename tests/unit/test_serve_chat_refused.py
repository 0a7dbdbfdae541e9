"""Chat completions: what cannot be followed is refused, by its name and its place."""

from __future__ import annotations

import json

import pytest

pytest.importorskip("fastapi", reason="the server needs the serve extra")

from doors import PART, assert_refused, door, user
from kosmos2 import Kosmos2

URL = "/v1/chat/completions"


@pytest.fixture(scope="module")
def client():
    with door(Kosmos2.load("demo")) as client:
        yield client


@pytest.mark.parametrize(
    ("field", "value", "code", "param"),
    [
        ("tools", [{"type": "function"}], "unsupported_value", "tools"),
        ("tool_choice", "required", "unsupported_value", "tool_choice"),
        ("functions", [{}], "unsupported_value", "functions"),
        ("audio", {"voice": "x"}, "unsupported_value", "audio"),
        ("modalities", ["text", "audio"], "unsupported_value", "modalities"),
        ("prediction", {"type": "content"}, "unsupported_value", "prediction"),
        ("logit_bias", {"5": 1}, "unsupported_value", "logit_bias"),
        ("presence_penalty", 0.5, "unsupported_value", "presence_penalty"),
        ("frequency_penalty", False, "unsupported_value", "frequency_penalty"),
        ("response_format", {"type": "grammar"}, "invalid_request", "response_format"),
        ("temperature", -0.1, "invalid_request", "temperature"),
        ("temperature", 2.1, "invalid_request", "temperature"),
        ("temperature", "0", "invalid_request", "temperature"),
        ("top_p", 0, "invalid_request", "top_p"),
        ("n", 0, "invalid_request", "n"),
        ("n", 10**9, "invalid_request", "n"),
        ("n", True, "invalid_request", "n"),
        ("max_tokens", -1, "invalid_request", "max_tokens"),
        ("max_tokens", 1.5, "invalid_request", "max_tokens"),
        ("max_completion_tokens", 0, "invalid_request", "max_completion_tokens"),
        ("min_tokens", 500, "invalid_request", "min_tokens"),
        ("stop", [""], "invalid_request", "stop[0]"),
        ("stop", ["x"] * 5, "too_many", "stop"),
        ("seed", 2**63 + 1, "invalid_request", "seed"),
        ("top_logprobs", 21, "invalid_request", "top_logprobs"),
        ("top_logprobs", 2, "invalid_request", "top_logprobs"),  # of no logprobs
        ("stream", "yes", "invalid_request", "stream"),
        ("stream_options", {"include_usage": 1}, "invalid_request", "stream_options.include_usage"),
        ("messages", [], "invalid_request", "messages"),
        ("messages", [{"role": "user", "content": "x"}] * 65, "too_many", "messages"),
        ("messages", [{"role": "user"}], "missing_parameter", "messages[0].content"),
        ("messages", [{"role": "tool", "content": "x"}], "invalid_request", "messages[0]"),
        ("messages", [{"role": "user", "content": [{"type": "input_audio"}]}],
         "invalid_request", "messages[0].content[0]"),
        ("messages", [{"role": "user", "content": [{"type": "image_url"}]}],
         "missing_parameter", "messages[0].content[0].image_url"),
        ("messages", [{"role": "user", "content": "x"}], "image_missing", "messages"),
        ("messages", [user("x" * 32_769)], "invalid_request", "messages[0].content[0].text"),
        ("messages", [user("x " * 8_000)], "context_length_exceeded", None),
        ("messages", [user("", *[PART] * 8)], "too_many_images", "messages[0].content[9]"),
        ("model", "gpt-9", "model_not_found", "model"),
        ("grounding", {"tusk": "ask"}, "unknown_parameter", "grounding.tusk"),
        ("grounding", {"coords": "feet"}, "invalid_request", "grounding.coords"),
        ("grounding", {"format": "yolo"}, "invalid_request", "grounding.format"),
        ("grounding", {"phrases": []}, "invalid_request", "grounding.phrases"),
        ("grounding", {"phrases": [" "]}, "invalid_request", "grounding.phrases[0]"),
        ("grounding", {"phrases": ["x"] * 65}, "too_many", "grounding.phrases"),
        ("grounding", {"boxes": [[1, 2, 3, 4, 5]]}, "too_many", "grounding.boxes[0]"),
        ("grounding", {"min_score": 2}, "invalid_request", "grounding.min_score"),
        ("grounding", {"max_boxes": 0}, "invalid_request", "grounding.max_boxes"),
    ],
    ids=lambda value: str(value)[:40],
)  # fmt: skip
def test_what_cannot_be_followed_is_refused_by_name(client, field, value, code, param):
    body = {"messages": [user("An image of")], field: value}
    status = 404 if code == "model_not_found" else 400
    assert_refused(client.post(URL, json=body), status, code, param)


def test_many_choices_of_many_phrases_are_too_many(client):
    body = {"messages": [user("")], "n": 8, "grounding": {"phrases": ["x"] * 9}}
    assert_refused(client.post(URL, json=body), 400, "too_many", "n")


def test_numbers_that_are_none_are_refused(client):
    for number in ("NaN", "Infinity", "1e400"):
        body = json.dumps({"messages": [user("x")]})[:-1] + f', "temperature": {number}}}'
        reply = client.post(URL, content=body, headers={"content-type": "application/json"})
        assert_refused(reply, 400, "invalid_json", None)


def test_a_picture_that_cannot_be_read_is_refused_by_its_place(client):
    for url, code in (
        ("http://169.254.169.254/", "image_url_not_allowed"),
        ("data:image/png;base64,AAAA", "image_format_unsupported"),
        ("data:hello", "image_url_invalid"),
    ):
        part = {"type": "image_url", "image_url": url}
        messages = [
            user("x"),
            {"role": "assistant", "content": "y"},
            {"role": "user", "content": [part]},
        ]
        reply = client.post(URL, json={"messages": messages})
        assert_refused(reply, 400, code, "messages[2].content[0]")
