"""What one step frees is kept for the next, instead of given back and asked for anew.

A step frees about as much as it asks for: activations, and a gradient as large as the weights. By
itself the C library gives large blocks back to the system, which hands them out again page by page,
zeroed: at full width that was a third of a step (benchmarks/training.py).
"""

from __future__ import annotations

import ctypes
import sys

# Of glibc's malloc.h: blocks that are mapped one by one, and what may lie free at the heap's end.
_TRIM_THRESHOLD, _MMAP_MAX = -1, -4
_NEVER, _NONE = -1, 0


def keep_freed() -> bool:
    """Keep freed memory in this process from now on; whether its C library can do so.

    It is for a process that trains: what it once needed at its worst it holds until it ends.
    """
    if sys.platform != "linux":
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except AttributeError:  # musl has none
        return False
    return bool(mallopt(_TRIM_THRESHOLD, _NEVER) and mallopt(_MMAP_MAX, _NONE))
