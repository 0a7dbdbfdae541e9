"""Asks a server over plain sockets, and looks at the clock.

Server and client share the machine's cores, so this client does next to nothing: a request is bytes
that were made beforehand, a reply is searched for three marks and never parsed.
"""

from __future__ import annotations

import asyncio
import base64
import json
import re
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

EXAMPLES = Path(str(files("kosmos2"))) / "assets" / "examples"
FIRST = re.compile(rb'"delta":\{"(?:content":"|grounding":\{"entities")')
HEAD = b'"role":"assistant","content":""'
TOKENS = re.compile(rb'"completion_tokens":(\d+)')
RETRY = re.compile(rb"\r\nretry-after: (\d+)\r\n")
CODE = re.compile(rb'"code":"(\w+)"')
TAIL = 80  # bytes of a mark that may come in two pieces
PATIENCE_S = 300.0


@dataclass(frozen=True, slots=True)
class Reply:
    """What came of a request; times are seconds since it was sent."""

    status: int  # 0: the line broke, or took too long
    head_s: float  # to the first byte
    first_s: float | None  # to the first words or entity of a stream
    whole_s: float  # to the last byte
    tokens: int
    code: str | None  # of a refusal, also of one at the end of a stream
    retry_after_s: int | None

    @property
    def answered(self) -> bool:
        """Whether it has its whole answer."""
        return self.status == 200 and self.code is None


class Exchange(asyncio.Protocol):
    """One request and its reply, on a connection of its own."""

    def __init__(self, request: bytes, over: asyncio.Future[None]) -> None:
        self._request, self._over = request, over
        self._sent_s = 0.0
        self._head_s = self._last_s = 0.0
        self._first_s: float | None = None
        self._parts: list[bytes] = []
        self._tail = b""

    def connection_made(self, transport: Any) -> None:
        """Send it all."""
        self._sent_s = time.perf_counter()
        transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        """Keep it, and note the moment."""
        self._last_s = time.perf_counter()
        self._head_s = self._head_s or self._last_s
        self._parts.append(data)
        if self._first_s is None:
            seen = self._tail + data
            if FIRST.search(seen.replace(HEAD, b"")):
                self._first_s = self._last_s
            self._tail = seen[-TAIL:]

    def connection_lost(self, error: Exception | None) -> None:
        """The server closes when everything is said."""
        if not self._over.done():
            self._over.set_result(None)

    def reply(self) -> Reply:
        """What came."""
        data = b"".join(self._parts)
        status = int(data[9:12]) if data.startswith(b"HTTP/1.1 ") else 0
        tokens = TOKENS.findall(data)
        code, retry = CODE.search(data), RETRY.search(data)
        first_s = None if self._first_s is None else self._first_s - self._sent_s
        return Reply(
            status=status if self._over.done() else 0,
            head_s=self._head_s - self._sent_s,
            first_s=first_s,
            whole_s=self._last_s - self._sent_s,
            tokens=int(tokens[-1]) if tokens else 0,
            code=code[1].decode() if code else None,
            retry_after_s=int(retry[1]) if retry else None,
        )


async def send(url: str, request: bytes, *, leave_after_s: float | None = None) -> Reply:
    """One request; a client without patience leaves, whatever has come by then."""
    loop = asyncio.get_running_loop()
    address = urlsplit(url)
    exchange = Exchange(request, loop.create_future())
    try:
        transport, _ = await loop.create_connection(
            lambda: exchange, address.hostname, address.port
        )
    except OSError:
        return Reply(0, 0.0, None, 0.0, 0, None, None)
    try:
        await asyncio.wait((exchange._over,), timeout=leave_after_s or PATIENCE_S)
        return exchange.reply()
    finally:
        transport.abort()


def request_of(url: str, body: Any, path: str = "/v1/chat/completions") -> bytes:
    """The bytes of a request."""
    data = json.dumps(body).encode()
    head = (
        f"POST {path} HTTP/1.1\r\nHost: {urlsplit(url).netloc}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(data)}\r\n"
        "Connection: close\r\n\r\n"
    )
    return head.encode() + data


def get(url: str, path: str) -> bytes:
    """The bytes of a request without a body."""
    head = f"GET {path} HTTP/1.1\r\nHost: {urlsplit(url).netloc}\r\nConnection: close\r\n\r\n"
    return head.encode()


def pictures() -> list[bytes]:
    """The files of the shipped examples."""
    return [path.read_bytes() for path in sorted(EXAMPLES.glob("*.jpg"))]


def data_url(jpeg: bytes) -> str:
    """A picture as an address."""
    return f"data:image/jpeg;base64,{base64.b64encode(jpeg).decode()}"


def another(jpeg: bytes, number: int) -> bytes:
    """The same picture in other bytes: a comment of four says which one it is."""
    return jpeg[:2] + b"\xff\xfe\x00\x06" + number.to_bytes(4, "big") + jpeg[2:]


def body_of(jpeg: bytes, words: str, **more: Any) -> dict[str, Any]:
    """A chat request about a picture, streamed, with its usage at the end."""
    parts = [
        {"type": "image_url", "image_url": {"url": data_url(jpeg)}},
        {"type": "text", "text": words},
    ]
    stream = {"stream": True, "stream_options": {"include_usage": True}}
    return {"messages": [{"role": "user", "content": parts}], **stream, **more}


# What people ask for, more often first: a caption, a longer one, a question, where something is.
MIX: Sequence[dict[str, Any]] = (
    {"words": "An image of"},
    {"words": "Describe this image in detail:"},
    {"words": "What is in the picture?"},
    {"words": "An image of", "grounding": {"enabled": False}},
    {"words": "", "grounding": {"phrases": ["a snowman", "a drum"]}},
    {"words": "", "grounding": {"boxes": [[0.2, 0.2, 0.8, 0.8]]}},
)


def mixed(url: str, *, fresh: bool = False) -> Iterator[bytes]:
    """Requests without end, every wish about every picture in turn.

    Args:
        url: of the server.
        fresh: let no picture come twice, so that each has to be looked at.
    """
    jpegs, number = pictures(), 0
    ready: dict[tuple[int, int], bytes] = {}
    while True:
        at = (number % len(jpegs), number // len(jpegs) % len(MIX))
        if fresh or at not in ready:
            jpeg = another(jpegs[at[0]], number) if fresh else jpegs[at[0]]
            wish = dict(MIX[at[1]])
            ready[at] = request_of(url, body_of(jpeg, wish.pop("words"), **wish))
        yield ready[at]
        number += 1


def shares(seconds: Sequence[float | None]) -> dict[str, float | None]:
    """Percentiles in milliseconds."""
    found = sorted(one * 1000 for one in seconds if one is not None)
    if not found:
        return {"p50": None, "p95": None, "p99": None, "max": None}
    places = {"p50": 0.5, "p95": 0.95, "p99": 0.99, "max": 1.0}
    return {n: round(found[round(p * (len(found) - 1))], 1) for n, p in places.items()}


def figures(text: str) -> dict[str, float]:
    """The plain values of `/metrics`, by name and labels."""
    lines = (line.rpartition(" ") for line in text.splitlines() if line and line[0] != "#")
    return {name: float(value) for name, _, value in lines}
