"""How each route is told of a picture and some words, and what is right to answer."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

EXAMPLE = Path(__file__).parents[2] / "src/kosmos2/assets/examples/snowman.jpg"
JSON = {"content-type": "application/json"}
FEW = 4  # tokens: what is asked is not of interest here


@dataclass(frozen=True)
class Hostile:
    """One request, and which replies to it are right."""

    name: str
    path: str
    body: bytes
    statuses: frozenset[int]
    codes: frozenset[str]  # of a refusal; empty for any
    headers: dict[str, str]
    method: str = "POST"

    def fault(self, status: int, code: str | None) -> str | None:
        """What is wrong with a reply, if anything."""
        if status not in self.statuses:
            return f"{self.name}, {self.path}: {status} {code}, not {sorted(self.statuses)}"
        if status >= 400 and self.codes and code not in self.codes:
            return f"{self.name}, {self.path}: {code}, not {sorted(self.codes)}"
        return None


@dataclass(frozen=True)
class Door:
    """One route."""

    path: str
    body: Callable[[str, str], dict[str, Any]]  # of a picture's address and words
    words: str = "a snowman"  # "": this route takes none

    def ask(
        self, name: str, url: str, words: str, statuses: Collection[int], codes: Collection[str]
    ) -> Hostile:
        """About a picture."""
        # Half a surrogate pair can only be sent escaped.
        return self.raw(name, json.dumps(self.body(url, words)).encode(), statuses, codes)

    def changed(
        self, name: str, url: str, change: str, statuses: Collection[int], codes: Collection[str]
    ) -> Hostile:
        """With some more or other fields, written as JSON (or nearly): `"temperature": NaN`."""
        field = change.partition('"')[2].partition('"')[0]
        kept = {k: v for k, v in self.body(url, self.words).items() if k != field}
        text = json.dumps(kept)[:-1] + f", {change}" + "}"
        return self.raw(name, text.encode(), statuses, codes)

    def raw(
        self,
        name: str,
        data: bytes,
        statuses: Collection[int],
        codes: Collection[str],
        headers: dict[str, str] | None = None,
    ) -> Hostile:
        """Just these bytes."""
        all_headers = {**JSON, **(headers or {})}
        return Hostile(name, self.path, data, frozenset(statuses), frozenset(codes), all_headers)


def _chat(url: str, words: str) -> dict[str, Any]:
    content = [
        {"type": "text", "text": words},
        {"type": "image_url", "image_url": {"url": url}},
    ]
    return {"messages": [{"role": "user", "content": content}], "max_tokens": FEW}


def _responses(url: str, words: str) -> dict[str, Any]:
    content = [
        {"type": "input_text", "text": words},
        {"type": "input_image", "image_url": url},
    ]
    return {"input": [{"role": "user", "content": content}], "max_output_tokens": FEW}


def _nvidia(url: str, words: str) -> dict[str, Any]:
    content = f'{words} <img src="{url}" />'
    return {"messages": [{"role": "user", "content": content}], "max_tokens": FEW}


_SHORT = {"max_tokens": FEW}
DOORS = (
    Door("/v1/chat/completions", _chat),
    Door("/v1/responses", _responses),
    Door("/v1/caption", lambda url, _: {"image": url, **_SHORT}, ""),
    Door("/v1/ground", lambda url, words: {"image": url, "phrases": [words], **_SHORT}),
    Door("/v1/describe", lambda url, _: {"image": url, "box": [0.1, 0.1, 0.9, 0.9], **_SHORT}, ""),
    Door("/v1/ask", lambda url, words: {"image": url, "question": words, **_SHORT}),
    Door("/v1/locate", lambda url, words: {"image": url, "phrase": words}),
    Door("/v1/vlm/microsoft/kosmos-2", _nvidia),
    Door("/v1/caption", lambda url, _: {"image_url": url, "settings": _SHORT}, ""),
    Door(
        "/v1/query",
        lambda url, words: {"image_url": url, "question": words, "settings": _SHORT},
    ),
    Door("/v1/detect", lambda url, words: {"image_url": url, "object": words}),
    Door("/v1/point", lambda url, words: {"image_url": url, "object": words}),
)


@cache
def golden() -> Hostile:
    """The good request that is asked beside each of the others."""
    from hostile.pictures import golden_url

    body = {"image": golden_url(), "max_tokens": 8}
    return Door("/v1/caption", lambda *_: {}).raw("golden", json.dumps(body).encode(), {200}, ())
