"""An engine in a process of its own: that process.

One thread does everything in turn: hear what is wanted, do a step, say what came of it. So nothing
ever waits for a lock, and a step takes as long as it does with nothing around it.

What it hears is a table with `do`: "order" (an answer), "cancel", "look" (at pixels), "locate",
"give way" (to the event loop) or "close". What it says is a table with `news` of answers, or the
`result` or `error` of a look or a locating. Both by number; see `wire`.
"""

from __future__ import annotations

import gc
import os
import signal
import time
from collections.abc import Callable
from dataclasses import replace
from multiprocessing.connection import Connection
from select import POLLIN, poll
from typing import Any, NoReturn

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from kosmos2.engine import Cancelled, Engine, Late, Ticket, Token, teams
from kosmos2.errors import Busy
from kosmos2.grounder import Kosmos2, Seen
from kosmos2.images import normalised
from kosmos2.serve import memory
from kosmos2.serve.engines import meek, wire
from kosmos2.serve.engines.making import ENDLESS
from kosmos2.serve.failures import logged
from kosmos2.serve.pictures import Decoded

BROKEN = 70  # the exit code of an error of ours, as in sysexits.h
LARGE = 4 * 2**20  # bytes: only tensors come and go here, and new pages for each would cost a third
GIVE_WAY_S = 0.2  # from when it was last asked for
PAUSE_S = 0.01  # between two reports of answers that only go on: each costs as much as a token
_EXPECTED = (Busy, Cancelled, Late)


def run(model: Kosmos2, pipe: Connection, *, slots: int, threads: int) -> NoReturn:
    """Be the process; ends with it, however that comes about."""
    code = BROKEN
    try:
        # When to stop is for the other process to say; a terminal tells both.
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)
        memory.keep_large_apart(LARGE)
        memory.keep_free_pages()
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
        self._every = every
        # Several threads would be a second team, and then products wait for each other.
        self._can_be_meek = threads == 1 and meek.possible()
        self._meek = meek.Meek(lambda: self._engine.step(wide=every), meekly=self._engine.step)
        self._meek_until_s = 0.0
        self._tickets: dict[int, Ticket] = {}
        self._began: set[int] = set()  # those whose first token has come
        self._tokens: dict[int, list[wire.Sent]] = {}  # not said yet
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
            meekly = self._can_be_meek and time.monotonic() < self._meek_until_s
            idle = not self._meek.step(meekly=meekly)
            now = time.monotonic()
            if self._hurry or idle or now - self._said_s > PAUSE_S:
                self._said_s = now
                self._say()
            self._tidy(now)

    def _hear(self, *, wait: bool) -> bool:
        """Do what is wanted, of which at least one thing is awaited; False: the end."""
        while wait or self._news.poll(0):
            wait = False
            note, array = wire.unpack(self._pipe.recv_bytes())
            match note["do"]:
                case "order":
                    self._order(note, array)
                case "cancel":
                    if (ticket := self._tickets.get(note["number"])) is not None:
                        ticket.cancel()
                case "give way":
                    self._meek_until_s = time.monotonic() + GIVE_WAY_S
                case "look":
                    self._look(note, array)
                case "locate":
                    self._locate(note, array)
                case "close":
                    self._engine.close(note["within_s"])
                    self._say()
                    return False
        return True

    def _order(self, note: dict[str, Any], latents: wire.Array | None) -> None:
        number = note["number"]
        try:
            request = wire.request_of_note(note["request"], self._model.runner.rules.tags)
            if latents is not None:
                request = replace(request, latents=self._latents(latents))
            self._tickets[number] = self._engine.submit(
                request,
                on_token=lambda token: self._came(number, token),
                on_end=lambda ticket: self._ended(number, ticket.error),
            )
        except Exception as error:  # noqa: BLE001 - whoever waits is told
            self._ended(number, error)

    def _came(self, number: int, token: Token) -> None:
        self._tokens.setdefault(number, []).append(wire.sent_of_token(token))
        if number not in self._began:
            self._began.add(number)
            self._hurry = True

    def _ended(self, number: int, error: BaseException | None) -> None:
        self._over[number] = error
        self._hurry = True

    def _look(self, note: dict[str, Any], squares: wire.Array | None) -> None:
        def look() -> tuple[Any, wire.Array]:
            assert squares is not None
            pixels = torch.from_numpy(normalised(squares))
            return None, self._engine.look(pixels).float().numpy()

        self._answer(note["number"], look)

    def _locate(self, note: dict[str, Any], latents: wire.Array | None) -> None:
        def locate() -> tuple[Any, None]:
            assert latents is not None
            picture = Decoded(**note["picture"], pixels=np.empty((0, 0, 3), np.uint8))
            seen = Seen(picture, self._latents(latents), by=self._model.network)
            found = self._engine.between(
                lambda: self._model.locate(seen, note["phrases"], **note["how"])
            )
            return [wire.note_of_located(one) for one in found], None

        self._answer(note["number"], locate)

    def _latents(self, sent: wire.Array) -> Float[Tensor, "*any"]:
        dtype = self._model.network.dtype
        return torch.from_numpy(sent).to(dtype if dtype.is_floating_point else torch.float32)

    def _answer(self, number: int, work: Callable[[], tuple[Any, wire.Array | None]]) -> None:
        """Work that is long enough for all threads."""
        try:
            with teams.of(self._every):
                result, array = work()
            said = wire.pack({"number": number, "result": result}, array)
        except Exception as error:  # noqa: BLE001 - whoever waits is told
            said = wire.pack({"number": number, "error": wire.note_of_error(error)})
        self._pipe.send_bytes(said)

    def _say(self) -> None:
        """What came of the last steps."""
        if not (self._tokens or self._over):
            return
        news = []
        for number in {**self._tokens, **self._over}:
            ticket, over = self._tickets.get(number), number in self._over
            one: dict[str, Any] = {
                "number": number,
                "reused": ticket.reused if ticket else 0,
                "forced": ticket.forced if ticket else 0,
                "tokens": self._tokens.get(number, []),
                "over": over,
            }
            if over:
                self._tickets.pop(number, None)
                self._began.discard(number)
                if (error := self._over[number]) is not None:
                    if not isinstance(error, _EXPECTED):
                        logged(error, "in the engine's process")
                    one["error"] = wire.note_of_error(error)
            news.append(one)
        self._tokens.clear()
        self._over.clear()
        self._hurry = False
        now = self._engine.statistics()
        said = {"news": news, "running": now.running, "waiting": now.waiting}
        self._pipe.send_bytes(wire.pack(said))

    def _tidy(self, now: float) -> None:
        """Give back what nobody uses, now and then."""
        if now - self._trimmed_s > memory.EVERY_S:
            self._trimmed_s = now
            gc.collect(0)
            if self._trim is not None:
                self._trim()
