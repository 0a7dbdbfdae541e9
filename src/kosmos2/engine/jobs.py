"""Who is in the engine: every request from when it is handed in to its end, whatever that is.

Requests are handed in and cancelled from any thread; all else happens in the one that works.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Container, Hashable, Sequence
from contextlib import AbstractContextManager

from kosmos2.engine.job import Job, Said
from kosmos2.engine.scheduler import Plan, Scheduler
from kosmos2.engine.slots import Slots

COUNTED = ("steps", "calls", "read", "tokens", "forced", "answered", "cancelled", "failed")


class Jobs:
    """Requests by their numbers; the scheduler knows the same ones."""

    def __init__(
        self, scheduler: Scheduler, memory: Slots, lock: AbstractContextManager[object]
    ) -> None:
        """Nobody yet; `lock` guards all that is here."""
        self.counts = dict.fromkeys(COUNTED, 0)
        self._scheduler = scheduler
        self._memory = memory
        self._lock = lock
        self._jobs: dict[int, Job] = {}
        self._unwanted: deque[int] = deque()  # cancelled, and not yet out of their slots
        self._next = 0

    def __bool__(self) -> bool:
        """Whether there is something to do."""
        return bool(self._jobs or self._unwanted)

    def __contains__(self, id: int) -> bool:
        return id in self._jobs

    def __getitem__(self, id: int) -> Job:
        return self._jobs[id]

    @property
    def running(self) -> int:
        """Requests with a slot."""
        return self._scheduler.running

    @property
    def waiting(self) -> int:
        """Requests without one."""
        return self._scheduler.waiting

    @property
    def full(self) -> bool:
        """Whether one more would be refused."""
        return self._scheduler.full

    def all(self) -> list[Job]:
        """Whoever is here at this moment."""
        with self._lock:
            return list(self._jobs.values())

    def number(self) -> int:
        """A new one."""
        with self._lock:
            self._next += 1
            return self._next - 1

    def add(self, job: Job, beginning: Hashable | None) -> None:
        """One more waits; `beginning` names what it may share.

        Raises:
            Busy: the queue is full.
        """
        request, id = job.request, job.row.index
        deadline = None if request.deadline_s is None else time.monotonic() + request.deadline_s
        with self._lock:
            self._scheduler.submit(
                id,
                known=len(job.known),
                beginning=beginning,
                beginning_length=request.prefix_length,
                deadline=deadline,
            )
            self._jobs[id] = job

    def drop(self, ids: Sequence[int]) -> bool:
        """Nobody wants these any more: they are out before the next step; whether one was here."""
        with self._lock:
            here = [id for id in ids if id in self._jobs]
            self._unwanted.extend(here)
        return bool(here)

    def plan(self, kept: Container[Hashable]) -> Plan:
        """The next step, without those whom nobody wants; `kept` beginnings can be copied."""
        with self._lock:
            while self._unwanted:
                self._end(self._unwanted.popleft(), "cancelled")
            self.counts["steps"] += 1
            return self._scheduler.plan(time.monotonic(), kept)

    def write(self, job: Job, places: range, said: Sequence[Said]) -> None:
        """Hand out what one request says next; what is wrong with it ends that one."""
        id, before, forced = job.row.index, len(job.writer.answer), job.forced
        try:
            job.write(places, said)
        except Exception as error:  # noqa: BLE001 - whoever asked gets it
            self.fail(id, error)
        with self._lock:
            self.counts["tokens"] += len(job.writer.answer) - before
            self.counts["forced"] += job.forced - forced
            if id not in self._jobs:
                return
            if job.writer.ended:
                self._end(id, "answered", clean=True)
            else:
                self._scheduler.tell(id, known=len(job.known), right=job.right)
        if job.writer.ended:
            job.ticket.end()

    def fail(self, id: int, error: BaseException) -> None:
        """A request ends badly."""
        with self._lock:
            ticket = self._jobs[id].ticket
            self._end(id, "failed")
        ticket.end(error)

    def _end(self, id: int, how: str, *, clean: bool = False) -> None:
        """Free the slot of a request; what a bad end left there is wiped."""
        job = self._jobs.pop(id, None)
        if job is None:
            return
        self._scheduler.free(id)
        self.counts[how] += 1
        if job.slot >= 0 and not clean:
            self._memory.wipe(job.slot)
