"""Workers under bad luck: pictures that never end, processes that die, lie or hang."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import numpy as np
import pytest

import bombs
from kosmos2.config import VisionConfig
from kosmos2.errors import EngineError
from kosmos2.images import open_picture, squashed
from kosmos2.serve.failures import Refused
from kosmos2.serve.pictures import Decoded, Pictures, frames, pool
from kosmos2.serve.settings import Limits

VISION = VisionConfig(image_size=30, patch_size=6)
GOOD = bombs.data_url(bombs.good())
BOMB = bombs.data_url(bombs.scan_bomb())
PATIENCE_S = 60  # for what must happen, however busy the machine

linux_only = pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")


class Counted(Pictures):
    """With its restarts counted."""

    def __init__(self, **limits) -> None:
        self.restarts = 0
        limits = {"decode_workers": 1, "decode_s": 30.0} | limits
        super().__init__(Limits(**limits), VISION, on_restart=self.restarted)

    def restarted(self) -> None:
        self.restarts += 1

    async def see(self, url: str = GOOD) -> Decoded:
        return await self.open(url, param="here")

    async def outcome(self, url: str) -> str:
        try:
            await self.see(url)
        except Refused as refused:
            return refused.code
        return "seen"

    @property
    def pids(self) -> list[int]:
        return self._pool.pids

    async def until(self, holds) -> None:
        async with asyncio.timeout(PATIENCE_S):
            while not holds():
                await asyncio.sleep(0.01)

    async def until_all_work(self) -> None:
        await self.until(lambda: self._pool._idle.empty())


@asynccontextmanager
async def started(**limits) -> AsyncIterator[Counted]:
    pictures = Counted(**limits)
    await pictures.start()
    try:
        async with asyncio.timeout(PATIENCE_S):
            yield pictures
    finally:
        pids = pictures.pids
        await pictures.close()
        assert not any(map(alive, pids)), "a process was left behind"


def alive(pid: int) -> bool:
    """Whether a process is there and not merely waiting to be buried."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return False
        return not Path("/proc/self").exists()
    return state not in "ZX"


def worker_that(monkeypatch: pytest.MonkeyPatch, answers: str) -> None:
    """Let workers run other code for pictures that begin with `odd`."""
    code = f"""
import os, sys, time
sys.path[:] = sys.argv[1:]
from kosmos2.serve.pictures import worker
plain = worker.answer
def odd(note, data):
    {answers}
worker.answer = lambda note, data: odd(note, data) if data[:3] == b"odd" else plain(note, data)
worker.main()
"""
    monkeypatch.setattr(pool, "_COMMAND", code)


ODD = bombs.data_url(b"odd" + bytes(9))


def test_a_picture_without_end_is_ended_and_tried_once() -> None:
    async def story() -> None:
        async with started(decode_s=2.0) as pictures:
            before = pictures.pids
            assert await pictures.outcome(BOMB) == "image_too_complex"
            assert pictures.restarts == 1
            assert (await pictures.see()).width == 30
            assert pictures.pids != before

    asyncio.run(story())


def test_while_four_bombs_are_decoded_others_get_their_turn() -> None:
    async def story() -> None:
        async with started(decode_s=2.0, decode_workers=2) as pictures:
            turns = 0

            async def turning() -> None:
                nonlocal turns
                while True:
                    await asyncio.sleep(0.01)
                    turns += 1

            beside = asyncio.create_task(turning())
            ends = await asyncio.gather(*map(pictures.outcome, [BOMB] * 4 + [GOOD] * 4))
            beside.cancel()
            assert ends == ["image_too_complex"] * 4 + ["seen"] * 4
            assert turns > 20, "the loop stood still"
            assert pictures.restarts == 4
            await pictures.until(lambda: len(pictures.pids) == 2)

    asyncio.run(story())


def test_who_comes_first_is_served_first() -> None:
    async def story() -> None:
        async with started() as pictures:
            order: list[int] = []

            async def one(number: int) -> None:
                await pictures.see()
                order.append(number)

            await asyncio.gather(*map(one, range(12)))
            assert order == list(range(12))

    asyncio.run(story())


def test_a_picture_beyond_the_memory_is_refused_and_the_next_one_is_not() -> None:
    large = bombs.data_url(bombs.flat_png(6000, 5000))

    async def story() -> None:
        async with started(decode_memory=64 * 2**20) as pictures:
            assert await pictures.outcome(large) == "image_too_complex"
            assert await pictures.outcome(GOOD) == "seen"
            assert pictures.restarts == 1
        async with started() as pictures:
            assert await pictures.outcome(large) == "seen"

    asyncio.run(story())


