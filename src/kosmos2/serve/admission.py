"""How many requests are let in: so many are answered side by side, so many wait, the rest go away.

Going away is quick and happens before a body is read, so that a crowd costs next to nothing. A
place is held from a request's head to the last byte of its answer; the turn to be answered comes
in the order of asking, and is asked for only once the body is there: who sends slowly makes
nobody wait for an answer.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections import deque
from collections.abc import Callable, Coroutine
from contextlib import suppress
from types import TracebackType
from typing import Any, Self, TypeVar

from starlette.types import Receive

from kosmos2.serve.failures import Refused
from kosmos2.serve.metrics import Metrics
from kosmos2.serve.settings import Limits

T = TypeVar("T")

LEARNING = 0.1  # how much one answer changes what is known of how long answers take
FIRST_GUESS_S = 1.0
COMING_S = 0.2  # from a connection to a place, at most: who takes longer is not waited for


class Admission:
    """The line in front of one model."""

    def __init__(
        self, limits: Limits, metrics: Metrics, *, on_crowd: Callable[[], None] = lambda: None
    ) -> None:
        """A line with nobody in it; `on_crowd` hears of everyone for whom there is no place."""
        self._limits = limits
        self._places = limits.running + limits.queued
        self._on_crowd = on_crowd
        self._usual_s = FIRST_GUESS_S
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._coming: dict[object, float] = {}  # who, and when they came
        self._idle = asyncio.Event()
        self._idle.set()
        self.running = 0
        self.inside = 0
        self.draining = False
        metrics.watch("requests_running", "Requests that are being answered", lambda: self.running)
        metrics.watch("requests_waiting", "Requests that wait for a turn", lambda: self.waiting)

    @property
    def waiting(self) -> int:
        """Requests inside that are not being answered."""
        return self.inside - self.running

    @property
    def retry_after_s(self) -> int:
        """When another try may find a place: the line's length at the pace of late, 1 to 60."""
        wait_s = (self.waiting + 1) * self._usual_s / self._limits.running
        return min(max(math.ceil(wait_s), 1), 60)

    @property
    def full(self) -> bool:
        """Whether there is no place for one more."""
        return self.inside >= self._places

    @property
    def crowd_about(self) -> bool:
        """Whether one might form: from then on who comes is counted at once."""
        return self.inside >= min(self._limits.running, max(self._places // 4, 1))

    def has_place(self, *, newcomer: bool = False) -> bool:
        """Whether there is a place.

        Args:
            newcomer: whether those have the first places who came before and are on their way.
                For each place that becomes free a crowd sends thirty, and 29 would be read in vain.
        """
        return not (self.full or (newcomer and self._taken_by_those_coming()))

    def check(self, *, newcomer: bool = False) -> None:
        """See whether there is a place, as `has_place` does, and take none.

        Raises:
            Refused: there is none.
        """
        if self.draining:
            raise Refused("draining", retry_after_s=self.retry_after_s)
        if not self.has_place(newcomer=newcomer):
            self._on_crowd()
            raise Refused("overloaded", retry_after_s=self.retry_after_s)

    def expect(self, who: object) -> None:
        """Somebody is on the way to a place, who will be here soon or not at all."""
        self._coming[who] = time.monotonic()

    def came(self, who: object) -> None:
        """Nobody is to be expected here any more: he has a place, or wants none."""
        self._coming.pop(who, None)

    def _taken_by_those_coming(self) -> bool:
        late = time.monotonic() - COMING_S
        while self._coming and self._coming[first := next(iter(self._coming))] < late:
            del self._coming[first]
        return self.crowd_about and self.inside + len(self._coming) >= self._places

    def enter(self, who: object = None) -> Place:
        """A place for one request, to be held with `async with`; `who` as in `expect`."""
        return Place(self, who)

    def drain(self) -> None:
        """Let nobody else in; who is inside stays."""
        self.draining = True

    async def idle(self) -> None:
        """Until nobody is inside."""
        await self._idle.wait()

    def _enter(self) -> None:
        self.check()
        self.inside += 1
        self._idle.clear()

    def _take(self) -> bool:
        """A turn for who need not wait for one; whether there is."""
        free = self.running < self._limits.running and not self._waiting
        self.running += free
        return free

    async def _turn(self) -> None:
        if self._take():
            return
        turn = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        try:
            async with asyncio.timeout(self._limits.deadline_s):
                await turn  # who leaves hands the turn over, so `running` stays as it is
        except BaseException as error:
            if turn.done() and not turn.cancelled():
                self._hand_over()
            else:
                with suppress(ValueError):  # passed over meanwhile
                    self._waiting.remove(turn)
            if isinstance(error, TimeoutError):
                raise Refused("deadline_exceeded") from None
            raise

    def _hand_over(self) -> None:
        """A turn is over: the longest waiting gets it."""
        while self._waiting:
            turn = self._waiting.popleft()
            if not turn.done():
                turn.set_result(None)
                return
        self.running -= 1

    def _leave(self, took_s: float | None) -> None:
        if took_s is not None:
            self._usual_s += LEARNING * (took_s - self._usual_s)
            self._hand_over()
        self.inside -= 1
        if not self.inside:
            self._idle.set()


class Place:
    """One request inside; `turn` waits until it may be answered."""

    def __init__(self, admission: Admission, who: object) -> None:
        self._admission = admission
        self._who = who
        self._began: float | None = None

    async def __aenter__(self) -> Self:
        self._admission._enter()
        self._admission.came(self._who)
        return self

    def begin(self) -> bool:
        """Take the turn if nobody is before us; whether it is ours."""
        if self._began is None and self._admission._take():
            self._began = time.monotonic()
        return self._began is not None

    async def turn(self) -> None:
        """Wait for the turn; at once, if it has come already.

        Raises:
            Refused: it did not come in time.
        """
        if self._began is None:
            await self._admission._turn()
            self._began = time.monotonic()

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        took_s = None if self._began is None else time.monotonic() - self._began
        self._admission._leave(took_s)


async def unless_gone(receive: Receive, work: Coroutine[Any, Any, T]) -> T:
    """Do work as long as somebody waits for it; when the client goes, it is cancelled.

    Raises:
        Refused: the client has gone; nobody reads that, but it is logged and counted.
    """
    task, gone = asyncio.ensure_future(work), asyncio.ensure_future(_disconnected(receive))
    try:
        await asyncio.wait((task, gone), return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            raise Refused("cancelled")
        return task.result()
    finally:
        for each in (task, gone):
            each.cancel()
        await asyncio.gather(task, gone, return_exceptions=True)


async def _disconnected(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
