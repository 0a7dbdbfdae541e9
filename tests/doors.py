"""An app to knock at without a process of its own: its routes, its pictures, a small model."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import kosmos2
from kosmos2 import Kosmos2
from kosmos2.config import Config
from kosmos2.train import vocabulary
from networks import loud_network

WIDTH, HEIGHT = 60, 40


def random_model() -> Kosmos2:
    """One whose answers differ from picture to picture."""
    tokenizer = vocabulary.build()
    config = Config.tiny(vocabulary=tokenizer.size)
    config = replace(config, text=replace(config.text, positions=300))
    return Kosmos2(loud_network(config, 3), tokenizer, name="random")


def a_picture(seed: int = 0) -> bytes:
    """A PNG file."""
    noise = np.random.default_rng(seed).integers(0, 255, (HEIGHT, WIDTH, 3), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(noise).save(file, "PNG")
    return file.getvalue()


def data_url(data: bytes, kind: str = "png") -> str:
    """A picture's file as an address."""
    return f"data:image/{kind};base64,{base64.b64encode(data).decode()}"


EXAMPLES = Path(kosmos2.__file__).parent / "assets" / "examples"


def example(name: str = "snowman") -> bytes:
    """A drawn scene that the embedded model knows how to read."""
    return (EXAMPLES / f"{name}.jpg").read_bytes()


PART = {"type": "image_url", "image_url": {"url": data_url(example(), "jpeg"), "detail": "low"}}


def user(words: str, *parts: Any) -> dict[str, Any]:
    """A message of a chat, about that scene."""
    return {"role": "user", "content": [{"type": "text", "text": words}, PART, *parts]}


@contextmanager
def door(model: Kosmos2) -> Iterator[Any]:
    """A client of an app around the model."""
    pytest.importorskip("fastapi", reason="the server needs the serve extra")
    from starlette.testclient import TestClient

    from kosmos2.serve.app import create_app
    from kosmos2.serve.settings import Limits, Settings

    settings = Settings(open=True, limits=Limits(decode_workers=1))
    with TestClient(create_app(settings, model=model), base_url="http://127.0.0.1") as client:
        yield client


def assert_refused(reply: Any, status: int, code: str, param: str | None) -> None:
    """Whether a reply says so, in the shape that errors have."""
    assert reply.status_code == status, reply.text
    error = reply.json()["error"]
    assert (error["code"], error["param"]) == (code, param)
    assert set(error) == {"message", "type", "param", "code"}


def events(text: str) -> list[tuple[str, str]]:
    """The name and the data of each server-sent event."""
    found = []
    for block in text.split("\n\n"):
        lines = [line.partition(": ") for line in block.split("\n") if line]
        if lines:
            fields = {name: value for name, _, value in lines}
            assert set(fields) <= {"event", "data"}
            found.append((fields.get("event", ""), fields["data"]))
    assert text.endswith("\n\n")
    return found
