"""A request's body: read within limits, then checked once, so that no route sees anything odd.

JSON as the standard has it is wider than anybody needs, and Python's reader is wider still. Two
readers of one odd document may see two different things, so an odd one is refused.
"""

from __future__ import annotations

import asyncio
import json
import math
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NoReturn

from kosmos2.serve.credentials import Headers, values
from kosmos2.serve.failures import Refused
from kosmos2.serve.settings import Limits

if TYPE_CHECKING:
    from starlette.types import Receive

DEPTH = 64  # levels of lists and objects
SYMBOLS = 50_000  # commas and opening brackets: more is a flood, seen without reading it
DIGITS = 64  # of a number; a float has 17, the largest seed 20
INTEGER_DIGITS = 20
BODIES = 16  # bodies of full size whose bytes may be in memory together
LINGER_S, LINGER_BYTES = 2.0, 64 * 2**20  # of a refused body, heard out so that its sender hears us

_JSON = re.compile(rb'application/json(?:\s*;\s*charset="?utf-8"?)?\s*', re.IGNORECASE)
_LENGTH = re.compile(rb"[0-9]{1,18}")
_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]")


class Gone(Exception):
    """The client left before its body was whole."""


class Bodies:
    """Reads bodies; those of all requests together take no more memory than `most_bytes`."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._most_bytes = BODIES * limits.body_bytes
        self.bytes = 0  # of bodies that are being read or answered

    @contextmanager
    def held(self) -> Iterator[Body]:
        """A place for one body; its bytes count until the request is over."""
        body = Body()
        try:
            yield body
        finally:
            self.let_go(body)

    def let_go(self, body: Body) -> None:
        """Count it no longer."""
        self.bytes -= body.counted
        body.counted = 0

    async def read(self, body: Body, headers: Headers, receive: Receive) -> bytes:
        """The whole of it.

        Raises:
            Refused: too large, too slow, or no memory for one more.
            Gone: the client left.
        """
        said = announced(headers)
        if said is not None and said > self._limits.body_bytes:
            raise Refused("body_too_large", limit=self._limits.body_bytes)
        try:
            async with asyncio.timeout(self._limits.body_s):
                while not body.whole:
                    self._count(body, await body.more(receive))
        except TimeoutError:
            raise Refused("request_timeout") from None
        return body.data()

    def _count(self, body: Body, arrived: int) -> None:
        body.counted += arrived
        self.bytes += arrived
        if body.counted > self._limits.body_bytes:
            raise Refused("body_too_large", limit=self._limits.body_bytes)
        if self.bytes > self._most_bytes:
            raise Refused("overloaded", retry_after_s=1)


class Body:
    """What has come of one body."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []
        self.whole = False
        self.counted = 0

    async def more(self, receive: Receive) -> int:
        """Wait for the next part; how many bytes it has."""
        message = await receive()
        if message["type"] != "http.request":
            self.whole = True
            raise Gone
        self.whole = not message.get("more_body", False)
        part: bytes = message.get("body", b"")
        self._parts.append(part)
        return len(part)

    def data(self) -> bytes:
        """All parts in one; the parts are let go."""
        data = self._parts[0] if len(self._parts) == 1 else b"".join(self._parts)
        self._parts.clear()
        return data

    async def linger(self, receive: Receive) -> None:
        """Hear out the rest of a refused body, within reason, and keep none of it.

        Closing on a client that is still sending would take the reply away from it.
        """
        self._parts.clear()
        left = LINGER_BYTES
        try:
            async with asyncio.timeout(LINGER_S):
                while not self.whole and left > 0:
                    left -= await self.more(receive)
                    self._parts.clear()
        except (TimeoutError, Gone):
            return


def check_headers(headers: Headers) -> None:
    """Refuse what says of itself that it is no plain JSON.

    Raises:
        Refused: packed, of another type, or of a length told in two ways.
    """
    if any(
        v.strip().lower() not in (b"", b"identity") for v in values(headers, b"content-encoding")
    ):
        raise Refused("unsupported_encoding")
    if values(headers, b"transfer-encoding") and values(headers, b"content-length"):
        raise Refused("invalid_request")
    if announced(headers) == 0:
        return
    types = values(headers, b"content-type")
    if len(types) != 1 or not _JSON.fullmatch(types[0]):
        raise Refused("unsupported_media_type")


def announced(headers: Headers) -> int | None:
    """How many bytes the headers promise; None if that is left open.

    Raises:
        Refused: a length that is no number.
    """
    if values(headers, b"transfer-encoding"):
        return None
    lengths = values(headers, b"content-length")
    if not lengths:
        return 0
    if len(lengths) != 1 or not _LENGTH.fullmatch(lengths[0]):
        raise Refused("invalid_request")
    return int(lengths[0])


def check_json(data: bytes) -> Any:
    """Read a document, and refuse it if it is odd.

    No limit takes a loop over all its bytes: ten million of them may be one picture.

    Raises:
        Refused: not JSON in UTF-8; NaN, Infinity or a number beyond all use; a name twice in one
            object; half a surrogate pair; too deep; too many values.
    """
    openings = data.count(b"[") + data.count(b"{")
    if openings + data.count(b",") > SYMBOLS:
        raise Refused("invalid_json")
    try:
        document = _DECODER.decode(data.decode("utf-8"))
    except (ValueError, RecursionError):
        raise Refused("invalid_json") from None
    if openings > DEPTH or _SURROGATE.search(data):
        _walk(document)
    return document


def _walk(document: Any) -> None:
    """Look at each value, a level at a time."""
    level, depth = [document], 0
    while level:
        inner: list[Any] = []
        for value in level:
            if isinstance(value, dict | list):
                if depth == DEPTH:
                    raise Refused("invalid_json")
                inner += value  # the names of an object, too
                if isinstance(value, dict):
                    inner += value.values()
            elif isinstance(value, str) and not value.isascii():
                _check_text(value)
        level, depth = inner, depth + 1


def _check_text(text: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError:
        raise Refused("invalid_json") from None


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) != len(pairs):
        raise ValueError("a name twice")
    return made


def _float(digits: str) -> float:
    if len(digits) > DIGITS or not math.isfinite(number := float(digits)):
        raise ValueError("too large, or too long")
    return number


def _integer(digits: str) -> int:
    if len(digits.lstrip("-")) > INTEGER_DIGITS:
        raise ValueError("too large")
    return int(digits)


def _constant(name: str) -> NoReturn:
    raise ValueError(name)


_DECODER = json.JSONDecoder(
    object_pairs_hook=_object,
    parse_float=_float,
    parse_int=_integer,
    parse_constant=_constant,
)
