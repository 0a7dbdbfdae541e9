"""An engine in a process of its own: this side.

The process is a fork, made before there are threads: it has the weights that were loaded, and they
are in memory once. Two threads read and write here, so the event loop waits for neither. Latents
travel as float32, which holds numbers of fewer bits exactly.

Shapes: N pictures, S pixels a side, L latents, D text width.
"""

from __future__ import annotations

import gc
import itertools
import logging
import os
import queue
import signal
import sys
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from multiprocessing import Pipe
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from kosmos2.config import TextConfig
from kosmos2.engine import Cancelled, Request, Token, teams
from kosmos2.errors import EngineError
from kosmos2.grounder import Kosmos2, Located, Seen
from kosmos2.serve.engines import process, wire
from kosmos2.serve.failures import Refused

log = logging.getLogger(__name__)

SMALL = 50_000_000  # numbers in the matrices of the decoder's blocks
_OF_A_PICTURE = ("width", "height", "rotated", "digest", "name")
_KILL_S = 1.0  # that a process gets to end by itself, once it was told to


def threads_for(text: TextConfig) -> int:
    """How many threads an engine's products want beside an event loop.

    With a small network they are so short that several threads gain next to nothing, and wait for
    each other whenever the event loop has a core.
    """
    return 1 if 12 * text.layers * text.width**2 < SMALL else torch.get_num_threads()


def can_be_apart(model: Kosmos2) -> bool:
    """Whether a fork could go on with a model: on Linux, on a CPU, with no other thread about."""
    return (
        sys.platform == "linux"
        and model.network.device.type == "cpu"
        and not torch.cuda.is_initialized()
        and threading.active_count() == 1
        and teams.let_go()  # the fork's products would wait for ours for ever
    )


