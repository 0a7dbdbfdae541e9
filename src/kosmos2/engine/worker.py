"""The engine: many requests at once, joining and leaving between steps, each answered as if alone.

It puts the pieces together: the scheduler says who reads what, one thread owns the device and does
it, and every request has its own rules, chance and end. What goes wrong with one request ends that
one; what goes wrong in a call of the network ends those that were in the call.
"""

from __future__ import annotations

import atexit
import logging
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Hashable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from kosmos2.engine import passes
from kosmos2.engine.job import Job
from kosmos2.engine.one_token import suits
from kosmos2.engine.prefixes import Prefixes
from kosmos2.engine.request import Request
from kosmos2.engine.scheduler import Call, Piece, Plan, Scheduler
from kosmos2.engine.slots import Slots
from kosmos2.engine.static import Static, takes
from kosmos2.engine.ticket import Cancelled, Late, OnEnd, OnToken, Ticket
from kosmos2.engine.token import Completion, Token
from kosmos2.errors import Busy, ConfigError, EngineError
from kosmos2.model import Network

log = logging.getLogger(__name__)

# By the kind of device: a call costs a GPU as much as reading hundreds of tokens does.
CHUNK = {"cpu": 256, "cuda": 4096}
PADDING = {"cpu": 16, "cuda": 256}
STATIC_BLOCK = 256  # tokens that the memory grows by when growing means to record all steps again
IDLE_S = 5.0  # the thread of an engine without work ends; the next request starts another


Read = Callable[[Sequence[Job], Sequence[Piece]], list[passes.Scored]]


@dataclass(frozen=True, kw_only=True, slots=True)
class Statistics:
    """What an engine is doing, and what it has done since it was made."""

    running: int
    waiting: int
    steps: int
    calls: int  # of the network; a step may need several
    read: int  # tokens that went through the network
    tokens: int  # handed out
    forced: int  # of these, known before their turn
    answered: int
    cancelled: int
    failed: int  # of itself, for want of time, or of memory
    prefix_hits: int  # beginnings that were not read but copied
    prefix_bytes: int


