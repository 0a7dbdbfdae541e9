"""The engine: many requests at once, joining and leaving between steps, each answered as if alone.

It puts the pieces together: the scheduler says who reads what, one thread owns the device and does
it, and every request has its own rules, chance and end. Here are its doors, and the life of that
thread; `steps.py` does the work, `jobs.py` knows who is in, `between.py` what else is wanted.
"""

from __future__ import annotations

import atexit
import logging
import os
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import TypeVar

import torch
from jaxtyping import Float
from torch import Tensor

from kosmos2.engine import teams
from kosmos2.engine.between import Between
from kosmos2.engine.job import Job
from kosmos2.engine.jobs import Jobs
from kosmos2.engine.one_token import suits
from kosmos2.engine.prefixes import Prefixes
from kosmos2.engine.request import Request
from kosmos2.engine.scheduler import Scheduler
from kosmos2.engine.slots import Slots
from kosmos2.engine.statistics import Statistics
from kosmos2.engine.steps import Steps
from kosmos2.engine.ticket import Cancelled, OnEnd, OnToken, Ticket
from kosmos2.engine.token import Completion
from kosmos2.errors import ConfigError, EngineError
from kosmos2.model import Network

log = logging.getLogger(__name__)

# By the kind of device: a call costs a GPU as much as reading hundreds of tokens does.
CHUNK = {"cpu": 256, "cuda": 4096}
PADDING = {"cpu": 16, "cuda": 256}
STATIC_BLOCK = 256  # tokens that the memory grows by when growing means to record all steps again
IDLE_S = 5.0  # the thread of an engine without work ends; the next request starts another

T = TypeVar("T")


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
        is_static = (plain and device == "cuda") if static is None else static
        self.network = network
        self._prefixes = Prefixes(prefix_bytes)
        self._memory = Slots(
            network.config.text,
            slots,
            device=network.device,
            dtype=network.dtype if network.dtype.is_floating_point else torch.float32,
            most_bytes=memory_bytes,
            **({"block": STATIC_BLOCK, "spare": 1} if is_static else {}),
        )
        scheduler = Scheduler(
            slots=slots,
            queue=queue,
            chunk=CHUNK.get(device, CHUNK["cpu"]) if chunk is None else chunk,
            padding=PADDING.get(device, PADDING["cpu"]) if padding is None else padding,
        )
        self._lock = threading.RLock()  # for who is in, and what waits
        self._news = threading.Condition(self._lock)  # there is work, or a step was done
        self._jobs = Jobs(scheduler, self._memory, self._lock)
        self._between = Between(network, self._lock)
        self._steps = Steps(
            network, self._jobs, self._memory, self._prefixes, static=is_static, fuse=fuse
        )
        # A step for one token is so short there that reading two at once would take longer.
        self._foresee = not is_static
        self._background = background
        self._process = os.getpid()
        self._closed = False
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
        id = self._jobs.number()
        row = request.row(id, self.network.config)
        ticket = Ticket(
            drive=self._drive,
            on_cancel=lambda: self._drop(id),
            on_token=on_token,
            on_end=on_end,
            prompt=len(row.prompt),
        )
        job = Job(request, row, ticket, self.network.config.text, foresee=self._foresee)
        with self._lock:
            self._check_usable()
            self._jobs.add(job, self._steps.sharable(job))
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
                while self._jobs.full:
                    if not self._drive(None):
                        with self._news:
                            self._news.wait_for(lambda: not self._jobs.full, 1.0)
                tickets.append(self.submit(request))
            return [ticket.result() for ticket in tickets]
        finally:
            for ticket in tickets:
                ticket.cancel()

    def look(self, pixels: Float[Tensor, "N 3 S S"]) -> Float[Tensor, "N L D"]:
        """What the network makes of pictures, computed between steps, with others that wait.

        Raises:
            InputError: pixels that cannot be several pictures.
        """
        return self._await(lambda: self._between.look(pixels))

    def between(self, work: Callable[[], T]) -> T:
        """Do something with the network between two steps, where the steps are done.

        The work must not wait for the engine, which waits for it.

        Raises:
            Exception: whatever the work raised.
        """
        return self._await(lambda: self._between.work(work))

    @property
    def dead(self) -> bool:
        """Whether the thread that does the work has ended in the midst of it."""
        thread = self._thread
        return thread is not None and thread.ident is not None and not thread.is_alive()

    def statistics(self) -> Statistics:
        """The figures of this moment."""
        with self._lock:
            return Statistics(
                running=self._jobs.running,
                waiting=self._jobs.waiting,
                pictures=self._between.pictures,
                prefix_hits=self._prefixes.hits,
                prefix_bytes=self._prefixes.bytes,
                **self._jobs.counts,
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
        rest, thread = self._jobs.all(), self._thread
        for job in rest:
            job.ticket.end(Cancelled("the engine was closed before the answer was whole"))
        self._jobs.drop([job.row.index for job in rest])
        self._between.give_up(Cancelled("the engine was closed"))
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
                self._steps.static = None

    def step(self, *, wide: int | None = None) -> bool:
        """Do one step; whether there was something to do.

        Args:
            wide: threads for a call that reads many tokens, where the others have fewer.
        """
        self._check_process()
        self._steps.wide = wide
        with self._device:
            return self._step()

    def _step(self) -> bool:
        if not self._busy():
            return False
        self._between.do(running=bool(self._jobs))
        self._steps.do(self._jobs.plan(self._prefixes))
        with self._news:
            self._news.notify_all()
        return True

    def _await(self, ask: Callable[[], Future[T]]) -> T:
        """What comes of something that is done between two steps."""
        with self._lock:
            self._check_usable()
            done = ask()
            self._wake()
        while not (done.done() or not self._drive(None)):
            pass
        return done.result()

    def _fail(self, error: BaseException) -> None:
        """Every request ends."""
        for job in self._jobs.all():
            self._jobs.fail(job.row.index, error)

    def _busy(self) -> bool:
        with self._lock:
            return bool(self._jobs or self._between)

    def _wake(self) -> None:
        """There is work: see that somebody does it."""
        with self._news:
            if self._background and self._thread is None:
                teams.let_go()
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
                self._fail(error)

    def _drop(self, id: int) -> None:
        """A request was cancelled: it is out before the next step."""
        if os.getpid() == self._process:
            with self._lock:
                if self._jobs.drop([id]):
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