class Apart:
    """See `Making`; `can_be_apart` says where."""

    def __init__(
        self, model: Kosmos2, *, slots: int, threads: int, leave: Sequence[int] = ()
    ) -> None:
        """Start the process.

        Args:
            model: Loaded, and not used by anybody here any more.
            slots: Answers that run together.
            threads: For its products.
            leave: Open files of this process that are none of its business.
        """
        self._model = model
        self._numbers = itertools.count()
        self._jobs: dict[int, _Job] = {}
        self._calls: dict[int, Future[Any]] = {}
        self.running = self.waiting = 0  # answers with a slot, and without one
        self._lock = threading.Lock()
        self._closing = self._ended = False
        self._tell_again_s = 0.0
        self._out: queue.SimpleQueue[tuple[dict[str, Any], wire.Array | None] | None] = (
            queue.SimpleQueue()
        )
        self._pipe, its = Pipe()
        teams.let_go()
        gc.collect()
        gc.freeze()  # what is there stays, and is not copied for being looked through
        self.pid = os.fork()
        if self.pid == 0:
            self._pipe.close()  # or it would never see that nobody is there any more
            for file in leave:
                os.close(file)
            process.run(model, its, slots=slots, threads=threads)
        its.close()
        for work, name in ((self._read, "hears"), (self._write, "tells")):
            threading.Thread(target=work, name=f"kosmos2 {name}", daemon=True).start()

    @property
    def dead(self) -> bool:
        """Whether the process has ended though nobody closed it."""
        return self._ended and not self._closing

    def submit(
        self,
        request: Request,
        *,
        on_token: Callable[[Token], None],
        on_end: Callable[[_Job], None],
    ) -> _Job:
        """Hand in a request.

        Raises:
            PromptError: what the network cannot read.
            EngineError: it is closed.
            Refused: the process has died.
        """
        number = next(self._numbers)
        row = request.row(number, self._model.config)
        job = _Job(self, number, len(row.prompt), on_token, on_end)
        latents = None if request.latents is None else request.latents.float().numpy()
        told = {"do": "order", "number": number, "request": wire.note_of_request(request)}
        with self._lock:
            self._check()
            self._jobs[number] = job
            self._out.put((told, latents))
        return job

    def look(self, squares: UInt8[np.ndarray, "N S S 3"]) -> Float[Tensor, "N L D"]:
        """What the network makes of pictures.

        Raises:
            EngineError: it is closed.
            Refused: the process has died.
        """
        _, latents = self._call({"do": "look"}, squares)
        assert latents is not None
        return torch.from_numpy(latents)

    def locate(self, seen: Seen, phrases: Sequence[str], **how: Any) -> list[Located]:
        """`Kosmos2.locate`.

        Raises:
            InputError: phrases or numbers that cannot be.
            EngineError: it is closed.
            Refused: the process has died.
        """
        picture = {name: getattr(seen.picture, name) for name in _OF_A_PICTURE}
        told = {"do": "locate", "picture": picture, "phrases": list(phrases), "how": how}
        found, _ = self._call(told, seen.latents.float().numpy())
        return [wire.located_of_note(one) for one in found]

    def cancel(self, job: _Job) -> bool:
        """Nobody wants this answer any more; whether there was more to come."""
        if not self._end(job, Cancelled("the request was cancelled")):
            return False
        self._out.put(({"do": "cancel", "number": job.number}, None))
        return True

    def give_way(self) -> None:
        """Let the event loop go first for a while; it is told now and then only."""
        now = time.monotonic()
        if now > self._tell_again_s:
            self._tell_again_s = now + process.GIVE_WAY_S / 2
            self._out.put(({"do": "give way"}, None))

    def close(self, drain_s: float) -> None:
        """Finish what can be finished in time; then there is no process any more."""
        with self._lock:
            first, self._closing = not self._closing, True
            if first:
                self._out.put(({"do": "close", "within_s": drain_s}, None))
        if first:
            self._wait(drain_s + _KILL_S)

    def _call(
        self, told: dict[str, Any], array: wire.Array | None
    ) -> tuple[Any, wire.Array | None]:
        number, done = next(self._numbers), Future[tuple[Any, wire.Array | None]]()
        with self._lock:
            self._check()
            self._calls[number] = done
            self._out.put((told | {"number": number}, array))
        return done.result()

    def _check(self) -> None:
        if self._closing:
            raise EngineError("the engine is closed; make another")
        if self._ended:
            raise Refused("engine_dead")

    def _read(self) -> None:
        """The life of the thread that hears what the process says."""
        try:
            while True:
                self._hear(*wire.unpack(self._pipe.recv_bytes()))
        except (EOFError, OSError):
            log.debug("the engine's process has ended")
        finally:
            self._over()

    def _hear(self, said: dict[str, Any], array: wire.Array | None) -> None:
        if "news" not in said:
            done = self._calls.pop(said["number"])
            if "error" in said:
                done.set_exception(wire.error_of_note(said["error"]))
            else:
                done.set_result((said["result"], array))
            return
        self.running, self.waiting = said["running"], said["waiting"]
        for news in said["news"]:
            job = self._jobs.get(news["number"])
            if job is None:
                continue  # cancelled meanwhile
            job.reused, job.forced = news["reused"], news["forced"]
            for sent in news["tokens"]:
                job.on_token(wire.token_of_sent(sent))
            if news["over"]:
                error = wire.error_of_note(news["error"]) if "error" in news else None
                self._end(job, error)

    def _end(self, job: _Job, error: BaseException | None) -> bool:
        """Nothing more comes; whether that is news."""
        with self._lock:
            if self._jobs.pop(job.number, None) is None:
                return False
        job.done, job.error = True, error
        job.on_end(job)
        job.let_go()
        return True

    def _over(self) -> None:
        """The process has gone: whoever waits hears it."""
        with self._lock:
            self._ended = True
            self._out.put(None)
        self._pipe.close()
        why = Cancelled("the engine was closed") if self._closing else Refused("engine_dead")
        for job in list(self._jobs.values()):
            self._end(job, why)
        while self._calls:
            self._calls.popitem()[1].set_exception(why)

    def _write(self) -> None:
        """The life of the thread that tells the process what to do."""
        while (order := self._out.get()) is not None:
            try:
                self._pipe.send_bytes(wire.pack(*order))
            except OSError:
                log.debug("nobody is there to be told")  # `_read` hears of it too

    def _wait(self, within_s: float) -> None:
        """See the process gone, in time or by force."""
        until = time.monotonic() + within_s
        while os.waitpid(self.pid, os.WNOHANG) == (0, 0):
            if time.monotonic() > until:
                os.kill(self.pid, signal.SIGKILL)
                os.waitpid(self.pid, 0)
                break
            time.sleep(0.005)
        self.running = self.waiting = 0


class _Job:
    """One answer that the process makes."""

    def __init__(
        self,
        home: Apart,
        number: int,
        prompt: int,
        on_token: Callable[[Token], None],
        on_end: Callable[[_Job], None],
    ) -> None:
        self.number = number
        self.prompt = prompt
        self.reused = self.forced = 0
        self.done = False
        self.error: BaseException | None = None
        self.on_token = on_token
        self.on_end = on_end
        self._home = home

    def cancel(self) -> bool:
        """Want no more of it; whether there was more to come."""
        return self._home.cancel(self)

    def let_go(self) -> None:
        """Of those who listened, who hold this: in a ring, all would lie about until searched for.

        Something may just be on its way to them from the other thread; then nobody hears it.
        """
        self.on_token = self.on_end = _nobody


def _nobody(said: object) -> None:
    """Who listens when it is over."""
