"""The streaming twins of the verbs: words as they come, each entity as soon as it is complete."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from kosmos2.errors import PromptError
from kosmos2.grounder import tasks
from kosmos2.grounder.reading import Ask
from kosmos2.grounder.seen import Seen
from kosmos2.images import Source
from kosmos2.markup import Entity, Problem, Text
from kosmos2.options import Options
from kosmos2.prompts import Boxes
from kosmos2.result import Grounded

if TYPE_CHECKING:
    from kosmos2.grounder.kosmos2 import Kosmos2

Event = Text | Entity | Problem | Grounded


class Streams:
    """Every verb for one picture, as an iterator that ends with the whole answer.

    All `Text` events, one after the other, are the answer's text. Closing the iterator stops.
    """

    def __init__(self, model: Kosmos2) -> None:
        self._model = model

    def caption(
        self,
        image: Source | Seen,
        *,
        detailed: bool = False,
        grounded: bool = True,
        **settings: Any,
    ) -> Iterator[Event]:
        """`Kosmos2.caption`, as it is written."""
        seen = self._one(image)
        return self._run(tasks.caption(seen, detailed=detailed, grounded=grounded), settings)

    def ground(
        self, image: Source | Seen, phrases: str | Sequence[str], **settings: Any
    ) -> Iterator[Event]:
        """`Kosmos2.ground`, phrase after phrase."""
        several = [phrases] if isinstance(phrases, str) else list(phrases)
        asks = tasks.ground(self._one(image), several)
        return self._phrases(asks, several, Options.of(**settings))

    def describe(
        self, image: Source | Seen, box: Boxes, *, grounded: bool = True, **settings: Any
    ) -> Iterator[Event]:
        """`Kosmos2.describe`, as it is written."""
        return self._run(tasks.describe(self._one(image), box, grounded=grounded), settings)

    def ask(
        self,
        image: Source | Seen,
        question: str,
        boxes: Boxes | None = None,
        *,
        grounded: bool = True,
        **settings: Any,
    ) -> Iterator[Event]:
        """`Kosmos2.ask`, as it is written."""
        return self._run(tasks.ask(self._one(image), question, boxes, grounded=grounded), settings)

    def complete(
        self, image: Source | Seen | None, prompt: str, **settings: Any
    ) -> Iterator[Event]:
        """`Kosmos2.complete`, as it is written."""
        seen = None if image is None else self._one(image)
        return self._run(tasks.complete(seen, prompt), settings)

    def _one(self, image: Source | Seen) -> Seen:
        if isinstance(image, list | tuple):
            raise PromptError("a stream answers one picture at a time; give one, not a list")
        return self._model.see(image)

    def _run(self, ask: Ask, settings: dict[str, Any]) -> Iterator[Event]:
        return self._model.runner.stream(ask, Options.of(**settings))

    def _phrases(
        self, asks: Sequence[Ask], phrases: Sequence[str], options: Options
    ) -> Iterator[Event]:
        answers: list[Grounded] = []
        text = markup = 0
        for ask, phrase in zip(asks, phrases):
            if answers:
                yield Text(tasks.BETWEEN)
            for event in self._model.runner.stream(ask, options):
                if isinstance(event, Grounded):
                    answers.append(tasks.found(event, phrase))
                elif isinstance(event, Entity):
                    yield replace(event, start=event.start + text, end=event.end + text)
                elif isinstance(event, Text):
                    yield event
                elif event.kind != "phrase_without_box":
                    yield replace(event, at=event.at + markup)
            text += len(answers[-1].text) + len(tasks.BETWEEN)
            markup += len(answers[-1].markup) + len(tasks.BETWEEN)
        yield tasks.together(answers)
