"""The model behind an asynchronous door: asks in, words and entities out as they become certain.

The engine works by itself (`engines`) and hands tokens over; they become text here, in the event
loop, several at a time. A step of a small model takes a few milliseconds: waking the loop for each
would cost more than the step. So the first token of an answer and its end come at once, and what
lies between comes every few milliseconds: less often the more answers there are, since each of
them is then sent on by itself.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from kosmos2.engine import Request, Token
from kosmos2.errors import PromptError
from kosmos2.grounder import Kosmos2, Located, Seen
from kosmos2.grounder.looks import Looks, weights_of
from kosmos2.grounder.reading import Ask
from kosmos2.options import Options
from kosmos2.serve.answers import Answered, Answers, Arrival, Usage
from kosmos2.serve.engines import Inside, Making, slots_of
from kosmos2.serve.failures import Refused, told
from kosmos2.serve.keys import Caller
from kosmos2.serve.metrics import Metrics
from kosmos2.serve.pictures import Decoded
from kosmos2.serve.settings import Limits

log = logging.getLogger(__name__)

__all__ = ["Answered", "Answering", "Answers", "Usage"]

PAUSE_S, LONGEST_PAUSE_S = 0.005, 0.04  # between two deliveries, for each answer on its way
MOST_SIZES = 1024  # of pictures that are remembered; what they became takes more room
_LOOKED_AT = np.empty((0, 0, 3), np.uint8)
LIFE_S = 0.25  # between two looks at whether the engine is alive


class Answering:
    """One model, one engine, any number of answers at once."""

    def __init__(
        self, model: Kosmos2, limits: Limits, metrics: Metrics, *, engine: Making | None = None
    ) -> None:
        """Answers by `engine`; None has one in this process."""
        self.model = model
        self.limits = limits
        self.metrics = metrics
        self.on_dead: Callable[[], None] = lambda: None
        self.engine = engine or Inside(model, slots=slots_of(limits.running))
        self._weights = weights_of(model.network)  # nobody trains what is being served
        self._looks = Looks()
        self._pictures: dict[tuple[str, str], Decoded] = {}  # their sizes; what was looked at
        self._post = _Post()
        self._open: set[Answers] = set()
        self._life: asyncio.Task[None] | None = None
        metrics.watch("engine_running", "Answers that have a slot", lambda: self.engine.running)
        metrics.watch("engine_waiting", "Answers without one", lambda: self.engine.waiting)

    def start(self) -> None:
        """Watch over the engine from now on."""
        self._life = asyncio.get_running_loop().create_task(self._watch())

    def answer(
        self,
        asks: Sequence[Ask],
        options: Options | Sequence[Options],
        *,
        caller: Caller,
        deadline_s: float | None = None,
        with_tokens: bool = False,
    ) -> Answers:
        """Answers to all of these, side by side.

        They begin when their context is entered, or earlier by `await answers.start()`, which also
        says what is wrong with them: before the head of a stream has to be sent.

        Args:
            asks: what is asked.
            options: for all, or for each.
            caller: who asks; what pictures and prompts became is shared with the same one only.
            deadline_s: for the whole of each; None takes the server's.
            with_tokens: whether the tokens are handed on too, each before what it made certain.
        """
        several = [options] * len(asks) if isinstance(options, Options) else list(options)
        return Answers(
            self,
            list(zip(asks, several, strict=True)),
            caller=caller,
            deadline_s=self.limits.deadline_s if deadline_s is None else deadline_s,
            with_tokens=with_tokens,
        )

    def seen(self, digest: str, caller: Caller) -> Seen | None:
        """A picture that this caller sent before, if it is remembered: nobody decodes it again."""
        name = (caller.name, digest)
        latents, picture = self._looks.get(name), self._pictures.get(name)
        if latents is None or picture is None:
            return None
        return Seen(picture, latents, by=self.model.network)

    async def look(self, pictures: Sequence[Decoded | Seen], caller: Caller) -> list[Seen]:
        """Look at pictures, all new ones in one call; those of this caller are remembered."""
        self.check_alive()
        known = {p.picture.digest: p for p in pictures if isinstance(p, Seen)}
        fresh = {p.digest: p for p in pictures if isinstance(p, Decoded) and p.digest not in known}
        for digest in list(fresh):
            if (before := self.seen(digest, caller)) is not None:  # looked at meanwhile
                known[digest] = before
                del fresh[digest]
        self.metrics.image_misses.inc(len(fresh))
        self.metrics.image_hits.inc(len(pictures) - len(fresh))
        if fresh:
            latents = await self._apart(self._look, [p.pixels for p in fresh.values()])
            for digest, one in zip(fresh, latents, strict=True):
                # Its size is wanted from now on; the pixels have been looked at.
                picture = replace(fresh[digest], pixels=_LOOKED_AT)
                known[digest] = Seen(picture, one, by=self.model.network)
                self._remember((caller.name, digest), picture, one)
        return [known[p.digest if isinstance(p, Decoded) else p.picture.digest] for p in pictures]

    def _remember(self, name: tuple[str, str], picture: Decoded, latents: torch.Tensor) -> None:
        self._looks.put(name, latents)
        self._pictures[name] = picture
        while len(self._pictures) > MOST_SIZES:
            del self._pictures[next(iter(self._pictures))]

    async def locate(self, seen: Seen, phrases: Sequence[str], **how: Any) -> list[Located]:
        """`Kosmos2.locate`, between two steps of the engine."""
        self.check_alive()
        return await self._apart(lambda: self.engine.locate(seen, phrases, **how))

    async def close(self, drain_s: float = 0.0) -> None:
        """Let what runs finish, for a while; then end the rest and free the memory."""
        if self._life is not None:
            self._life.cancel()
        await asyncio.to_thread(self.engine.close, drain_s)

    @property
    def dead(self) -> bool:
        """Whether nobody would answer any more."""
        return self.engine.dead

    def check_alive(self) -> None:
        """Refuse when nobody would answer.

        Raises:
            Refused: the engine has died.
        """
        if self.dead:
            raise Refused("engine_dead")

    def submit(self, answers: Answers) -> None:
        """Hand in what an `Answers` holds; may be called from another thread.

        Raises:
            Refused: a prompt that is too long, or what the engine does not take.
        """
        self.check_alive()
        rules = self.model.runner.rules
        weights = (self._weights, answers.caller.name)
        try:
            requests = [
                rules.request(ask, options, weights=weights) for ask, options in answers.asked
            ]
            for at, request in enumerate(requests):
                request = replace(request, deadline_s=answers.deadline_s)
                self._submit(answers, at, request)
        except PromptError:  # the pictures match their marks: whoever made the prompt saw to that
            raise Refused("context_length_exceeded") from None

    def _submit(self, answers: Answers, at: int, request: Request) -> None:
        ticket = self.engine.submit(
            request,
            on_token=lambda token: self._post.put(answers, at, token),
            on_end=lambda ticket: self._post.end(answers, at, ticket.error),
        )
        answers.tickets.append(ticket)
        if answers.closed:  # while this went on in a thread
            ticket.cancel()

    def opened(self, answers: Answers) -> None:
        """Remember who is waiting, and where to deliver."""
        self._post.deliver_in(asyncio.get_running_loop())
        self._open.add(answers)
        self._post.answers = len(self._open)

    def forget(self, answers: Answers) -> None:
        """Nobody is waiting for these any more."""
        self._open.discard(answers)
        self._post.answers = len(self._open)

    async def _watch(self) -> None:
        """See whether the engine is alive; when it is not, everybody who waits is told."""
        while not self.dead:
            await asyncio.sleep(LIFE_S)
        log.critical("the engine has died; nothing can be answered any more")
        self.fail(Refused("engine_dead"))
        self.on_dead()

    def fail(self, why: Refused) -> None:
        """Tell everybody who waits that nothing more comes."""
        for answers in list(self._open):
            answers.fail(why)

    async def _apart(self, work: Callable[..., Any], *given: Any) -> Any:
        """Something longer than a moment, in a thread, unless the engine dies meanwhile."""
        task = asyncio.ensure_future(asyncio.to_thread(work, *given))
        while not task.done():
            await asyncio.wait((task,), timeout=LIFE_S)
            if not task.done():
                self.check_alive()
        try:
            return task.result()
        except Exception as error:
            raise told(error) from error

    def _look(self, pixels: Sequence[Any]) -> list[torch.Tensor]:
        looked = self.engine.look(np.stack(pixels))
        # Each by itself: one that is kept must not keep its whole batch.
        return [latents.clone() for latents in looked]


class _Post:
    """Carries tokens from the engine's thread to the event loop, waking it as seldom as it can.

    What is urgent for one answer is delivered by itself: each answer that is delivered to sends a
    packet, and another's first token is no reason for one.
    """

    def __init__(self) -> None:
        self.answers = 0  # on their way
        self._box: deque[tuple[Answers, Arrival]] = deque()
        self._urgent: deque[Answers] = deque()
        self._held: dict[Answers, list[Arrival]] = {}  # out of the box, and not urgent
        self._loop: asyncio.AbstractEventLoop | None = None
        self._pending = False  # somebody is on the way to the box
        self._hurried = False  # likewise, for what is urgent
        self._last = 0.0

    def deliver_in(self, loop: asyncio.AbstractEventLoop) -> None:
        """Where the answers are awaited."""
        if self._loop is not loop:
            self._loop, self._pending, self._hurried = loop, False, False

    def put(self, answers: Answers, at: int, token: Token) -> None:
        """One token, in the engine's thread."""
        self._box.append((answers, (at, token)))
        if not answers.began[at]:
            answers.began[at] = True
            self._hurry(answers)
        elif not self._pending:
            self._pending = True
            self._call(self._soon)

    def end(self, answers: Answers, at: int, error: BaseException | None) -> None:
        """No more tokens, for whatever reason."""
        self._box.append((answers, (at, error)))
        self._hurry(answers)

    def _hurry(self, answers: Answers) -> None:
        self._urgent.append(answers)
        if not self._hurried:
            self._hurried = True
            self._call(self._deliver_urgent)

    def _call(self, what: Callable[[], None]) -> None:
        assert self._loop is not None
        try:
            self._loop.call_soon_threadsafe(what)
        except RuntimeError:  # the loop has ended before the engine did
            log.debug("nobody is there for a token")

    def _soon(self) -> None:
        pause_s = min(PAUSE_S * self.answers, LONGEST_PAUSE_S)
        wait_s = self._last + pause_s - time.monotonic()
        if wait_s > 0:
            asyncio.get_running_loop().call_later(wait_s, self._deliver)
        else:
            self._deliver()

    def _deliver(self) -> None:
        self._pending = False  # first: what is put in from now on calls again
        self._last = time.monotonic()
        self._empty()
        held, self._held = self._held, {}
        for answers, arrivals in held.items():
            answers.arrive(arrivals)

    def _deliver_urgent(self) -> None:
        self._hurried = False  # first: what becomes urgent from now on calls again
        urgent = list[Answers]()
        while self._urgent:
            urgent.append(self._urgent.popleft())
        self._empty()
        for answers in urgent:
            if arrivals := self._held.pop(answers, None):
                answers.arrive(arrivals)

    def _empty(self) -> None:
        while self._box:
            answers, arrival = self._box.popleft()
            self._held.setdefault(answers, []).append(arrival)
