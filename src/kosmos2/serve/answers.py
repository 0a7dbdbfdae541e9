"""What somebody is waiting for: the answers to a few asks, as events or whole."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, replace
from types import TracebackType
from typing import TYPE_CHECKING, Self

from kosmos2.engine import Token
from kosmos2.grounder.reading import Ask, Reading
from kosmos2.markup import Entity
from kosmos2.markup.events import Event, joined
from kosmos2.options import Options
from kosmos2.result import Grounded
from kosmos2.serve.engines.making import Ordered
from kosmos2.serve.failures import Refused, logged, told
from kosmos2.serve.keys import Caller

if TYPE_CHECKING:
    from kosmos2.serve.answering import Answering

# More than this is a matter of milliseconds, and goes to a thread.
FEW_ASKS, FEW_CHARACTERS = 4, 2_000
SCORE_DIGITS = 4


@dataclass(frozen=True, kw_only=True, slots=True)
class Usage:
    """Tokens of one answer, or of several."""

    prompt: int = 0  # pictures included
    completion: int = 0
    cached: int = 0  # of the prompt: not read again
    image: int = 0  # of the prompt: what pictures take

    def __add__(self, other: Usage) -> Usage:
        return Usage(
            prompt=self.prompt + other.prompt,
            completion=self.completion + other.completion,
            cached=self.cached + other.cached,
            image=self.image + other.image,
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class Answered:
    """One whole answer."""

    grounded: Grounded
    tokens: tuple[Token, ...]
    usage: Usage


Said = tuple[int, Event | Token | Answered]  # of which ask, and what
Arrival = tuple[int, Token | BaseException | None]  # None: the end


class Answers:
    """An asynchronous context, and in it an iterator; leaving the context cancels what runs."""

    def __init__(
        self,
        answering: Answering,
        asked: list[tuple[Ask, Options]],
        *,
        caller: Caller,
        deadline_s: float,
        with_tokens: bool,
    ) -> None:
        """Use `Answering.answer`."""
        model = answering.model
        self.asked = asked
        self.caller = caller
        self.deadline_s = deadline_s
        self.tickets: list[Ordered] = []
        self.began = [False] * len(asked)  # whether a first token has come; the engine's thread
        self._answering = answering
        self._with_tokens = with_tokens
        self._readings = [
            Reading(ask, model.tokenizer, options, model=model.name) for ask, options in asked
        ]
        self._tokens: list[list[Token]] = [[] for _ in asked]
        self._last_s = [0.0] * len(asked)  # when the latest token of each was read
        self._left = len(asked)
        self._arrived: list[Arrival] = []
        self._news = asyncio.Event()
        self._failure: Refused | None = None
        self._started_s: float | None = None
        self.closed = False

    async def start(self) -> Self:
        """Hand everything in; once is enough.

        Raises:
            Refused: what cannot be answered.
        """
        if self._started_s is not None:
            return self
        self._started_s = time.monotonic()
        answering = self._answering
        answering.opened(self)
        characters = sum(len(ask.prompt.markup) for ask, _ in self.asked)
        try:
            if len(self.asked) <= FEW_ASKS and characters <= FEW_CHARACTERS:
                answering.submit(self)
            else:
                await asyncio.to_thread(answering.submit, self)
        except BaseException as error:
            self.close()
            if isinstance(error, Exception):
                raise told(error) from error
            raise
        return self

    async def __aenter__(self) -> Self:
        return await self.start()

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Cancel what still runs; its slots are free before the engine's next step."""
        if self.closed:
            return
        self.closed = True
        for ticket in self.tickets:
            ticket.cancel()
        self._answering.forget(self)

    async def __aiter__(self) -> AsyncIterator[Said]:
        for at, reading in enumerate(self._readings):
            for event in joined(reading.events):  # of the prompt's own words
                yield at, event
        while self._left:
            if self._failure is not None:
                raise self._failure
            await self._news.wait()
            self._news.clear()
            for at, arrived in self._batch().items():
                for said in self._read(at, arrived):
                    yield at, said

    async def whole(self) -> list[Answered]:
        """All of them, when all are there.

        Raises:
            Refused: what went wrong with any.
        """
        found: dict[int, Answered] = {}
        async for at, said in self:
            if isinstance(said, Answered):
                found[at] = said
        return [found[at] for at in range(len(self.asked))]

    def arrive(self, arrivals: Sequence[Arrival]) -> None:
        """Tokens of answers, and the news that there are no more of one."""
        self._arrived += arrivals
        self._news.set()

    def fail(self, why: Refused) -> None:
        """Nothing more comes."""
        self._failure = self._failure or why
        self._news.set()

    def _batch(self) -> dict[int, list[Token | BaseException | None]]:
        """What has arrived since the last look, by answer."""
        arrived, self._arrived = self._arrived, []
        batch: dict[int, list[Token | BaseException | None]] = {}
        for at, what in arrived:
            batch.setdefault(at, []).append(what)
        return batch

    def _read(
        self, at: int, arrived: Sequence[Token | BaseException | None]
    ) -> Sequence[Event | Token | Answered]:
        """One answer's news, words in a row as one event; at its end the whole."""
        reading, tokens = self._readings[at], self._tokens[at]
        before, events = len(tokens), list[Event]()
        said: list[Event | Token | Answered] = []
        if reading.done:
            return said
        for what in arrived:
            if isinstance(what, Token) and not reading.done:
                tokens.append(what)
                if self._with_tokens:
                    said += [what, *reading.feed(what)]
                else:
                    events += reading.feed(what)
            elif isinstance(what, BaseException) and not reading.done:
                self._failure = told(what)
                self._answering.metrics.answers.labels(self._failure.code).inc()
                if self._failure.status == 500:
                    logged(what, self.caller.request_id)
                raise self._failure
        self._measure(at, len(tokens) - before)
        said += joined(events)
        said = [_rounded(each) if isinstance(each, Entity) else each for each in said]
        if reading.done:
            self._left -= 1
            self.tickets[at].cancel()  # a stop text ends what the engine would go on with
            said.append(self._answered(at))
        return said

    def _measure(self, at: int, count: int) -> None:
        """Note how long so many tokens of an answer took."""
        now, metrics = time.monotonic(), self._answering.metrics
        if not count or self._started_s is None:
            return
        if count == len(self._tokens[at]):
            metrics.first_token.observe(now - self._started_s)
        else:
            metrics.inter_token.observe((now - self._last_s[at]) / count)
        self._last_s[at] = now
        metrics.tokens.inc(count)

    def _answered(self, at: int) -> Answered:
        ticket, (ask, _) = self.tickets[at], self.asked[at]
        usage = Usage(
            prompt=ticket.prompt,
            completion=len(self._tokens[at]),
            cached=ticket.reused,
            image=self._answering.model.config.latents * len(ask.seen),
        )
        grounded = self._readings[at].whole(forced=ticket.forced)
        entities = tuple(map(_rounded, grounded.entities))
        grounded = replace(grounded, entities=entities)
        metrics = self._answering.metrics
        metrics.prompt_tokens.inc(usage.prompt)
        metrics.prefix_hits.inc(usage.cached > 0)
        metrics.prefix_tokens.inc(usage.cached)
        metrics.answers.labels(grounded.finish).inc()
        return Answered(grounded=grounded, tokens=tuple(self._tokens[at]), usage=usage)


def _rounded(entity: Entity) -> Entity:
    """Scores with as many digits as do not depend on who else is being answered."""
    boxes = tuple(
        box if box.score is None else replace(box, score=round(box.score, SCORE_DIGITS))
        for box in entity.boxes
    )
    return replace(entity, boxes=boxes)
