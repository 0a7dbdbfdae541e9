"""One answer of a reply, put together from the answers to its asks.

Several phrases are asked about side by side and told one after the other: what comes of a later one
waits until those before it are whole.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from kosmos2.engine import Token
from kosmos2.grounder import tasks
from kosmos2.markup import Entity, Problem, Text
from kosmos2.markup.events import Event
from kosmos2.result import Grounded
from kosmos2.serve.answers import Answered, Usage

Heard = Event | Token | Answered
Told = Text | Entity | Token


class Speech:
    """What is said to one choice of a request."""

    def __init__(self, asks: int, phrases: Sequence[str]) -> None:
        self._asks = asks
        self._phrases = phrases
        self._waiting: list[list[Heard]] = [[] for _ in range(asks)]
        self._answers: list[Grounded] = []
        self._text = 0  # characters of the asks that are over
        self._boxed = False  # whether the phrase that is being told has been an entity
        self.tokens: list[Token] = []
        self.usage = Usage()

    @property
    def done(self) -> bool:
        """Whether all is said."""
        return len(self._answers) == self._asks

    def hear(self, at: int, heard: Heard) -> Iterator[Told]:
        """Take what came of one ask; gives what can be told now."""
        if at != len(self._answers):
            self._waiting[at].append(heard)
            return
        yield from self._tell(heard)
        while isinstance(heard, Answered) and not self.done:
            at += 1
            waiting, self._waiting[at] = self._waiting[at], []
            for heard in waiting:
                yield from self._tell(heard)
            if not waiting:
                return

    def whole(self) -> Grounded:
        """The finished answer."""
        assert self.done, "the answer goes on"
        return tasks.together(self._answers)

    def _tell(self, heard: Heard) -> Iterator[Told]:
        if isinstance(heard, Token | Text):
            yield heard
        elif isinstance(heard, Entity):
            self._boxed = self._boxed or heard.start == 0
            yield self._moved(heard)
        elif isinstance(heard, Answered):
            yield from self._end(heard)
        else:
            assert isinstance(heard, Problem)  # all of them are told at the end

    def _end(self, answered: Answered) -> Iterator[Told]:
        answer = answered.grounded
        self.tokens += answered.tokens
        self.usage += answered.usage
        if self._phrases:
            answer = tasks.found(answer, self._phrases[len(self._answers)])
            if not self._boxed:
                yield self._moved(answer.entities[0])
        self._answers.append(answer)
        self._boxed = False
        self._text += len(answer.text) + len(tasks.BETWEEN)
        if not self.done:
            yield Text(tasks.BETWEEN)

    def _moved(self, entity: Entity) -> Entity:
        return replace(entity, start=entity.start + self._text, end=entity.end + self._text)
