"""Turning a crowd away at its first packet.

Where ten times as many ask as can be answered, saying no is most of the work: read as HTTP and
sent through the whole app, each no takes the event loop about a millisecond, and the last of a
hundred that come together waits for all of them. Here it takes a tenth. It is the same no in the
same words: only what the guard would turn away for want of room, and only if its head is whole and
plain. All else takes the long way and hears there whatever it hears.

A line of the log for each would be half of that tenth, so a crowd has one a second.
"""

from __future__ import annotations

import asyncio
import logging
import re
import time
from collections import Counter
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from kosmos2.serve import failures, watch
from kosmos2.serve.bodies import announced, check_headers
from kosmos2.serve.credentials import Headers
from kosmos2.serve.failures import Refused
from kosmos2.serve.guard import SECURITY, key_of, named, request_id_of, taken

if TYPE_CHECKING:
    from kosmos2.serve.desk import Desk

log = logging.getLogger(__name__)

LOGGED_S = 1.0  # between two lines of the log

_FIRST = re.compile(rb"POST (/v1/[a-z0-9/._-]{1,64}) HTTP/1\.1\r\n")
_HEADER = re.compile(rb"([A-Za-z0-9-]{1,64}):[ \t]*([!-~](?:[ -~]*[!-~])?)[ \t]*")
_OTHERWISE = (b"transfer-encoding", b"expect", b"upgrade")  # heard in another way


@dataclass(frozen=True, slots=True)
class TurnedAway:
    """What is said to one of a crowd."""

    reply: bytes
    unheard: int  # bytes of its body that are still to come


class Crowd:
    """Knows whom there is no room for."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._turned = Counter[str]()  # by who asked, since the last line of the log

    def __call__(
        self, packet: bytes, default_headers: Headers, *, newcomer: object = None
    ) -> TurnedAway | None:
        """What is said at once to who sends this first; None: it takes the long way.

        Args:
            packet: the first bytes of a request.
            default_headers: what every reply of this server has.
            newcomer: who it is, if there is no connection yet: see `Admission.has_place`.
        """
        admission = self._desk.admission
        if not (admission.full if newcomer is None else admission.crowd_about):
            return None
        began = time.monotonic()
        scope, start = _read(packet)
        if scope is None:
            return None
        headers, refused = scope["headers"], None
        try:
            key = key_of(scope, self._desk)
            check_headers(headers)
            length = announced(headers) or 0  # not left open: that is no plain head
            if newcomer is not None and admission.has_place(newcomer=True):
                admission.expect(newcomer)  # whose key is asked for it when he is here
                return None
            with taken(scope, key, self._desk):
                admission.check(newcomer=newcomer is not None)
        except Refused as error:
            refused = error.bare()
        if refused is None or refused.code != "overloaded":
            return None
        request_id = request_id_of(headers)
        self._desk.metrics.refused.labels(refused.code).inc()
        watch.measure(
            scope, self._desk.metrics, status=refused.status, took_s=time.monotonic() - began
        )
        if not self._turned:
            asyncio.get_running_loop().call_later(LOGGED_S, self._log)
        self._turned[named(key)] += 1
        head, body = _said(refused.retry_after_s)
        more = [*default_headers, (b"x-request-id", request_id.encode())]
        reply = b"".join((head, *(b"%b: %b\r\n" % pair for pair in more), b"\r\n", body))
        return TurnedAway(reply, max(length - (len(packet) - start), 0))

    def _log(self) -> None:
        each = ", ".join(f"{count} of {name}" for name, count in self._turned.most_common())
        self._turned.clear()
        log.info("turned away within %g s, for want of room: %s", LOGGED_S, each)


def _read(packet: bytes) -> tuple[dict[str, Any] | None, int]:
    """The head of a request, if it is whole and as plain as can be, and where its body starts."""
    first, end = _FIRST.match(packet), packet.find(b"\r\n\r\n")
    if first is None or end < first.end():
        return None, 0
    headers = []
    for line in packet[first.end() : end].split(b"\r\n"):
        header = _HEADER.fullmatch(line)
        if header is None or (name := header[1].lower()) in _OTHERWISE:
            return None, 0
        headers.append((name, header[2]))
    scope = {"method": "POST", "path": first[1].decode(), "headers": headers}
    return scope, end + 4


@lru_cache(maxsize=64)  # there are sixty
def _said(retry_after_s: int | None) -> tuple[bytes, bytes]:
    """The head, without what differs from reply to reply, and the body."""
    response = failures.response(Refused("overloaded", retry_after_s=retry_after_s))
    names = {name for name, _ in response.raw_headers}
    headers = [
        *response.raw_headers,
        *((name, value) for name, value in SECURITY.items() if name not in names),
        (b"connection", b"close"),
    ]
    lines = [b"HTTP/1.1 %d Too Many Requests\r\n" % response.status_code]
    lines += [b"%b: %b\r\n" % pair for pair in headers]
    return b"".join(lines), bytes(response.body)
