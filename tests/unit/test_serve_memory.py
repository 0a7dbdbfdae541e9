"""Free memory goes back to the system while a server runs."""

from __future__ import annotations

import asyncio
import contextlib
import subprocess
import sys

import pytest

from kosmos2.serve import memory


def resident() -> int:
    with open("/proc/self/statm") as file:  # noqa: PTH123
        return int(file.read().split()[1]) * 4096


@pytest.mark.skipif(memory.trimmer() is None, reason="this C library has no malloc_trim")
def test_what_lies_free_between_things_that_stay_is_given_back():
    trim = memory.trimmer()
    assert trim is not None
    held = [bytearray(20_000) for _ in range(10_000)]
    full = resident()
    del held[::2]
    trim()
    assert full - resident() > 50_000_000  # of the 100 MB that were let go


def test_it_goes_on_until_cancelled(monkeypatch: pytest.MonkeyPatch):
    times: list[int] = []
    monkeypatch.setattr(memory, "trimmer", lambda: lambda: times.append(1))

    async def some_time() -> None:
        task = asyncio.create_task(memory.give_back(0.001))
        while len(times) < 3:
            await asyncio.sleep(0.001)
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task

    asyncio.run(asyncio.wait_for(some_time(), 30))
    assert len(times) >= 3


def test_without_such_a_library_it_ends_at_once(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(memory, "trimmer", lambda: None)
    asyncio.run(asyncio.wait_for(memory.give_back(3600.0), 30))


COUNTED = """
import resource, sys
from kosmos2.serve import memory

memory.keep_large_apart(4 * 2**20)
if sys.argv[1] == "kept":
    memory.keep_free_pages()
for _ in range(3):  # what a look takes, let go again
    held = [bytearray(2**20) for _ in range(8)]
    del held
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(10):
    held = [bytearray(2**20) for _ in range(8)]
    del held
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(memory.trimmer() is None, reason="this C library has no mallopt")
def test_pages_that_are_wanted_again_are_kept():
    def new_pages(how: str) -> int:
        ran = subprocess.run(
            [sys.executable, "-c", COUNTED, how], capture_output=True, text=True, check=True
        )
        return int(ran.stdout)

    assert new_pages("kept") * 10 < new_pages("given back")
