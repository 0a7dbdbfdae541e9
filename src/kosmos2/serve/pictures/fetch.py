"""The one place that fetches a picture from another machine: off unless hosts are listed.

https only, from listed hosts only, from public machines only. A name is looked up once and what was
found is dialled, so that a second answer cannot lead elsewhere. Redirects are refused; time and
bytes are limited as a whole. No proxy, no cookies, no key of anybody's.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import ssl
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeAlias

import h11

from kosmos2 import __version__
from kosmos2.serve.failures import Refused
from kosmos2.serve.pictures.addresses import Allowed, Target, is_public

log = logging.getLogger(__name__)

TOTAL_S = 5.0  # from the look-up to the last byte
_DIAL_S = 2.0  # for one machine to answer, as there may be others
_DIALLED = 4  # machines tried, of those that a name stands for
_LOOKUPS = 4  # side by side; a slow one holds its thread for longer than its request waits
_CHUNK = 2**16  # bytes

Streams: TypeAlias = tuple[asyncio.StreamReader, asyncio.StreamWriter]
Resolve: TypeAlias = Callable[[str, int], Sequence[str]]
Dial: TypeAlias = Callable[[str, Target, ssl.SSLContext], Awaitable[Streams]]


def resolve(host: str, port: int) -> list[str]:
    """The numbers that a name stands for."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(one[4][0]) for one in found))


async def dial(address: str, target: Target, tls: ssl.SSLContext) -> Streams:
    """Connect to a number, and have the other side show that it is the host that was meant."""
    return await asyncio.open_connection(
        address, target.port, ssl=tls, server_hostname=target.host, limit=_CHUNK
    )


class Failed(Exception):
    """A picture that could not be fetched, and why, for the log."""


class Fetch:
    """Fetches pictures from the hosts that the operator listed."""

    def __init__(
        self,
        hosts: Sequence[str],
        *,
        most_bytes: int,
        total_s: float = TOTAL_S,
        tls: ssl.SSLContext | None = None,
        resolve: Resolve = resolve,
        dial: Dial = dial,
    ) -> None:
        self.allowed = Allowed(hosts)
        self._most_bytes = most_bytes
        self._total_s = total_s
        self._tls = tls or (ssl.create_default_context() if self.allowed else None)
        self._resolve = resolve
        self._dial = dial
        self._lookups = ThreadPoolExecutor(_LOOKUPS, "kosmos2-lookup") if self.allowed else None

    def close(self) -> None:
        """Look nothing up any more."""
        if self._lookups is not None:
            self._lookups.shutdown(wait=False, cancel_futures=True)

    async def __call__(self, url: str, *, param: str) -> bytes:
        """The bytes at an address.

        Raises:
            Refused: it is not on the list or not public, cannot be fetched, or is too large.
        """
        target = self.allowed.target(url)
        if target is None:
            raise Refused("image_url_not_allowed", param=param)
        try:
            async with asyncio.timeout(self._total_s):
                return await self._get(target, await self._addresses(target, param), param)
        except TimeoutError as error:
            log.info("a picture from %s took too long", target.host)
            raise Refused("image_fetch_failed", param=param) from error
        except (OSError, Failed, UnicodeError, h11.ProtocolError, EOFError) as error:
            log.info("no picture from %s: %s", target.host, type(error).__name__)
            raise Refused("image_fetch_failed", param=param) from error

    async def _addresses(self, target: Target, param: str) -> Sequence[str]:
        """What the host stands for; if any of it is not public, none of it is used."""
        loop = asyncio.get_running_loop()
        found = await loop.run_in_executor(self._lookups, self._resolve, target.host, target.port)
        if not all(map(is_public, found)):
            log.warning("%s, a host on the list, stands for a machine not in public", target.host)
            raise Refused("image_url_not_allowed", param=param)
        return found[:_DIALLED]

    async def _get(self, target: Target, addresses: Sequence[str], param: str) -> bytes:
        reader, writer = await self._connected(target, addresses)
        try:
            http = h11.Connection(h11.CLIENT)
            asked = h11.Request(
                method="GET",
                target=target.path,
                headers=[
                    ("Host", target.authority),
                    ("User-Agent", f"kosmos2/{__version__}"),
                    ("Accept", "image/*"),
                    ("Accept-Encoding", "identity"),
                    ("Connection", "close"),
                ],
            )
            writer.write(http.send(asked) + http.send(h11.EndOfMessage()))
            await writer.drain()
            return await self._picture(http, reader, param)
        finally:
            writer.transport.abort()  # a goodbye could take longer than the picture

    async def _connected(self, target: Target, addresses: Sequence[str]) -> Streams:
        assert self._tls is not None
        for address in addresses:
            try:
                async with asyncio.timeout(_DIAL_S):
                    return await self._dial(address, target, self._tls)
            except OSError as error:  # a time-out is one of them
                log.info("%s cannot be reached: %s", target.host, type(error).__name__)
        raise Failed("no machine answers")

    async def _picture(
        self, http: h11.Connection, reader: asyncio.StreamReader, param: str
    ) -> bytes:
        """The body of the reply, never more of it than is allowed."""
        parts: list[bytes] = []
        held = 0
        while True:
            event = http.next_event()
            if event is h11.NEED_DATA:
                http.receive_data(await reader.read(_CHUNK))
            elif isinstance(event, h11.Response):
                self._check(event, param)
            elif isinstance(event, h11.Data):
                parts.append(bytes(event.data))
                held += len(event.data)
                if held > self._most_bytes:
                    raise Refused("image_too_large", param=param)
            elif isinstance(event, h11.EndOfMessage):
                return b"".join(parts)
            elif not isinstance(event, h11.InformationalResponse):
                raise Failed("the reply ended early")

    def _check(self, reply: h11.Response, param: str) -> None:
        if reply.status_code != 200:  # above all no redirect: it would lead past the list
            raise Failed("not there")
        headers = dict(reply.headers)
        if not headers.get(b"content-type", b"").lower().startswith(b"image/"):
            raise Failed("no picture")
        if headers.get(b"content-encoding", b"identity").lower() != b"identity":
            raise Failed("packed, which may hide any size")
        if int(headers.get(b"content-length", b"0")) > self._most_bytes:
            raise Refused("image_too_large", param=param)
