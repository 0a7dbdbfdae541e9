"""The bytes in a `data:` address, read strictly: one form, and no guessing."""

from __future__ import annotations

import binascii
import re
import time

from kosmos2.serve.failures import Refused

# Which of these is said does not matter, since many clients say jpeg of everything.
_HEAD = re.compile(
    r"data:image/(?:png|jpeg|jpg|webp|gif|bmp|tiff);base64,", re.IGNORECASE | re.ASCII
)
_LONGEST_HEAD = 32  # characters
_SLICE = 2**16  # characters decoded at once, whole groups of four


def is_data_url(url: str) -> bool:
    """Whether an address holds its own bytes."""
    return url[:5].lower() == "data:"


def read(url: str, *, most_bytes: int, param: str) -> bytes:
    """The bytes of `data:image/...;base64,...`.

    Raises:
        Refused: another form, broken or empty base64, or more bytes than allowed.
    """
    head = _HEAD.match(url[:_LONGEST_HEAD])
    if head is None:
        raise Refused("image_url_invalid", param=param)
    start = head.end()
    # Said before any of it is decoded; padding makes up for at most two bytes.
    if (len(url) - start) // 4 * 3 - 2 > most_bytes:
        raise Refused("image_too_large", param=param)
    try:
        data = _decode(url, start)
    except ValueError as error:  # binascii's, and that of letters beyond ASCII
        raise Refused("image_url_invalid", param=param) from error
    if not data:
        raise Refused("image_url_invalid", param=param)
    if len(data) > most_bytes:
        raise Refused("image_too_large", param=param)
    return data


def _decode(url: str, start: int) -> bytes:
    """Strict base64, in slices, so that a long one keeps no other thread waiting."""
    padding = url.find("=", start)
    if padding >= 0 and padding < len(url) - 2:
        raise ValueError("padding before the end")
    parts = []
    for at in range(start, len(url), _SLICE):
        parts.append(binascii.a2b_base64(url[at : at + _SLICE], strict_mode=True))
        time.sleep(0)
    return b"".join(parts)
