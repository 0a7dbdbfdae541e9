"""Worker processes that decode pictures, so that no picture can take the server down with it.

A picture costs what its file asks for, and no limit on its size bounds that: so it is decoded in a
process with little memory, which is killed when it takes too long and replaced. Whoever comes waits
in line; nobody waits for a worker that will not answer.
"""

from __future__ import annotations

import asyncio
import logging
import os
import sys
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import numpy as np

from kosmos2.errors import EngineError
from kosmos2.serve.failures import Refused
from kosmos2.serve.pictures.decoded import Decoded
from kosmos2.serve.pictures.frames import LENGTHS, lengths, pack, unpack
from kosmos2.serve.settings import Limits

log = logging.getLogger(__name__)

MODULE = "kosmos2.serve.pictures.worker"
# The worker finds modules where this process does, whatever the environment says.
_COMMAND = f"import sys; sys.path[:] = sys.argv[1:]; from {MODULE} import main; main()"
_KEPT = ("LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "SYSTEMROOT")  # of the environment
# Pillow keeps the memory of a few pictures: new pages for each cost a fifth of its time.
_SETTINGS = {
    **dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1"),
    "PILLOW_BLOCKS_MAX": "4",  # of at most 16 MiB
}
_START_S = 30.0  # on the busiest machine
_AGAIN_S = 0.2  # until the next try, when a worker could not be started
_SLICE = 2**18  # bytes written before others get their turn
_SIZE = ("width", "height", "rotated")
_CODES = {
    "format": "image_format_unsupported",
    "large": "image_too_large",
    "unreadable": "image_invalid",
    "memory": "image_too_complex",
}


class Pool:
    """As many workers as the limits allow."""

    def __init__(
        self, limits: Limits, side: int, *, on_restart: Callable[[], None] = lambda: None
    ) -> None:
        self._limits = limits
        self._side = side
        self._on_restart = on_restart
        # Whoever asks first is served first; None: there will be no more.
        self._idle: asyncio.Queue[_Worker | None] = asyncio.Queue()
        self._workers: set[_Worker] = set()
        self._tasks: set[asyncio.Task[Any]] = set()
        self._closed = False

    async def start(self) -> None:
        """Have all workers ready.

        Raises:
            EngineError: one does not start.
        """
        starting = [self._started() for _ in range(self._limits.decode_workers)]
        for worker in await asyncio.gather(*starting, return_exceptions=True):
            if isinstance(worker, BaseException):
                await self.close()
                raise EngineError(
                    "a process that decodes pictures does not start; "
                    f"`{sys.executable} -m {MODULE} </dev/null` may show why"
                ) from worker
            self._idle.put_nowait(worker)

    async def close(self) -> None:
        """Leave no process behind."""
        self._closed = True
        self._idle.put_nowait(None)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await asyncio.gather(*(worker.kill() for worker in self._workers))
        self._workers.clear()

    @property
    def pids(self) -> list[int]:
        """The processes there are."""
        return [worker.process.pid for worker in self._workers]

    async def decode(self, data: bytes, digest: str, *, param: str) -> Decoded:
        """A picture, from its file and the name that it shall have.

        Raises:
            Refused: what is wrong with it; too much time or memory; two workers died over it.
        """
        for _ in range(2):  # one may have been killed by anybody
            worker = await self._idle.get()
            if worker is None or self._closed:
                self._idle.put_nowait(None)  # the next in line is to hear it too
                raise Refused("draining")
            # Goes on though the client leaves: a worker knows no way back from half a picture.
            task = self._task(self._serve(worker, data, param))
            try:
                reply, pixels = await asyncio.shield(task)
            except _Died:
                continue
            except asyncio.CancelledError:
                if self._closed and task.cancelled():  # the pool has gone, not the client
                    raise Refused("draining") from None
                raise
            square = np.frombuffer(pixels, np.uint8).reshape(self._side, self._side, 3).copy()
            width, height, rotated = (reply[name] for name in _SIZE)
            return Decoded(width, height, rotated, digest, square)
        raise Refused("worker_died", param=param)

    async def _serve(
        self, worker: _Worker, data: bytes, param: str
    ) -> tuple[dict[str, Any], bytes]:
        """One picture by one worker, which is idle again or replaced afterwards."""
        limits = self._limits
        note = {
            "pixels": limits.pixels,
            "bytes": limits.picture_bytes,
            "aspect": limits.aspect,
            "side": self._side,
            "seconds": limits.decode_s,
        }
        sound = False
        try:
            async with asyncio.timeout(limits.decode_s):
                reply, pixels = await worker.ask(note, data, self._pixel_bytes)
            code = _CODES.get(str(reply.get("fault")))
            whole = len(pixels) == self._pixel_bytes
            if code is None and not (whole and all(type(reply.get(n)) is int for n in _SIZE)):
                raise _Died
            sound = code != "image_too_complex"  # memory once given may not come back
            if code is not None:
                raise Refused(code, param=param)
            return reply, pixels
        except TimeoutError as error:
            log.info("a picture took longer than %g s", limits.decode_s)
            raise Refused("image_too_complex", param=param) from error
        except _Died:
            log.warning("a process that decodes pictures died; there will be another")
            raise
        finally:
            if sound:
                self._idle.put_nowait(worker)
            elif not self._closed:
                self._on_restart()
                self._task(self._replace(worker))

    @property
    def _pixel_bytes(self) -> int:
        return 3 * self._side**2

    async def _replace(self, worker: _Worker) -> None:
        await worker.kill()
        self._workers.discard(worker)
        while True:
            try:
                self._idle.put_nowait(await self._started())
                return
            except (OSError, TimeoutError, _Died) as error:
                log.error("no process to decode pictures can be started: %s", type(error).__name__)
                await asyncio.sleep(_AGAIN_S)

    async def _started(self) -> _Worker:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-I", "-c", _COMMAND, *sys.path,
            stdin=PIPE, stdout=PIPE, stderr=DEVNULL, limit=2**20,
            env=_SETTINGS | {name: os.environ[name] for name in _KEPT if name in os.environ},
            start_new_session=True,  # a terminal's Ctrl-C is for the server
        )  # fmt: skip
        worker = _Worker(process)
        self._workers.add(worker)
        try:
            async with asyncio.timeout(_START_S):
                await worker.ask({"memory": self._limits.decode_memory}, b"", 0)
        except BaseException:
            await worker.kill()
            self._workers.discard(worker)
            raise
        return worker

    def _task(self, work: Any) -> asyncio.Task[Any]:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task


