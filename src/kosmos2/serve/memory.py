"""Memory that nobody uses goes back to the system, now and then.

Thousands of pictures of all sizes come and go between a few things that stay; what is free between
those is of no use to anybody else, and with glibc it grows for hours, by 5 to 10 MiB a minute at
full load, though nothing is held any longer.
"""

from __future__ import annotations

import asyncio
import ctypes
from collections.abc import Callable

EVERY_S = 20.0


def trimmer() -> Callable[[], object] | None:
    """The call that gives free memory back, where the C library has one (glibc)."""
    try:
        trim = ctypes.CDLL(None).malloc_trim
    except (AttributeError, OSError, TypeError):  # another C library, or none of that name
        return None
    trim.argtypes, trim.restype = [ctypes.c_size_t], ctypes.c_int
    return lambda: trim(0)


async def give_back(every_s: float = EVERY_S) -> None:
    """Go on doing so, beside the event loop, until cancelled."""
    trim = trimmer()
    while trim is not None:
        await asyncio.sleep(every_s)
        await asyncio.to_thread(trim)
