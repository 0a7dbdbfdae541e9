"""A process that decodes pictures for the server, and that may be killed at any time.

    python -m kosmos2.serve.pictures.worker

It reads frames from its input and answers each on its output (see `frames`). A picture may take no
more memory than the first frame allows, and no file can be written here. When its input ends, or
the server does, it ends too; signals are the server's business.
"""

from __future__ import annotations

import ctypes
import gc
import logging
import math
import os
import signal
import sys
import warnings
from typing import Any, BinaryIO

from PIL import Image

from kosmos2.config import VisionConfig
from kosmos2.errors import ImageError
from kosmos2.images import Limits, open_picture, squashed
from kosmos2.serve.pictures.frames import LENGTHS, lengths, pack, unpack

try:
    import resource
except ImportError:  # not on this system: the time limit of the pool remains
    resource = None  # type: ignore[assignment]

MOST_BYTES = 2**30  # of one frame
_DIE_WITH_PARENT = 1  # PR_SET_PDEATHSIG


def main() -> None:
    """Answer frames until there are no more."""
    for each in (signal.SIGINT, signal.SIGTERM):
        signal.signal(each, signal.SIG_IGN)
    _die_with_parent()
    # What Pillow has to say of odd files is nobody's business, and it must not get among frames.
    warnings.simplefilter("ignore")
    logging.disable()
    source, sink = sys.stdin.buffer, os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    try:
        start = _read(source)
        if start is None:
            return
        note, _ = start
        _warm_up()
        _limit(note["memory"])
        _write(sink, {"ready": True})
        while (request := _read(source)) is not None:
            _renew_time(request[0]["seconds"])
            reply, pixels = answer(*request)
            _write(sink, reply, pixels)
            del request, reply, pixels
            gc.collect()  # Pillow leaves whole pictures to it
    except (BrokenPipeError, EOFError):  # the server is gone
        return


def answer(note: dict[str, Any], data: bytes) -> tuple[dict[str, Any], bytes]:
    """One picture: its size and pixels, or what is wrong with it."""
    limits = Limits(pixels=note["pixels"], bytes=note["bytes"], aspect=note["aspect"])
    # Pillow raises beyond twice this number, for some formats before it asks for any memory.
    Image.MAX_IMAGE_PIXELS = max(limits.pixels // 2, 1)
    try:
        picture = open_picture(data, limits)
        square = squashed(picture, note["side"])  # of bytes: a quarter of what the network sees
    except ImageError as error:
        return {"fault": error.fault}, b""
    except MemoryError:
        return {"fault": "memory"}, b""
    size = {"width": picture.width, "height": picture.height, "rotated": picture.rotated}
    return size, square.tobytes()


def _read(source: BinaryIO) -> tuple[dict[str, Any], bytes] | None:
    head = source.read(LENGTHS.size)
    if not head:
        return None
    if len(head) < LENGTHS.size:
        raise EOFError
    note, data = lengths(head, MOST_BYTES)
    words, picture = source.read(note), source.read(data)
    if len(words) < note or len(picture) < data:
        raise EOFError
    return unpack(words), picture


def _write(sink: BinaryIO, note: dict[str, Any], data: bytes = b"") -> None:
    sink.write(pack(note, len(data)))
    sink.write(data)
    sink.flush()


def _warm_up() -> None:
    """Load what decoding needs, so that it counts as the worker's own memory."""
    Image.init()
    squashed(open_picture(b"BM" + _DOT), VisionConfig().image_size)
    gc.collect()
    gc.freeze()  # what is here now stays; looking through the rest then takes no time


def _limit(memory: int) -> None:
    """What a decoder that was taken over, or runs wild, cannot have."""
    if resource is None:
        return
    for what in (resource.RLIMIT_CORE, resource.RLIMIT_FSIZE):
        resource.setrlimit(what, (0, 0))
    try:
        with open("/proc/self/statm", encoding="ascii") as file:  # noqa: PTH123
            taken = int(file.read().split()[0]) * resource.getpagesize()
    except OSError:  # a system that counts address space differently, or does not tell
        return
    resource.setrlimit(resource.RLIMIT_AS, (taken + memory, taken + memory))


def _renew_time(seconds: float) -> None:
    """The pool's own clock is stricter; this one runs when nobody looks at that one."""
    if resource is None:
        return
    used = resource.getrusage(resource.RUSAGE_SELF)
    allowed = math.ceil(used.ru_utime + used.ru_stime + seconds) + 1
    _, most = resource.getrlimit(resource.RLIMIT_CPU)
    resource.setrlimit(resource.RLIMIT_CPU, (allowed, most))


def _die_with_parent() -> None:
    """Even in the middle of a picture, when nobody reads the end of the input."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_DIE_WITH_PARENT, signal.SIGKILL, 0, 0, 0)


# A black dot as a BMP file, less its first two letters.
_DOT = bytes.fromhex(
    "3a000000 00000000 36000000 28000000 01000000 01000000 01001800 00000000"
    "04000000 00000000 00000000 00000000 00000000 00000000"
)

if __name__ == "__main__":
    main()
