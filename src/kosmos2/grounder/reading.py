"""One answer on its way: tokens come in, words and entities come out, and at the end the whole."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from kosmos2.engine.grammar import SAME
from kosmos2.engine.token import Completion, Token
from kosmos2.geometry import Box
from kosmos2.grounder.seen import Seen
from kosmos2.markup import GROUNDING, Entity, Reader
from kosmos2.markup.events import Event, gather
from kosmos2.options import Options
from kosmos2.prompts import Prompt
from kosmos2.result import Finish, Grounded
from kosmos2.tokenizer import Tokenizer

# With `every`: the least score of a phrase's second box and those after it. See `MORE_ABOVE`.
FURTHER = 0.15


@dataclass(frozen=True, kw_only=True, slots=True)
class Ask:
    """One prompt about a picture, about several, or about none.

    The prompt's marks say where pictures stand; those without a mark come first. An answer's boxes
    are taken to be in the last one, which is what the model saw before it wrote.
    """

    prompt: Prompt
    seen: tuple[Seen, ...]
    with_prompt: bool  # whether the prompt's words are part of the answer
    grammar: bool  # whether the answer is to be markup that can be read, if nobody says otherwise
    one_object: bool = False  # whether the answer ends with its first object
    context: int = 0  # parts of the prompt that came before: with `with_prompt`, not repeated


class Reading:
    """The answer to one ask, as far as it has come."""

    def __init__(self, ask: Ask, tokenizer: Tokenizer, options: Options, *, model: str) -> None:
        self.ask = ask
        self.done = False
        self._options = options
        self._model = model
        self._tokenizer = tokenizer
        self._reader = Reader()
        self._held = _Held(options.stop)
        self._markup: list[str] = []
        self._events: list[Event] = []
        self._finish: Finish = "stop"
        self._tokens = 0
        self._stream = tokenizer.stream()
        # The answer goes on from the prompt, so its first word keeps the space before it.
        self._stream.push(tokenizer.tag(GROUNDING))
        if ask.with_prompt:
            self._read(Prompt(ask.prompt.parts[ask.context :]).markup, None)

    def feed(self, token: Token) -> list[Event]:
        """Take the next token; returns what is certain now."""
        if self.done:
            return []
        before = len(self._events)
        self._tokens += 1
        piece = self._stream.push(token.id)
        for text, logprob in self._held.push(piece, token.location_logprob):
            self._read(text, logprob)
        if self._held.stopped:
            self._end("stop")
        elif token.finish:
            self._end(token.finish)
        return self._events[before:]

    def feed_all(self, completion: Completion) -> list[Event]:
        """Take a whole answer at once, as beams give it."""
        last = len(completion.ids) - 1
        events: list[Event] = []
        for place, (id, logprob, location) in enumerate(
            zip(completion.ids, completion.logprobs, completion.location_logprobs)
        ):
            finish = completion.finish if place == last else None
            events += self.feed(
                Token(id=id, logprob=logprob, location_logprob=location, finish=finish)
            )
        return events

    @property
    def events(self) -> list[Event]:
        """All so far; before any token came, what the prompt's own words gave."""
        return list(self._events)

    def whole(self, *, forced: int = 0) -> Grounded:
        """The finished answer, of which so many tokens were known before their turn."""
        assert self.done, "the answer goes on"
        parsed = gather(self._events)
        seen = self.ask.seen[-1] if self.ask.seen else None
        return Grounded(
            text=parsed.text,
            entities=parsed.entities,
            problems=parsed.problems,
            markup="".join(self._markup),
            finish=self._finish,
            prompt=self.ask.prompt.markup,
            model=self._model,
            tokens=self._tokens,
            forced=forced,
            picture=seen.picture if seen else None,
        )

    def _end(self, finish: Finish) -> None:
        for text, logprob in self._held.rest():
            self._read(text, logprob)
        self._take(self._reader.close())
        self._finish = finish
        self.done = True

    def _read(self, text: str, logprob: float | None) -> None:
        if text:
            self._markup.append(text)
            self._take(self._reader.feed(text, logprob))

    def _take(self, events: Sequence[Event]) -> None:
        """Keep what was read, without the boxes that are not wanted."""
        for event in events:
            if isinstance(event, Entity) and (self._options.min_score or self._options.every):
                boxes = self._wanted(event.boxes)
                if not boxes:
                    continue
                event = replace(event, boxes=boxes)
            self._events.append(event)

    def _wanted(self, boxes: Sequence[Box]) -> tuple[Box, ...]:
        """Those that are certain enough; one that the asker gave has no score and stays."""
        kept: list[Box] = []
        for box in boxes:
            # Where the model had to go on, what it was not sure of is no second thing.
            further = self._options.every and kept
            least = max(self._options.min_score, FURTHER if further else 0.0)
            again = further and any(box.iou(other) >= SAME for other in kept)
            if box.score is None or (box.score >= least and not again):
                kept.append(box)
        return tuple(kept)


class _Held:
    """Holds back what might be the beginning of a stop text."""

    def __init__(self, stop: Sequence[str]) -> None:
        self._stop = stop
        self._waiting: list[tuple[str, float | None]] = []
        self.stopped = False

    def push(self, piece: str, logprob: float | None) -> list[tuple[str, float | None]]:
        """Add a piece; returns those that are surely no part of a stop text."""
        self._waiting.append((piece, logprob))
        if not self._stop:
            return self.rest()
        text = "".join(waiting for waiting, _ in self._waiting)
        found = min((at for s in self._stop if (at := text.find(s)) >= 0), default=None)
        if found is not None:
            self.stopped = True
            return self._take(found, cut=True)
        return self._take(len(text) - self._overlap(text), cut=False)

    def rest(self) -> list[tuple[str, float | None]]:
        """Everything that was held back; nothing, once a stop text was met."""
        waiting, self._waiting = self._waiting, []
        return waiting

    def _overlap(self, text: str) -> int:
        """How many of the last characters could begin a stop text."""
        longest = 0
        for stop in self._stop:
            for length in range(min(len(stop) - 1, len(text)), longest, -1):
                if text.endswith(stop[:length]):
                    longest = length
                    break
        return longest

    def _take(self, length: int, *, cut: bool) -> list[tuple[str, float | None]]:
        """The pieces within the first `length` characters; a piece beyond stays, or is cut."""
        taken: list[tuple[str, float | None]] = []
        while self._waiting and len(self._waiting[0][0]) <= length:
            taken.append(self._waiting.pop(0))
            length -= len(taken[-1][0])
        if cut:
            if length and self._waiting:
                taken.append((self._waiting[0][0][:length], None))
            self._waiting = []
        return taken