class Engine:
    """Answers requests as they come.

    With `background` a thread does the work; it starts with the first request. Without, whoever
    waits for an answer does the work of all: a step at a time, the same steps.
    """

    def __init__(
        self,
        network: Network,
        *,
        slots: int = 16,
        queue: int = 256,
        chunk: int | None = None,
        padding: int | None = None,
        prefix_bytes: int = 256 * 2**20,
        memory_bytes: int | None = None,
        background: bool = True,
        static: bool | None = None,
        fuse: bool = False,
    ) -> None:
        """An engine without work; it takes no memory yet.

        Args:
            network: not in training; nobody else should use it meanwhile.
            slots: requests that run together.
            queue: requests that may wait when every slot is taken; one more is `Busy`.
            chunk: tokens of new prompts that are read in one step, while all the others wait;
                None takes what suits the device.
            padding: tokens of padding that cost about as much as one more call of the network;
                None takes what suits the device.
            prefix_bytes: for beginnings of prompts that several requests share.
            memory_bytes: for keys and values; None takes what there is.
            background: work in a thread.
            static: read single tokens in fixed shapes, recorded and replayed on a GPU; None for
                there, if the network's matrices are plain ones.
            fuse: let `torch.compile` join the small operations of such a step.
        """
        if network.training:
            raise ConfigError("the network is in training, where it is random; call eval() first")
        plain, device = suits(network), network.device.type
        if static and not plain:
            raise ConfigError(
                "static=True needs a network of plain matrices, and this one is quantised; load "
                "it without quantize, or leave static out"
            )
        self._is_static = (plain and device == "cuda") if static is None else static
        self._fuse = fuse
        self._static: Static | None = None  # made when it is needed
        self.network = network
        self._scheduler = Scheduler(
            slots=slots,
            queue=queue,
            chunk=CHUNK.get(device, CHUNK["cpu"]) if chunk is None else chunk,
            padding=PADDING.get(device, PADDING["cpu"]) if padding is None else padding,
        )
        self._prefixes = Prefixes(prefix_bytes)
        self._memory = Slots(
            network.config.text,
            slots,
            device=network.device,
            dtype=network.dtype if network.dtype.is_floating_point else torch.float32,
            most_bytes=memory_bytes,
            **({"block": STATIC_BLOCK, "spare": 1} if self._is_static else {}),
        )
        self._background = background
        self._process = os.getpid()
        self._closed = False
        self._jobs: dict[int, Job] = {}
        self._next_id = 0
        self._unwanted: deque[int] = deque()  # cancelled, and not yet out of their slots
        self._looks: deque[tuple[Tensor, Future[Tensor]]] = deque()
        self._counts = dict.fromkeys(
            ("steps", "calls", "read", "tokens", "forced", "answered", "cancelled", "failed"), 0
        )
        self._lock = threading.RLock()  # for all of the above
        self._news = threading.Condition(self._lock)  # there is work, or a step was done
        self._device = threading.RLock()  # who holds it may use memory and network
        self._thread: threading.Thread | None = None

    def __enter__(self) -> Engine:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def submit(
        self, request: Request, *, on_token: OnToken | None = None, on_end: OnEnd | None = None
    ) -> Ticket:
        """Hand in a request; the callbacks are called where the work is done, and must be quick.

        Raises:
            PromptError: what the network cannot read.
            InputError: options that the engine does not follow.
            Busy: the queue is full.
            EngineError: the engine is closed, or was made in another process.
        """
        self._check_usable()
        with self._lock:
            id, self._next_id = self._next_id, self._next_id + 1
        row = request.row(id, self.network.config)
        ticket = Ticket(
            drive=self._drive, on_cancel=lambda: self._drop(id), on_token=on_token, on_end=on_end
        )
        # A step for one token is so short there that reading two at once would take longer.
        foresee = not self._is_static
        job = Job(request, row, ticket, self.network.config.text, foresee=foresee)
        deadline = None if request.deadline_s is None else time.monotonic() + request.deadline_s
        with self._lock:
            self._check_usable()
            self._scheduler.submit(
                id,
                known=len(job.known),
                beginning=self._sharable(job),
                beginning_length=request.prefix_length,
                deadline=deadline,
            )
            self._jobs[id] = job
            self._wake()
        return ticket

    def run(self, requests: Sequence[Request]) -> list[Completion]:
        """Answer all of these; more than the queue holds are handed in as there is room.

        Raises:
            Exception: what went wrong with the first that failed; the others are cancelled.
        """
        tickets: list[Ticket] = []
        try:
            for request in requests:
                while self._scheduler.full:
                    if not self._drive(None):
                        with self._news:
                            self._news.wait_for(lambda: not self._scheduler.full, 1.0)
                tickets.append(self.submit(request))
            return [ticket.result() for ticket in tickets]
        finally:
            for ticket in tickets:
                ticket.cancel()

    def look(self, pixels: Float[Tensor, "N 3 S S"]) -> Float[Tensor, "N L D"]:
        """What the network makes of pictures, computed between two steps."""
        self._check_usable()
        looked: Future[Tensor] = Future()
        with self._lock:
            self._looks.append((pixels, looked))
            self._wake()
        while not (looked.done() or not self._drive(None)):
            pass
        return looked.result()

    def statistics(self) -> Statistics:
        """The figures of this moment."""
        with self._lock:
            return Statistics(
                running=self._scheduler.running,
                waiting=self._scheduler.waiting,
                prefix_hits=self._prefixes.hits,
                prefix_bytes=self._prefixes.bytes,
                **self._counts,
            )

    def close(self, deadline_s: float = 10.0) -> None:
        """Take no more, finish what can be finished in time, cancel the rest, free the memory."""
        if os.getpid() != self._process:
            return  # nothing runs here
        until = time.monotonic() + deadline_s
        with self._news:
            self._closed = True
            self._news.notify_all()
        while self._busy() and time.monotonic() < until:
            if not self._drive(None):
                with self._news:
                    self._news.wait_for(
                        lambda: not self._busy(), max(until - time.monotonic(), 0.0)
                    )
        with self._lock:
            rest, thread = list(self._jobs.values()), self._thread
        for job in rest:
            job.ticket.end(Cancelled("the engine was closed before the answer was whole"))
        with self._lock:
            self._unwanted.extend(job.row.index for job in rest)
            for _, looked in self._looks:
                looked.set_exception(Cancelled("the engine was closed"))
            self._looks.clear()
        # A call of the network cannot be cut short: its memory goes with its thread.
        if thread is None or thread is threading.current_thread():
            self.step()
        else:
            self._wake()
            thread.join(max(until - time.monotonic(), 0.1))
        if not self._busy():
            with self._device:
                self._memory.clear()
                self._prefixes.clear()
                self._static = None

    def step(self) -> bool:
        """Do one step; whether there was something to do."""
        self._check_process()
        with self._device:
            return self._step()

    def _step(self) -> bool:
        with self._lock:
            if not self._busy():
                return False
            unwanted, looks = list(self._unwanted), list(self._looks)
            self._unwanted.clear()
            self._looks.clear()
            for id in unwanted:
                self._end(id, "cancelled")
            plan = self._scheduler.plan(time.monotonic(), self._prefixes)
            self._counts["steps"] += 1
        for pixels, looked in looks:
            self._look(pixels, looked)
        self._arrange(plan)
        for call in plan.calls:
            self._call(call)
        with self._news:
            self._news.notify_all()
        return True

    def _arrange(self, plan: Plan) -> None:
        """Who leaves, who comes, who sits where."""
        for id in plan.late:
            seconds = self._jobs[id].request.deadline_s
            self._fail(id, Late(f"no whole answer within {seconds} s; allow more, or ask for less"))
        for move in plan.moves:
            self._memory.move(move.source, move.target)
            self._jobs[move.id].slot = move.target
        for seat in plan.seats:
            job = self._jobs[seat.id]
            try:
                self._memory.reserve(seat.slot, job.most)
            except Busy as error:
                self._fail(seat.id, error)
            else:
                job.slot = seat.slot
        for copy in plan.copies:
            if copy.id in self._jobs:
                name = self._jobs[copy.id].beginning
                assert name is not None
                beginning = self._prefixes.get(name)
                assert beginning is not None, "the plan was made of what is kept"
                self._memory.begin(copy.slot, beginning, copy.length)

    def _call(self, call: Call) -> None:
        """One call of the network, and what it means for each request in it."""
        static: list[Piece] = []
        rest: list[Piece] = []
        for piece in call:
            if piece.id in self._jobs:
                (static if self._takes(piece) else rest).append(piece)
        for pieces, read in ((rest, self._read), (static, self._read_static)):
            if pieces:
                self._read_and_write(pieces, read)

    def _takes(self, piece: Piece) -> bool:
        return self._is_static and takes(self._jobs[piece.id], piece)

    def _read(self, jobs: Sequence[Job], pieces: Sequence[Piece]) -> list[passes.Scored]:
        return passes.read(self.network, self._memory, jobs, pieces)

    def _read_static(self, jobs: Sequence[Job], pieces: Sequence[Piece]) -> list[passes.Scored]:
        if self._static is None:
            self._static = Static(self.network, self._memory, fuse=self._fuse)
        return self._static.read(jobs, pieces)

    def _read_and_write(self, pieces: Sequence[Piece], read: Read) -> None:
        jobs = [self._jobs[piece.id] for piece in pieces]
        try:
            scored = read(jobs, pieces)
        except BaseException as error:
            for piece in pieces:
                failure = EngineError(f"the network failed with {len(pieces)} requests: {error}")
                failure.__cause__ = error
                self._fail(piece.id, failure)
            if not isinstance(error, Exception):
                raise
            log.debug("a call of the network failed", exc_info=True)  # who waits is told
            return
        with self._lock:
            self._counts["calls"] += 1
            self._counts["read"] += sum(piece.count for piece in pieces)
        for job, piece, (places, said) in zip(jobs, pieces, scored, strict=True):
            self._keep_beginning(job, piece.start, piece.start + piece.count)
            if said is not None:
                self._write(job, places, said)

    def _write(self, job: Job, places: range, said: Tensor | Token) -> None:
        """Hand out what one request says next."""
        id, before, forced = job.row.index, len(job.writer.answer), job.forced
        try:
            job.write(places, said)
        except Exception as error:  # noqa: BLE001 - whoever asked gets it
            self._fail(id, error)
        with self._lock:
            self._counts["tokens"] += len(job.writer.answer) - before
            self._counts["forced"] += job.forced - forced
            if id not in self._jobs:
                return
            if job.writer.ended:
                self._end(id, "answered", clean=True)
            else:
                self._scheduler.tell(id, known=len(job.known), right=job.right)
        if job.writer.ended:
            job.ticket.end()

    def _look(self, pixels: Tensor, looked: Future[Tensor]) -> None:
        try:
            with torch.no_grad():
                looked.set_result(self.network.look(pixels.to(self.network.device)))
        except Exception as error:  # noqa: BLE001 - whoever asked gets it
            looked.set_exception(error)

    def _sharable(self, job: Job) -> Hashable | None:
        """The name of a beginning that could be kept."""
        size = job.request.prefix_length * self._memory.token_bytes
        return job.beginning if size <= self._prefixes.most_bytes else None

    def _keep_beginning(self, job: Job, start: int, end: int) -> None:
        """Keep what others may share, once it has been read."""
        length = job.request.prefix_length
        if start < length <= end and (name := self._sharable(job)) is not None:
            self._prefixes.put(name, self._memory.beginning(job.slot, length))

    def _fail(self, id: int, error: BaseException) -> None:
        ticket = self._jobs[id].ticket
        with self._lock:
            self._end(id, "failed")
        ticket.end(error)

    def _end(self, id: int, how: str, *, clean: bool = False) -> None:
        """Free the slot of a request; what a bad end left there is wiped."""
        job = self._jobs.pop(id, None)
        if job is None:
            return
        self._scheduler.free(id)
        self._counts[how] += 1
        if job.slot >= 0 and not clean:
            self._memory.wipe(job.slot)

    def _busy(self) -> bool:
        return bool(self._jobs or self._looks or self._unwanted)

    def _wake(self) -> None:
        """There is work: see that somebody does it."""
        with self._news:
            if self._background and self._thread is None:
                self._thread = threading.Thread(target=self._work, name="kosmos2", daemon=True)
                self._thread.start()
                # A thread that is in the midst of a call when Python ends would end it badly.
                atexit.register(self.close, 1.0)
            self._news.notify_all()

    def _work(self) -> None:
        """The life of the thread."""
        while True:
            with self._news:
                self._news.wait_for(lambda: self._busy() or self._closed, IDLE_S)
                if not self._busy():
                    self._thread = None
                    atexit.unregister(self.close)
                    return
            try:
                self.step()
            except BaseException as error:
                log.exception("the engine failed; every request in it ends")
                for id in list(self._jobs):
                    self._fail(id, error)

    def _drop(self, id: int) -> None:
        """A request was cancelled: it is out before the next step."""
        if os.getpid() == self._process:
            with self._lock:
                if id in self._jobs:
                    self._unwanted.append(id)
                    self._wake()

    def _drive(self, timeout_s: float | None) -> bool:
        """Do a step for somebody who waits, unless a thread does them."""
        self._check_process()
        return not self._background and self.step()

    def _check_process(self) -> None:
        if os.getpid() != self._process:
            raise EngineError(
                f"this engine belongs to process {self._process} and does not work in its fork "
                f"{os.getpid()}; make one after the fork"
            )

    def _check_usable(self) -> None:
        self._check_process()
        if self._closed:
            raise EngineError("the engine is closed; make another")
