"""One step of the engine: what a plan says, done with the network and the memory.

What goes wrong with one request ends that one; what goes wrong in a call of the network ends those
that were in the call.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Hashable, Sequence

from kosmos2.engine import passes, teams
from kosmos2.engine.job import Job
from kosmos2.engine.jobs import Jobs
from kosmos2.engine.likeliest import Likeliest
from kosmos2.engine.prefixes import Prefixes
from kosmos2.engine.scheduler import Call, Piece, Plan
from kosmos2.engine.slots import Slots
from kosmos2.engine.static import Static, takes
from kosmos2.engine.ticket import Late
from kosmos2.errors import Busy, EngineError
from kosmos2.model import Network

log = logging.getLogger(__name__)

MANY = 32  # tokens of one call: from here on its products are worth sharing out

Read = Callable[[Sequence[Job], Sequence[Piece]], list[passes.Scored]]


class Steps:
    """Does plans; only the thread that owns the device may."""

    def __init__(
        self,
        network: Network,
        jobs: Jobs,
        memory: Slots,
        prefixes: Prefixes,
        *,
        static: bool,
        fuse: bool,
    ) -> None:
        self.network = network
        self.jobs = jobs
        self.memory = memory
        self.prefixes = prefixes
        self.static: Static | None = None  # made when it is needed
        self.wide: int | None = None  # threads of a call that reads many tokens; None: as others
        self._is_static = static
        self._fuse = fuse
        self._likeliest = Likeliest(network.config.text.vocabulary)

    def sharable(self, job: Job) -> Hashable | None:
        """The name of a beginning that could be kept."""
        size = job.request.prefix_length * self.memory.token_bytes
        return job.beginning if size <= self.prefixes.most_bytes else None

    def do(self, plan: Plan) -> None:
        """One step."""
        self._arrange(plan)
        for call in plan.calls:
            self._call(call)

    def _arrange(self, plan: Plan) -> None:
        """Who leaves, who comes, who sits where."""
        jobs, memory = self.jobs, self.memory
        for id in plan.late:
            seconds = jobs[id].request.deadline_s
            jobs.fail(id, Late(f"no whole answer within {seconds} s; allow more, or ask for less"))
        for move in plan.moves:
            memory.move(move.source, move.target)
            jobs[move.id].slot = move.target
        for seat in plan.seats:
            job = jobs[seat.id]
            try:
                memory.reserve(seat.slot, job.most)
            except Busy as error:
                jobs.fail(seat.id, error)
            else:
                job.slot = seat.slot
        for copy in plan.copies:
            if copy.id in jobs:
                name = jobs[copy.id].beginning
                assert name is not None
                beginning = self.prefixes.get(name)
                assert beginning is not None, "the plan was made of what is kept"
                memory.begin(copy.slot, beginning, copy.length)
                jobs[copy.id].ticket.reused = copy.length

    def _call(self, call: Call) -> None:
        """One call of the network, and what it means for each request in it."""
        static: list[Piece] = []
        rest: list[Piece] = []
        for piece in call:
            if piece.id in self.jobs:
                (static if self._takes(piece) else rest).append(piece)
        for pieces, read in ((rest, self._read), (static, self._read_static)):
            if pieces:
                self._read_and_write(pieces, read)

    def _takes(self, piece: Piece) -> bool:
        return self._is_static and takes(self.jobs[piece.id], piece)

    def _read(self, jobs: Sequence[Job], pieces: Sequence[Piece]) -> list[passes.Scored]:
        return passes.read(self.network, self.memory, jobs, pieces, self._likeliest)

    def _read_static(self, jobs: Sequence[Job], pieces: Sequence[Piece]) -> list[passes.Scored]:
        if self.static is None:
            self.static = Static(self.network, self.memory, fuse=self._fuse)
        return self.static.read(jobs, pieces)

    def _read_and_write(self, pieces: Sequence[Piece], read: Read) -> None:
        jobs = [self.jobs[piece.id] for piece in pieces]
        count = sum(piece.count for piece in pieces)
        try:
            with teams.of(self.wide if count >= MANY else None):
                scored = read(jobs, pieces)
        except BaseException as error:
            for piece in pieces:
                failure = EngineError(f"the network failed with {len(pieces)} requests: {error}")
                failure.__cause__ = error
                self.jobs.fail(piece.id, failure)
            if not isinstance(error, Exception):
                raise
            log.debug("a call of the network failed", exc_info=True)  # who waits is told
            return
        self.jobs.counts["calls"] += 1
        self.jobs.counts["read"] += count
        for job, piece, (places, said) in zip(jobs, pieces, scored, strict=True):
            self._keep_beginning(job, piece.start, piece.start + piece.count)
            if said:
                self.jobs.write(job, places, said)

    def _keep_beginning(self, job: Job, start: int, end: int) -> None:
        """Keep what others may share, once it has been read."""
        length = job.request.prefix_length
        if start < length <= end and (name := self.sharable(job)) is not None:
            self.prefixes.put(name, self.memory.beginning(job.slot, length))
