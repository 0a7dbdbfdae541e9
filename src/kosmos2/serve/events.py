"""Server-sent events: what is ready goes out at once, and together."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from typing import Any

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from kosmos2.serve.failures import Refused, logged, told

HEADERS = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}  # nobody on the way waits either
DONE = b"data: [DONE]\n\n"


def event(data: Any, name: str | None = None) -> bytes:
    """One event."""
    line = json.dumps(data, ensure_ascii=False, separators=(",", ":"))
    return f"event: {name}\ndata: {line}\n\n".encode() if name else f"data: {line}\n\n".encode()


class EventStream(Response):
    """A reply that grows.

    The events come from an iterator that may be asked for the next before the last is sent. What
    came meanwhile goes out in one piece. A client that leaves ends the iterator.
    """

    media_type = "text/event-stream"

    def __init__(
        self,
        events: AsyncIterator[bytes],
        *,
        within: AbstractAsyncContextManager[Any],
        failed: Callable[[Refused], bytes],
        request_id: str,
    ) -> None:
        """A stream that has not begun.

        Args:
            events: what is sent.
            within: what is held meanwhile: leaving it ends the work behind the events.
            failed: the last event, if something goes wrong on the way.
            request_id: for the log.
        """
        self.status_code = 200
        self.background = None
        self.init_headers(HEADERS)
        self._events = events
        self._within = within
        self._failed = failed
        self._request_id = request_id
        self._ready: list[bytes] = []
        self._news = asyncio.Event()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send it all, as long as somebody listens."""
        async with self._within:
            making = asyncio.ensure_future(self._make())
            leaving = asyncio.ensure_future(_left(receive))
            for task in (making, leaving):
                task.add_done_callback(lambda _: self._news.set())
            try:
                await send(
                    {
                        "type": "http.response.start",
                        "status": self.status_code,
                        "headers": self.raw_headers,
                    }
                )
                while not leaving.done():
                    await self._news.wait()
                    self._news.clear()
                    over = making.done()  # first: what it made is ready by then
                    if self._ready:
                        body, self._ready = b"".join(self._ready), []
                        await send({"type": "http.response.body", "body": body, "more_body": True})
                    if over:
                        await send({"type": "http.response.body", "body": b"", "more_body": False})
                        return
            finally:
                for task in (making, leaving):
                    task.cancel()
                await asyncio.gather(making, leaving, return_exceptions=True)

    async def _make(self) -> None:
        """Fetch events, and tell if that fails."""
        try:
            async for one in self._events:
                self._ready.append(one)
                self._news.set()
        except Exception as error:  # noqa: BLE001 - the head is sent: it is told in the stream
            refused = told(error)
            if refused.code == "internal":
                logged(error, self._request_id)
            self._ready.append(self._failed(refused))


async def _left(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
