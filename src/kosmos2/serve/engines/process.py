"""An engine in a process of its own: that process.

One thread does everything in turn: hear what is wanted, do a step, say what came of it. So nothing
ever waits for a lock, and a step takes as long as it does with nothing around it.

Shapes: N pictures, S pixels a side, L latents, D text width.
"""

from __future__ import annotations

import gc
import os
import pickle
import signal
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from multiprocessing.connection import Connection
from select import POLLIN, poll
from typing import Any, NamedTuple, NoReturn

import torch
from jaxtyping import Float
from numpy import ndarray
from torch import Tensor

from kosmos2.engine import Cancelled, Engine, Finish, Late, Request, Ticket, Token
from kosmos2.errors import Busy, EngineError
from kosmos2.grounder import Kosmos2, Seen
from kosmos2.serve import memory
from kosmos2.serve.engines.making import ENDLESS
from kosmos2.serve.failures import logged

BROKEN = 70  # the exit code of an error of ours, as in sysexits.h
LARGE = 4 * 2**20  # bytes: only tensors come and go here, and new pages for each would cost a third
PAUSE_S = 0.01  # between two reports of answers that only go on: each costs as much as a token
_EXPECTED = (Busy, Cancelled, Late)
# A token as it is sent: an object of its own would take ten times as long to pack.
_Sent = tuple[int, float, float | None, Finish | None, tuple[tuple[int, float], ...]]


class Order(NamedTuple):
    """An answer that is wanted."""

    number: int
    request: Request  # without its latents
    latents: Float[ndarray, "N L D"] | None


class Ended(NamedTuple):
    """The end of an answer."""

    error: BaseException | None


class News(NamedTuple):
    """What came of an answer since the last time."""

    number: int
    reused: int
    forced: int
    sent: list[_Sent]
    ended: Ended | None  # None: it goes on

    @property
    def tokens(self) -> Iterator[Token]:
        """The tokens."""
        for id, logprob, location_logprob, finish, top in self.sent:
            yield Token(
                id=id,
                logprob=logprob,
                location_logprob=location_logprob,
                finish=finish,
                top=top,
            )


@dataclass(slots=True)
class Moment:
    """What came of all answers, and how many there are."""

    running: int = 0
    waiting: int = 0
    news: list[News] = field(default_factory=list)


def run(model: Kosmos2, pipe: Connection, *, slots: int, threads: int) -> NoReturn:
    """Be the process; ends with it, however that comes about."""
    code = BROKEN
    try:
        # When to stop is for the other process to say; a terminal tells both.
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)
        memory.keep_large_apart(LARGE)
        every = torch.get_num_threads()
        torch.set_num_threads(threads)
        _Process(model, pipe, slots, threads=threads, every=every).live()
        code = 0
    except (EOFError, BrokenPipeError, ConnectionResetError):
        code = 0  # nobody is there any more
    except BaseException as error:  # noqa: BLE001 - the process ends with it
        logged(error, "of the engine's process")
    finally:
        os._exit(code)  # nothing that the other process has set up is to be torn down here