class _Died(Exception):
    """A worker ended, or said what no worker says."""


class _Worker:
    """One process, and the pipes to it."""

    def __init__(self, process: Process) -> None:
        self.process = process

    async def ask(
        self, note: dict[str, Any], data: bytes, most_bytes: int
    ) -> tuple[dict[str, Any], bytes]:
        """Send a frame and await the answer to it."""
        source, sink = self.process.stdout, self.process.stdin
        assert source is not None
        assert sink is not None
        try:
            sink.write(pack(note, len(data)))
            for at in range(0, len(data), _SLICE):
                sink.write(data[at : at + _SLICE])
                await sink.drain()
            words, pixels = lengths(await source.readexactly(LENGTHS.size), most_bytes)
            return unpack(await source.readexactly(words)), await source.readexactly(pixels)
        except (ConnectionError, EOFError, ValueError) as error:
            raise _Died from error

    async def kill(self) -> None:
        """End it now, and see it gone with its pipes."""
        if self.process.returncode is None:
            with suppress(ProcessLookupError):
                self.process.kill()
        if self.process.stdin is not None:
            self.process.stdin.close()
        # A pipe that is not read to its end stays open.
        await asyncio.gather(self.process.wait(), self._unheard(), return_exceptions=True)

    async def _unheard(self) -> None:
        while self.process.stdout is not None and await self.process.stdout.read(_SLICE):
            pass
