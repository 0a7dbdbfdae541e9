"""What a decoding worker and the pool say to each other: a little JSON, then bytes.

A frame is the lengths of both (two 32-bit numbers, big end first), the JSON, the bytes. Plain
numbers and pixels: whatever a worker that was taken over sends, reading it runs nothing.
"""

from __future__ import annotations

import json
import struct
from typing import Any, Final

LENGTHS: Final = struct.Struct(">II")
LONGEST_NOTE: Final = 512  # bytes of the JSON


def pack(note: dict[str, Any], data_bytes: int) -> bytes:
    """What goes before the bytes of a frame."""
    written = json.dumps(note).encode()
    return LENGTHS.pack(len(written), data_bytes) + written


def lengths(head: bytes, most_bytes: int) -> tuple[int, int]:
    """Of the JSON and of the bytes.

    Raises:
        ValueError: they cannot be.
    """
    note, data = LENGTHS.unpack(head)
    if note > LONGEST_NOTE or data > most_bytes:
        raise ValueError(f"a frame of {note:,} and {data:,} bytes")
    return note, data


def unpack(note: bytes) -> dict[str, Any]:
    """The JSON of a frame.

    Raises:
        ValueError: it is none, or no table.
    """
    read = json.loads(note)
    if not isinstance(read, dict):
        raise ValueError("a frame that says no table")
    return read
