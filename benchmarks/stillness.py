"""How long the machine itself stood still while something was measured on it.

A process of the real-time class goes before everything else on its core. It sleeps for a
millisecond at a time, and whatever it oversleeps was taken by nobody on this machine: by its host,
or by the kernel. No program on that core could have been quicker than that. Cores stand still one
by one, so each has such a process.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

NAP_S = 0.001
FIRST = 1  # of the real-time priorities, the lowest: above all that is not of the class


def main() -> int:
    """Watch one core until the input ends; prints the longest time in milliseconds."""
    try:
        os.sched_setaffinity(0, {int(sys.argv[1])})
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(FIRST))
    except (AttributeError, OSError):  # another system, or not allowed here
        return 1
    os.set_blocking(0, False)
    print("watching", flush=True)
    longest_s = 0.0
    while _open():
        before = time.perf_counter()
        time.sleep(NAP_S)
        longest_s = max(longest_s, time.perf_counter() - before - NAP_S)
    print(round(longest_s * 1000, 1))
    return 0


def _open() -> bool:
    try:
        return os.read(0, 1) != b""
    except BlockingIOError:
        return True


class Stillness:
    """What was seen, once `watched` is over."""

    longest_ms: float | None = None  # None: not allowed to look


@contextmanager
def watched() -> Iterator[Stillness]:
    """Watch every core that may be used meanwhile."""
    seen = Stillness()
    with ExitStack() as stack:
        watchers = [stack.enter_context(_watcher(core)) for core in _cores()]
        watching = [_line(watcher) == "watching" for watcher in watchers]
        try:
            yield seen
        finally:
            said = [watcher.communicate()[0] for watcher in watchers]
            if watchers and all(watching):
                seen.longest_ms = max(map(float, said))


def _cores() -> set[int]:
    return os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else set()


def _watcher(core: int) -> subprocess.Popen[str]:
    command = [sys.executable, __file__, str(core)]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def _line(watcher: subprocess.Popen[str]) -> str:
    assert watcher.stdout is not None
    return watcher.stdout.readline().strip()


if __name__ == "__main__":
    sys.exit(main())
