"""Memory that nobody uses goes back to the system.

Thousands of pictures of all sizes come and go between a few things that stay. Left alone, glibc
keeps what is free between those: of no use to anybody else, and at full load it grows for hours,
by 5 to 10 MiB a minute, though nothing is held any longer. So large pieces get pages of their own,
which go back when they are let go, and what is free between small ones is given back now and then.
Large is what a picture became for the embedded model, 64 KiB, and more: of these the event loop's
process keeps some hundreds, and with them among the small ones it grew by 1 MiB in 2,000 requests.

oneDNN remembers how to multiply each shape it has met, a thousand of them unless told otherwise,
and prompts of all lengths side by side make thousands: 50 to 100 KiB each, for an hour of growth.
Fewer do: in a run of 4,000 requests 64 were as quick as 1,024.
"""

from __future__ import annotations

import asyncio
import ctypes
import os
from collections.abc import Callable

EVERY_S = 20.0
SHAPES = 128  # that are remembered
LARGE = 64 * 2**10  # bytes from which a piece has pages of its own
KEPT = 64 * 2**20  # bytes free at the end of the heap that a process of tensors holds on to
_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # of malloc.h; once one is set, neither grows by itself


def library() -> ctypes.CDLL | None:
    """The C library, if it has both calls (glibc)."""
    try:
        found = ctypes.CDLL(None)
        found.malloc_trim.argtypes = [ctypes.c_size_t]
        found.mallopt.argtypes = [ctypes.c_int, ctypes.c_int]
    except (AttributeError, OSError, TypeError):  # another C library, or none of that name
        return None
    return found


def trimmer() -> Callable[[], object] | None:
    """The call that gives free memory back, where there is one."""
    found = library()
    return None if found is None else lambda: found.malloc_trim(0)


def keep_large_apart(least: int = LARGE) -> None:
    """From now on pieces of so many bytes or more get pages of their own, where that can be set."""
    found = library()
    if found is not None:
        found.mallopt(_MMAP_THRESHOLD, least)


def keep_free_pages(most: int = KEPT) -> None:
    """From now on so many bytes that are free stay, until `trimmer` gives them back.

    With a threshold set for large pieces glibc keeps 128 KiB. What the tower needs for a picture
    then comes from the system and goes back to it a hundred times a look, page by page.
    """
    found = library()
    if found is not None:
        found.mallopt(_TRIM_THRESHOLD, most)


def remember_few_shapes(most: int = SHAPES) -> None:
    """Let oneDNN remember so many, unless the operator said otherwise; heard before its first."""
    os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", str(most))


def prepare() -> None:
    """Both, before a model is loaded."""
    keep_large_apart()
    remember_few_shapes()


async def give_back(every_s: float = EVERY_S) -> None:
    """Go on doing so, beside the event loop, until cancelled."""
    trim = trimmer()
    while trim is not None:
        await asyncio.sleep(every_s)
        await asyncio.to_thread(trim)
