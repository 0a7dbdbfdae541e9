"""The key that a request brings, wherever its client puts it.

`Authorization: Bearer KEY` is what programs send, `Authorization: Basic base64(anything:KEY)` what
a browser sends after asking for a password, `X-Moondream-Auth: KEY` what Moondream's client sends.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterable, Sequence

Headers = Iterable[tuple[bytes, bytes]]


def offered(headers: Headers) -> bytes | None:
    """The key, or None: without one, with two, or in a form that is none of the three.

    Two are refused even if they agree. A proxy in front may have looked at one of them, and we at
    the other.
    """
    brought = [h for h in headers if h[0] in (b"authorization", b"x-moondream-auth")]
    if len(brought) != 1:
        return None
    [(name, value)] = brought
    if name == b"x-moondream-auth":
        return value.strip() or None
    scheme, _, rest = value.partition(b" ")
    key = rest.strip()
    match scheme.lower():
        case b"bearer":
            return key or None
        case b"basic":
            return _password(key)
    return None


def challenge(method: str, headers: Headers) -> str:
    """How to ask for a key: a browser that opens a page asks its user, a program is told.

    Basic goes to nobody else, or every failed call of a page would open a dialogue.
    """
    accepted = b",".join(values(headers, b"accept"))
    if method == "GET" and b"text/html" in accepted.lower():
        return 'Basic realm="kosmos2", charset="UTF-8"'
    return 'Bearer realm="kosmos2"'


def values(headers: Headers, name: bytes) -> Sequence[bytes]:
    """All values of a header; ASGI's names are in lower case."""
    return [value for found, value in headers if found == name]


def _password(encoded: bytes) -> bytes | None:
    try:
        decoded = base64.b64decode(encoded, validate=True)
    except binascii.Error:
        return None
    _, colon, password = decoded.partition(b":")
    return password if colon and password else None
