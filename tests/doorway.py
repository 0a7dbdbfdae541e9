"""A guard with small apps behind it, and clients that send and hear part by part."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from kosmos2.serve.admission import Admission
from kosmos2.serve.guard import Guard
from kosmos2.serve.keys import Keys
from kosmos2.serve.metrics import Metrics
from kosmos2.serve.rates import Rates
from kosmos2.serve.settings import Limits, Settings

LIMITS = Limits(body_bytes=1000, body_s=60.0)
JSON = {"content-type": "application/json"}


@dataclass
class Said:
    """A reply, as the client sees it."""

    status: int = 0
    headers: list[tuple[str, str]] = field(default_factory=list)
    body: bytes = b""
    parts: int = 0

    def header(self, name: str) -> str | None:
        found = [value for one, value in self.headers if one == name]
        assert len(found) < 2, f"{name} twice"
        return found[0] if found else None

    @property
    def code(self) -> str:
        error = json.loads(self.body)["error"]
        assert set(error) == {"message", "type", "param", "code"}
        return error["code"]


class Line:
    """The client's end: sends parts of a body, hears the reply, may leave."""

    def __init__(self, parts: Iterable[bytes] = (b"",), *, whole: bool = True) -> None:
        self.parts, self.whole = list(parts), whole
        self.said = Said()
        self.heard = asyncio.Event()  # the reply is whole
        self.left = asyncio.Event()
        self.taken = 0  # parts that were read

    async def receive(self) -> dict[str, Any]:
        if self.taken < len(self.parts):
            self.taken += 1
            more = not self.whole or self.taken < len(self.parts)
            return {"type": "http.request", "body": self.parts[self.taken - 1], "more_body": more}
        await self.left.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: dict[str, Any]) -> None:
        if message["type"] == "http.response.start":
            self.said.status = message["status"]
            self.said.headers = [(n.decode(), v.decode()) for n, v in message["headers"]]
        else:
            self.said.body += message.get("body", b"")
            self.said.parts += 1
            if not message.get("more_body"):
                self.heard.set()


App = Callable[[dict, Callable, Callable], Awaitable[None]]


def scope_of(method: str, path: str, headers: dict | list) -> dict[str, Any]:
    pairs = list(headers.items()) if isinstance(headers, dict) else headers
    return {
        "type": "http",
        "method": method,
        "path": path,
        "headers": [(name.lower().encode(), value.encode("latin-1")) for name, value in pairs],
    }


async def echo(scope: dict, receive: Callable, send: Callable) -> None:
    """Answers with what came through: the body, and who asked."""
    body = (await receive())["body"]
    caller = scope["state"]["caller"]
    start = {"status": 200, "headers": [(b"x-caller", caller.name.encode())]}
    await send({"type": "http.response.start", **start})
    await send({"type": "http.response.body", "body": body})


class House:
    """A guard, and what it needs of a desk."""

    def __init__(self, app: App = echo, *, keys: Keys | None = None, **settings: Any) -> None:
        settings = {"open": keys is None, "limits": LIMITS, **settings}
        self.settings = Settings(**settings)
        self.limits, self.keys, self.metrics = self.settings.limits, keys, Metrics()
        self.rates = Rates()
        self.admission = Admission(self.limits, self.metrics)
        self.guard = Guard(app, desk=self)  # type: ignore[arg-type]

    async def hear(
        self, line: Line, method: str = "GET", path: str = "/", headers: dict | list | None = None
    ) -> Said:
        await self.guard(scope_of(method, path, headers or {}), line.receive, line.send)
        return line.said

    def ask(
        self,
        method: str = "GET",
        path: str = "/",
        headers: dict | list | None = None,
        body: bytes = b"",
    ) -> Said:
        pairs = list((headers or {}).items()) if not isinstance(headers, list) else headers
        if body and not any(name == "content-length" for name, _ in pairs):
            pairs = [*pairs, ("content-length", str(len(body)))]
        return asyncio.run(self.hear(Line([body]), method, path, pairs))

    def post(self, body: bytes, path: str = "/v1/x", headers: dict | None = None) -> Said:
        return self.ask("POST", path, {**JSON, **(headers or {})}, body)

    def inside(self) -> int:
        return self.admission.inside