@pytest.mark.parametrize(
    "kind", ["a WEBP with alpha and a turn", "a deep PNG", "a PNG with alpha and a turn"]
)
def test_the_largest_pictures_fit_into_the_memory(kind: str) -> None:
    """Forty million pixels of the kinds that take most, in less than the limits give."""
    size, turn = (8000, 5000), bombs.Image.Exif()
    turn[0x0112] = 6
    if "deep" in kind:
        data = bombs.encoded(bombs.Image.new("I;16", size, 300))
    else:
        see_through = bombs.Image.new("RGBA", size, (1, 2, 3, 100))
        settings = {"lossless": True, "method": 0} if "WEBP" in kind else {"compress_level": 1}
        data = bombs.encoded(
            see_through, "WEBP" if "WEBP" in kind else "PNG", exif=turn, **settings
        )

    async def story() -> None:
        async with started(decode_memory=700 * 2**20) as pictures:
            found = await pictures.see(bombs.data_url(data))
            assert found.width == (8000 if "deep" in kind else 5000)
            assert not pictures.restarts

    asyncio.run(story())


def test_a_worker_that_is_killed_once_costs_nobody_a_picture() -> None:
    slow = bombs.scan_bomb(1_000)

    async def story() -> None:
        async with started() as pictures:
            asked = asyncio.create_task(pictures.see(bombs.data_url(slow)))
            await pictures.until_all_work()
            os.kill(pictures.pids[0], signal.SIGKILL)
            found = await asked
            assert np.array_equal(found.pixels, squashed(open_picture(slow), VISION.image_size))
            assert pictures.restarts == 1

    asyncio.run(story())


def test_a_picture_that_kills_two_workers_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    worker_that(monkeypatch, "os._exit(1)")

    async def story() -> None:
        async with started(decode_workers=2) as pictures:
            ends = await asyncio.gather(*map(pictures.outcome, [ODD, GOOD, ODD, GOOD]))
            assert ends == ["worker_died", "seen", "worker_died", "seen"]
            assert pictures.restarts == 4
            assert await pictures.outcome(GOOD) == "seen"

    asyncio.run(story())


LIES = {
    "says nothing and ends": "sys.exit()",
    "is ended by a signal": "os.kill(os.getpid(), 11)",
    "writes garbage": "os.write(3, bytes(range(256)) * 9); os._exit(0)",
    "says no table": "return [1], b''",
    "has no size": "return {}, bytes(4 * 3 * 900)",
    "has words for a size": "return {'width': 'a', 'height': 1, 'rotated': 0}, bytes(4 * 3 * 900)",
    "has too few pixels": "return {'width': 1, 'height': 1, 'rotated': 0}, bytes(100)",
    "has too many pixels": "return {'width': 1, 'height': 1, 'rotated': 0}, bytes(10**6)",
    "has a fault that is none": "return {'fault': ['format']}, b''",
    "talks too much": "return {'fault': 'x' * 5000}, b''",
    "nests without end": "return {'a': eval('[' * 150 + ']' * 150)}, b''",
}


@pytest.mark.parametrize("lie", LIES.values(), ids=LIES)
def test_a_worker_that_lies_is_replaced(monkeypatch: pytest.MonkeyPatch, lie: str) -> None:
    worker_that(monkeypatch, lie)

    async def story() -> None:
        async with started() as pictures:
            assert await pictures.outcome(ODD) == "worker_died"
            assert pictures.restarts == 2
            assert await pictures.outcome(GOOD) == "seen"

    asyncio.run(story())


@pytest.mark.parametrize(
    "hang",
    ["time.sleep(9999)", "os.write(3, bytes([0, 0, 0, 9])); time.sleep(9999)"],
    ids=["in silence", "in the middle of a word"],
)
def test_a_worker_that_hangs_is_replaced(monkeypatch: pytest.MonkeyPatch, hang: str) -> None:
    worker_that(monkeypatch, hang)

    async def story() -> None:
        async with started(decode_s=0.5) as pictures:
            assert await pictures.outcome(ODD) == "image_too_complex"
            assert pictures.restarts == 1
        async with started() as pictures:
            assert await pictures.outcome(GOOD) == "seen"

    asyncio.run(story())


def test_a_worker_that_no_longer_listens_is_replaced() -> None:
    """The picture is longer than a pipe holds, so sending it hangs as well."""
    long = bombs.data_url(bombs.good() + bytes(4 * 2**20))

    async def story() -> None:
        async with started(decode_s=2.0) as pictures:
            os.kill(pictures.pids[0], signal.SIGSTOP)
            assert await pictures.outcome(long) == "image_too_complex"
            assert await pictures.outcome(long) == "seen"
            assert pictures.restarts == 1

    asyncio.run(story())


def test_a_worker_that_died_idle_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    async def story() -> None:
        async with started() as pictures:
            pid = pictures.pids[0]
            os.kill(pid, signal.SIGKILL)
            await pictures.until(lambda: not alive(pid))
            assert await pictures.outcome(GOOD) == "seen"
            assert pictures.restarts == 1

    asyncio.run(story())