class _Process:
    """The engine, and what is to be said of it."""

    def __init__(
        self, model: Kosmos2, pipe: Connection, slots: int, *, threads: int, every: int
    ) -> None:
        self._model = model
        self._pipe = pipe
        self._engine = Engine(model.network, slots=slots, queue=ENDLESS, background=False)
        self._threads, self._every = threads, every
        self._tickets: dict[int, Ticket] = {}
        self._began: set[int] = set()  # those whose first token has come
        self._tokens: dict[int, list[_Sent]] = {}  # not said yet
        self._over: dict[int, BaseException | None] = {}  # likewise
        self._hurry = False  # and may not wait
        self._news = poll()
        self._news.register(pipe.fileno(), POLLIN)
        self._trim = memory.trimmer()
        self._trimmed_s = self._said_s = time.monotonic()

    def live(self) -> None:
        """Until told to close."""
        idle = True
        while self._hear(wait=idle):
            idle = not self._engine.step()
            now = time.monotonic()
            if self._hurry or idle or now - self._said_s > PAUSE_S:
                self._said_s = now
                self._say()
            self._tidy(now)

    def _hear(self, *, wait: bool) -> bool:
        """Do what is wanted, of which at least one thing is awaited; False: the end."""
        while wait or self._news.poll(0):
            wait = False
            what, *given = pickle.loads(self._pipe.recv_bytes())
            if what == "close":
                self._engine.close(*given)
                self._say()
                return False
            getattr(self, f"_{what}")(*given)
        return True

    def _order(self, order: Order) -> None:
        number, request = order.number, order.request
        if order.latents is not None:
            request = replace(request, latents=self._latents(order.latents))
        try:
            self._tickets[number] = self._engine.submit(
                request,
                on_token=lambda token: self._came(number, token),
                on_end=lambda ticket: self._ended(number, ticket.error),
            )
        except Exception as error:  # noqa: BLE001 - whoever waits is told
            self._ended(number, error)

    def _came(self, number: int, token: Token) -> None:
        sent = token.id, token.logprob, token.location_logprob, token.finish, token.top
        self._tokens.setdefault(number, []).append(sent)
        if number not in self._began:
            self._began.add(number)
            self._hurry = True

    def _ended(self, number: int, error: BaseException | None) -> None:
        self._over[number] = error
        self._hurry = True

    def _cancel(self, number: int) -> None:
        if (ticket := self._tickets.get(number)) is not None:
            ticket.cancel()

    def _look(self, number: int, pixels: Float[ndarray, "N 3 S S"]) -> None:
        self._answer(number, lambda: self._engine.look(torch.from_numpy(pixels)).float().numpy())

    def _locate(
        self,
        number: int,
        picture: Any,
        latents: Float[ndarray, "L D"],
        phrases: Sequence[str],
        how: dict[str, Any],
    ) -> None:
        seen = Seen(picture, self._latents(latents), by=self._model.network)
        self._answer(
            number,
            lambda: self._engine.between(lambda: self._model.locate(seen, list(phrases), **how)),
        )

    def _latents(self, sent: Float[ndarray, "*any"]) -> Float[Tensor, "*any"]:
        dtype = self._model.network.dtype
        return torch.from_numpy(sent).to(dtype if dtype.is_floating_point else torch.float32)

    def _answer(self, number: int, work: Any) -> None:
        """Work that is long enough for all threads."""
        torch.set_num_threads(self._every)
        try:
            result = work()
        except Exception as error:  # noqa: BLE001 - whoever waits is told
            result = _portable(error)
        finally:
            torch.set_num_threads(self._threads)
        self._send((number, result))

    def _say(self) -> None:
        """What came of the last step."""
        if not (self._tokens or self._over):
            return
        news = []
        for number in {**self._tokens, **self._over}:
            ticket = self._tickets.get(number)
            ended = None
            if number in self._over:
                ended = Ended(_portable(self._over[number]))
                self._tickets.pop(number, None)
                self._began.discard(number)
            reused, forced = (ticket.reused, ticket.forced) if ticket is not None else (0, 0)
            news.append(News(number, reused, forced, self._tokens.get(number, []), ended))
        self._tokens.clear()
        self._over.clear()
        self._hurry = False
        counts = self._engine.statistics()
        self._send(Moment(counts.running, counts.waiting, news))

    def _send(self, what: Any) -> None:
        self._pipe.send_bytes(pickle.dumps(what))

    def _tidy(self, now: float) -> None:
        """Give back what nobody uses, now and then."""
        if now - self._trimmed_s > memory.EVERY_S:
            self._trimmed_s = now
            gc.collect(0)
            if self._trim is not None:
                self._trim()


def _portable(error: BaseException | None) -> BaseException | None:
    """The same error where it can be sent, else one of ours that says as much."""
    if error is None:
        return None
    if not isinstance(error, _EXPECTED):
        logged(error, "in the engine's process")
    try:
        return pickle.loads(pickle.dumps(error))
    except Exception:  # noqa: BLE001 - whatever an error's own making throws
        return EngineError(f"{type(error).__name__}: {error}")
