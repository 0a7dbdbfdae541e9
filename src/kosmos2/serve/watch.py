"""Outermost of all: a few figures and, but in a crowd, one line of the log for each request."""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING

from kosmos2.serve.metrics import Metrics

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

log = logging.getLogger(__name__)

LONGEST_PATH = 200  # characters of a path in the log
GONE = 499  # what a request counts as whose client left before any answer


class Watch:
    """Notes method, path, status, time, request id and the key's name; never what was asked."""

    def __init__(self, app: ASGIApp, *, metrics: Metrics) -> None:
        self._app = app
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let the app answer, and look on."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began, reply = time.monotonic(), _Reply(send)

        async def listen() -> Message:
            message = await receive()
            # Also what a client does that has all it wanted.
            reply.left |= message["type"] == "http.disconnect" and not reply.whole
            return message

        try:
            await self._app(scope, listen, reply)
        finally:
            if reply.left:
                self._metrics.cancelled.inc()
            caller = scope.get("state", {}).get("caller")
            took_s = time.monotonic() - began
            measure(scope, self._metrics, status=reply.status, took_s=took_s)
            log.info(
                "%s %s %d %.3f s %s %s",
                _tame(scope["method"]),
                _tame(scope["path"]),
                reply.status,
                took_s,
                reply.request_id,
                "-" if caller is None else caller.name,
            )


def measure(scope: Scope, metrics: Metrics, *, status: int, took_s: float) -> None:
    """Count one request."""
    route = getattr(scope.get("route"), "path", "none")
    metrics.duration.labels(route, str(status)).observe(took_s)


class _Reply:
    """Sends on, and reads along."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self.status = GONE
        self.whole = False
        self.left = False  # the client, before it was whole
        self.request_id = "-"

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            for name, value in message.get("headers", []):
                if name.lower() == b"x-request-id":
                    self.request_id = value.decode("latin-1")
        elif not message.get("more_body", False):
            self.whole = True
        await self._send(message)


def _tame(text: str) -> str:
    """A client's text in one line of plain characters, whatever it holds."""
    short = text if len(text) <= LONGEST_PATH else f"{text[:LONGEST_PATH]}..."
    return short.encode("unicode_escape").decode("ascii").replace(" ", "\\x20")
