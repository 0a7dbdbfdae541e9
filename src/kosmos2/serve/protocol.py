"""HTTP as uvicorn speaks it, without patience for clients that hold a connection and say nothing.

uvicorn waits for ever for the first byte of a request and for the end of its headers, and for a
client that reads nothing. Here each of them has a time, and there are only so many connections:
one more takes the place of the one that has been silent for longest.
"""

from __future__ import annotations

import asyncio
import resource
from collections.abc import Callable
from typing import Any

import h11
from uvicorn.config import Config
from uvicorn.protocols.http.h11_impl import DEFAULT_MAX_INCOMPLETE_EVENT_SIZE, H11Protocol
from uvicorn.server import ServerState

from kosmos2.serve import failures
from kosmos2.serve.bodies import LINGER_BYTES, LINGER_S
from kosmos2.serve.credentials import Headers
from kosmos2.serve.crowd import TurnedAway
from kosmos2.serve.failures import Refused

CONNECTIONS = 1000
OTHER_FILES = 256  # that a server needs open beside its connections
UNREAD_S = 30.0  # for a client to read what fills the buffers between us and it
LAST_S = 5.0  # for what was still to be sent when a connection was closed


def protocol(
    *,
    header_s: float,
    connections: int = CONNECTIONS,
    turn_away: Callable[[bytes, Headers], TurnedAway | None] = lambda packet, headers: None,
) -> type[H11Protocol]:
    """A class for uvicorn's `http` setting; each server needs its own.

    Args:
        header_s: from the start of a connection, or the first byte of a later request on it, to
            the end of the headers.
        connections: at most; fewer where the system allows only few open files.
        turn_away: what is said at once to who sends this first packet; None: it is read.
    """
    files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if files != resource.RLIM_INFINITY:
        connections = max(min(connections, files - OTHER_FILES), 1)
    silent: dict[Impatient, None] = {}  # between requests, the longest first

    class Impatient(H11Protocol):
        """A connection whose client has to keep going."""

        def __init__(
            self,
            config: Config,
            server_state: ServerState,
            app_state: dict[str, Any],
            _loop: asyncio.AbstractEventLoop | None = None,
        ) -> None:
            super().__init__(config, server_state, app_state, _loop)
            self._header_timer: asyncio.TimerHandle | None = None
            self._unread_timer: asyncio.TimerHandle | None = None
            self._last_timer: asyncio.TimerHandle | None = None
            self._unheard: int | None = None  # bytes that are still sent by who was turned away

        def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
            super().connection_made(transport)
            if len(self.connections) > connections:
                oldest = next(iter(silent), self)
                silent.pop(oldest, None)
                oldest.transport.abort()
                if oldest is self:
                    return
            self._listen()

        def connection_lost(self, exc: Exception | None) -> None:
            self._hear()
            self._stop_unread()
            if self._last_timer is not None:  # which would hold all of this until it rings
                self._last_timer.cancel()
            super().connection_lost(exc)
            _out_of_its_ring(self.transport)

        def data_received(self, data: bytes) -> None:
            if self._unheard is not None:
                self._hear_out(len(data))
                return
            if self.conn.their_state is h11.IDLE:
                if not self.conn.trailing_data[0]:
                    turned = turn_away(data, self.server_state.default_headers)
                    if turned is not None:
                        self._turn_away(turned)
                        return
                if self._header_timer is None:
                    self._listen()
            super().data_received(data)
            if self.conn.their_state is not h11.IDLE:
                self._hear()

        def on_response_complete(self) -> None:
            super().on_response_complete()
            if self.transport.is_closing():
                self._end_soon()
            elif self.conn.their_state is h11.IDLE:
                silent[self] = None

        def send_400_response(self, msg: str) -> None:
            """Say it in the shape of every other error; uvicorn's own is plain text."""
            long = len(self.conn.trailing_data[0]) > DEFAULT_MAX_INCOMPLETE_EVENT_SIZE
            self._refuse(Refused("headers_too_large" if long else "invalid_request"))

        def pause_writing(self) -> None:
            super().pause_writing()
            self._stop_unread()
            self._unread_timer = self.loop.call_later(UNREAD_S, self.transport.abort)

        def resume_writing(self) -> None:
            super().resume_writing()
            self._stop_unread()

        def _listen(self) -> None:
            """Wait for headers, but not for ever."""
            silent[self] = None
            self._header_timer = self.loop.call_later(header_s, self._too_slow)

        def _hear(self) -> None:
            """The headers are whole, or will never be."""
            silent.pop(self, None)
            if self._header_timer is not None:
                self._header_timer.cancel()
                self._header_timer = None

        def _stop_unread(self) -> None:
            if self._unread_timer is not None:
                self._unread_timer.cancel()
                self._unread_timer = None

        def _too_slow(self) -> None:
            if self.transport.is_closing():
                return
            if self.conn.trailing_data[0]:
                self._refuse(Refused("request_timeout"))
            else:
                self.transport.close()  # nothing was asked

        def _turn_away(self, turned: TurnedAway) -> None:
            """Say so, hear out who is still sending, and hang up.

            Hanging up on a client that is still sending would take the reply away from it.
            """
            self._hear()
            self._unset_keepalive_if_required()
            self._unheard = min(turned.unheard, LINGER_BYTES)
            self.transport.write(turned.reply)
            if self._unheard:
                self._last_timer = self.loop.call_later(LINGER_S, self.transport.close)
            self._hear_out(0)

        def _hear_out(self, more: int) -> None:
            assert self._unheard is not None
            self._unheard -= more
            if self._unheard <= 0:
                self.transport.close()

        def _refuse(self, refused: Refused) -> None:
            """Answer what is no request, and hang up."""
            if self.cycle is not None:
                self.cycle.disconnected = True  # whoever answers an earlier one on this line
            if self.conn.our_state not in (h11.IDLE, h11.SEND_RESPONSE):
                self.transport.abort()
                return
            response = failures.response(refused)
            headers = [*response.raw_headers, (b"connection", b"close")]
            reply = h11.Response(status_code=response.status_code, headers=headers)
            for event in (reply, h11.Data(data=bytes(response.body)), h11.EndOfMessage()):
                if sent := self.conn.send(event):
                    self.transport.write(sent)
            self.transport.close()
            self._end_soon()

        def _end_soon(self) -> None:
            """What is still to be sent has so long."""
            self._last_timer = self.loop.call_later(LAST_S, self.transport.abort)

    return Impatient


def _out_of_its_ring(transport: asyncio.BaseTransport) -> None:
    """Let a transport that is over be freed when nobody holds it.

    asyncio's own keeps a method of itself, so each that is over would lie about, six objects and a
    thousand of them in a crowd, until they are searched for: 10 to 29 ms for which nobody is heard.
    """
    getattr(transport, "__dict__", {}).pop("_read_ready_cb", None)