def test_workers_that_cannot_be_replaced_at_once_are_replaced_later(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def story() -> None:
        async with started() as pictures:
            good = pool._COMMAND
            monkeypatch.setattr(pool, "_COMMAND", "raise SystemExit(1)")
            os.kill(pictures.pids[0], signal.SIGKILL)
            asked = asyncio.create_task(pictures.outcome(GOOD))
            await pictures.until(lambda: pictures.restarts)
            await asyncio.sleep(0.5)
            assert not asked.done()
            monkeypatch.setattr(pool, "_COMMAND", good)
            assert await asked == "seen"

    asyncio.run(story())


def test_a_client_that_leaves_costs_no_process_and_mixes_up_nothing() -> None:
    slow, other = bombs.data_url(bombs.scan_bomb(1_000)), bombs.encoded(bombs.colours(31, 17))

    async def story() -> None:
        async with started() as pictures:
            gone = asyncio.create_task(pictures.see(slow))
            waiting = asyncio.create_task(pictures.see(slow))
            await pictures.until_all_work()
            gone.cancel()
            waiting.cancel()
            found = await pictures.see(bombs.data_url(other))
            assert np.array_equal(found.pixels, squashed(open_picture(other), VISION.image_size))
            assert not pictures.restarts
            assert gone.cancelled()
            assert waiting.cancelled()

    asyncio.run(story())


def test_closing_ends_what_runs_and_tells_those_who_wait() -> None:
    async def story() -> None:
        async with started() as pictures:
            asked = [asyncio.create_task(pictures.outcome(BOMB))]
            await pictures.until_all_work()
            asked += [asyncio.create_task(pictures.outcome(GOOD)) for _ in range(2)]
            await asyncio.sleep(0)
            pids = pictures.pids
            await pictures.close()
            assert not any(map(alive, pids))
            assert await asyncio.gather(*asked) == ["draining"] * 3
            for url in (GOOD, BOMB):
                assert await pictures.outcome(url) == "draining"
            assert not pictures.pids

    asyncio.run(story())


def test_a_pool_that_cannot_start_says_so_and_leaves_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(pool, "_COMMAND", "raise SystemExit(1)")

    async def story() -> None:
        pictures = Counted(decode_workers=2)
        with pytest.raises(EngineError, match=r"does not start; `.*pictures\.worker"):
            await pictures.start()
        assert not pictures.pids

    asyncio.run(story())


def test_signals_to_workers_are_the_servers_business() -> None:
    async def story() -> None:
        async with started() as pictures:
            for each in (signal.SIGINT, signal.SIGTERM):
                os.kill(pictures.pids[0], each)
            assert await pictures.outcome(GOOD) == "seen"
            assert not pictures.restarts

    asyncio.run(story())


@linux_only
def test_a_worker_has_no_secret_and_little_freedom(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "secret")
    monkeypatch.setenv("PYTHONSTARTUP", "/nowhere")

    async def story() -> None:
        async with started() as pictures:
            assert await pictures.outcome(GOOD) == "seen"
            home = Path(f"/proc/{pictures.pids[0]}")
            assert b"secret" not in (home / "environ").read_bytes()
            limits = {
                line[:26].strip(): line[26:].split()
                for line in (home / "limits").read_text().splitlines()
            }
            assert limits["Max file size"][:2] == ["0", "0"]
            assert limits["Max core file size"][:2] == ["0", "0"]
            assert limits["Max address space"][0] != "unlimited"
            assert limits["Max cpu time"][0] != "unlimited"
            files = {path.resolve().name for path in (home / "fd").iterdir()}
            assert all(name == "null" or name.startswith("pipe:") for name in files), files

    asyncio.run(story())


SERVER = """
import asyncio, sys
from kosmos2.config import VisionConfig
from kosmos2.serve.pictures import Pictures
from kosmos2.serve.settings import Limits

async def main():
    pictures = Pictures(Limits(decode_s=1000.0), VisionConfig())
    await pictures.start()
    url = sys.stdin.read()
    asyncio.create_task(pictures.open(url, param="here"))
    while len(pictures._pool._tasks) < 1:
        await asyncio.sleep(0.01)
    print(*pictures._pool.pids, flush=True)
    await asyncio.sleep(1000)

asyncio.run(main())
"""


@linux_only
def test_workers_die_with_the_server_even_in_the_middle_of_a_picture() -> None:
    server = subprocess.Popen(
        [sys.executable, "-c", SERVER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert server.stdin is not None
    assert server.stdout is not None
    with server.stdin:
        server.stdin.write(BOMB)
    with server.stdout:
        pids = [int(word) for word in server.stdout.readline().split()]
    assert len(pids) == 2
    assert all(map(alive, pids))
    server.kill()
    server.wait()
    until = time.monotonic() + PATIENCE_S
    while any(map(alive, pids)):
        assert time.monotonic() < until, "a worker outlived its server"
        time.sleep(0.02)


def test_a_worker_without_a_server_ends() -> None:
    command = [sys.executable, "-m", pool.MODULE]
    for said in (b"", b"abc", frames.pack({"memory": 2**30}, 0)):
        done = subprocess.run(command, input=said, capture_output=True, timeout=PATIENCE_S)
        assert done.returncode == 0
        assert not done.stderr


@pytest.mark.parametrize("head", [(2**31, 0), (frames.LONGEST_NOTE + 1, 0), (0, 1001)], ids=str)
def test_frames_of_other_sizes_are_none(head: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match="a frame of"):
        frames.lengths(frames.LENGTHS.pack(*head), most_bytes=1000)
