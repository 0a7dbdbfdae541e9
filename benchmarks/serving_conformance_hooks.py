"""What schemathesis is told about this server before `serving_conformance.py` lets it loose.

Bodies made from a schema hold pictures that are none and models that are not there, and would never
get past the first look. So most of them are given a real picture and the model's name, wherever
they have a place for these and whatever else is wrong with them.
"""

from __future__ import annotations

import base64
import io
import json
import re
import zlib
from typing import Any

import schemathesis
from PIL import Image

MODEL = "kosmos-2"
LEFT_ALONE = 8  # one body in so many
# What only the meaning of a valid body can be refused for. `invalid_request` is not among them, but
# where one field sets bounds to another, and where the last message has to be somebody's question.
MEANING = {
    *("prompt_invalid", "phrase_invalid", "box_invalid", "context_length_exceeded"),
    *("unsupported_value", "image_missing", "image_url_not_allowed", "image_url_invalid"),
    *("image_invalid", "image_too_large", "image_format_unsupported", "asset_not_supported"),
    *("too_many_images", "model_not_found"),
}
BETWEEN_FIELDS = re.compile(
    r"invalid_request (top_logprobs|min_tokens|(messages|input)\[\d+\]\.role)|too_many n"
)
# JSON leaves it to its readers how large a number they take, and how exactly; so do schemas.
HUGE = re.compile(r"\d{19}")
# A box with both corners in the picture, whatever the unit.
BOXES = {"norm01": [0.1, 0.2, 0.5, 0.6], "cells": [100, 500], "patch": [100, 500]}
ANY_BOX = [1, 2, 20, 25]


def _picture() -> str:
    file = io.BytesIO()
    Image.linear_gradient("L").resize((40, 30)).save(file, "PNG")
    return f"data:image/png;base64,{base64.b64encode(file.getvalue()).decode()}"


PICTURE = _picture()
# What a conversation that was made up may end with.
QUESTIONS: dict[str, tuple[str, Any]] = {
    "/v1/chat/completions": (
        "messages",
        {"role": "user", "content": [{"type": "image_url", "image_url": {"url": PICTURE}}]},
    ),
    "/v1/responses": (
        "input",
        {"role": "user", "content": [{"type": "input_image", "image_url": PICTURE}]},
    ),
    "/v1/vlm/microsoft/kosmos-2": (
        "messages",
        {"role": "user", "content": f'What is it? <img src="{PICTURE}" />'},
    ),
}
MOST_MESSAGES = 64


@schemathesis.hook
def map_body(context: schemathesis.HookContext, body: Any) -> Any:
    """Give most bodies a picture."""
    if not isinstance(body, dict):
        return body
    text = json.dumps(body, sort_keys=True, default=str)
    lot = zlib.crc32(text.encode())
    if lot % LEFT_ALONE == 0:
        return body
    body = with_picture(body)
    field, message = QUESTIONS.get(context.operation.path, ("", None))
    said = body.get(field)
    if isinstance(said, list) and 0 < len(said) < MOST_MESSAGES and lot % 3:
        body[field] = [*said, message]
    return body


def with_picture(body: dict[str, Any]) -> dict[str, Any]:
    """The body with a real picture and model where it has some text for them."""
    body = dict(body)
    if _short(body.get("model")):
        body["model"] = MODEL
    for name in ("image", "image_url"):
        if name in body:
            body[name] = _address(body[name])
    if isinstance(body.get("grounding"), dict):
        body["grounding"] = with_boxes(body["grounding"])
    for name in ("messages", "input"):
        if isinstance(body.get(name), list):
            body[name] = [_message(message) for message in body[name]]
    return with_boxes(body)


def with_boxes(holder: dict[str, Any]) -> dict[str, Any]:
    """Boxes that lie in the picture in place of any numbers."""
    real = BOXES.get(str(holder.get("coords", "norm01")), ANY_BOX)

    def boxes(value: Any) -> Any:
        if isinstance(value, list) and len(value) in (2, 3, 4) and all(map(_number, value)):
            return real
        return [boxes(one) for one in value] if isinstance(value, list) else value

    return {name: boxes(v) if name in ("box", "boxes") else v for name, v in holder.items()}


def _message(message: Any) -> Any:
    """Where a message is words alone, as NVIDIA's clients send it, the picture goes among them."""
    if not isinstance(message, dict):
        return message
    content = message.get("content")
    if isinstance(content, list):
        content = [
            part | {"image_url": _address(part["image_url"])}
            if isinstance(part, dict) and "image_url" in part
            else part
            for part in content
        ]
    elif message.get("role") == "user" and isinstance(content, str) and len(content) % 2:
        content = f'{content} <img src="{PICTURE}" />'
    return message if content is message.get("content") else message | {"content": content}


def _address(value: Any) -> Any:
    if isinstance(value, dict) and _short(value.get("url")):
        return value | {"url": PICTURE}
    return PICTURE if _short(value) else value


def _number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _short(value: Any) -> bool:
    """Some text that a schema would take."""
    return isinstance(value, str) and 0 < len(value) <= 256


@schemathesis.check
def valid_is_understood(
    ctx: schemathesis.CheckContext, response: schemathesis.Response, case: schemathesis.Case
) -> bool | None:
    """What the schema allows is answered, or refused for its meaning and not for its form."""
    del ctx
    meta = case.meta
    if meta is None or not meta.generation.mode.is_positive or response.status_code < 400:
        return None
    if response.status_code in (401, 404, 405) and case.operation.method == "get":
        return None
    error = response.json()["error"]
    code, param = error["code"], error["param"]
    if (code == "invalid_json" or param == "seed") and HUGE.search(json.dumps(case.body)):
        return None
    understood = code in MEANING or BETWEEN_FIELDS.fullmatch(f"{code} {param}")
    assert understood, f"a valid body was refused with {code} for {param}"
    return None
