"""From asks to answers: through the engine, one reading for each ask."""

from __future__ import annotations

import logging
import threading
from collections import defaultdict, deque
from collections.abc import Callable, Iterator, Sequence
from functools import partial

from kosmos2.engine import (
    After,
    Cached,
    Corners,
    Decoder,
    Engine,
    Ticket,
    beam_search,
    read_beginning,
    read_corners,
)
from kosmos2.errors import Busy, EngineError
from kosmos2.grounder.looks import kind_of, weights_of
from kosmos2.grounder.reading import Ask, Reading
from kosmos2.grounder.rules import Rules
from kosmos2.markup.events import Event
from kosmos2.model import Network
from kosmos2.options import Options
from kosmos2.processor import Processor
from kosmos2.result import Grounded

log = logging.getLogger(__name__)

AHEAD = 4  # requests handed in before the oldest is awaited, for each slot
ENDLESS = 2**31  # callers wait for their answers, so nobody is turned away


class Runner:
    """A network, its processor and its own rules, ready for any number of asks at once."""

    def __init__(
        self,
        network: Network,
        processor: Processor,
        *,
        no_repeat_ngram_size: int,
        min_presence: float | None,
        model: str,
        batch: int,
    ) -> None:
        self.network = network
        self.processor = processor
        self.batch = batch
        self.rules = Rules(
            processor, no_repeat_ngram_size=no_repeat_ngram_size, min_presence=min_presence
        )
        self._model = model
        self._engine: Engine | None = None
        self._made_for: object = None
        self._lock = threading.Lock()

    @property
    def engine(self) -> Engine:
        """The one that answers: no thread of its own, whoever waits for an answer does the work.

        A step costs 0.1 ms less than with a thread, Ctrl-C arrives in the midst of it, and there
        is nothing to close. Made when first needed, and again for a network that has moved.
        """
        with self._lock:
            if self._engine is None or self._made_for != kind_of(self.network):
                self._made_for = kind_of(self.network)
                self._engine = Engine(
                    self.network, slots=self.batch, queue=ENDLESS, background=False
                )
            return self._engine

    def whole(self, asks: Sequence[Ask], options: Options) -> list[Grounded]:
        """Answer them all."""
        readings = self._readings(asks, options)
        if options.beams > 1:
            return self._searched(readings, options)
        weights = weights_of(self.network)
        requests = [self.rules.request(ask, options, weights=weights) for ask in asks]
        engine = self.engine
        running: deque[tuple[Reading, Ticket]] = deque()
        answers: list[Grounded] = []
        try:
            for reading, request in zip(readings, requests, strict=True):
                if len(running) >= AHEAD * self.batch:
                    answers.append(self._finished(*running.popleft()))
                running.append((reading, engine.submit(request)))
            while running:
                answers.append(self._finished(*running.popleft()))
        finally:
            for _, ticket in running:
                ticket.cancel()
        return answers

    def stream(self, ask: Ask, options: Options) -> Iterator[Event | Grounded]:
        """Answer one ask, event by event; the last thing is the whole answer."""
        (reading,) = self._readings([ask], options)
        if options.beams > 1:
            (answer,) = self._searched([reading], options)
            yield from reading.events
            yield answer
            return
        request = self.rules.request(ask, options, weights=weights_of(self.network))
        yield from reading.events
        ticket = self.engine.submit(request)
        try:
            for events in self._read(reading, ticket):
                yield from events
        finally:
            ticket.cancel()
        yield reading.whole(forced=ticket.forced)

    def corners(self, asks: Sequence[Ask], *, tries: int) -> list[Corners]:
        """Where phrases of the same pictures may be; the asks' common beginning is read once."""
        found: list[Corners] = []
        decoder: Callable[..., Decoder] = Cached
        for ask in asks:
            inputs = self.rules.inputs(ask).to(self.network.device)
            latents = self.rules.latents(ask)
            if len(asks) > 1 and not found:
                length = int(inputs.slots[0].nonzero()[-1]) + 2
                beginning = read_beginning(self.network, inputs, latents, length)
                decoder = partial(After, beginning=beginning)
            found.append(
                read_corners(
                    self.network,
                    inputs,
                    tags=self.rules.tags,
                    latents=latents,
                    tries=tries,
                    decoder=decoder,
                )
            )
        return found

    def _readings(self, asks: Sequence[Ask], options: Options) -> list[Reading]:
        tokenizer = self.processor.tokenizer
        return [Reading(ask, tokenizer, options, model=self._model) for ask in asks]

    def _finished(self, reading: Reading, ticket: Ticket) -> Grounded:
        for _ in self._read(reading, ticket):
            pass
        answer = reading.whole(forced=ticket.forced)
        log.debug("%d tokens, %d known before their turn", answer.tokens, answer.forced)
        return answer

    def _read(self, reading: Reading, ticket: Ticket) -> Iterator[list[Event]]:
        """The events of an answer, as its tokens come."""
        try:
            for token in ticket:
                yield reading.feed(token)
                if reading.done:  # a stop text ends what the engine would go on with
                    ticket.cancel()
                    return
        except Busy as error:
            raise Busy(
                f"no memory for {self.batch} answers at once; load the model with a smaller batch, "
                "or ask for fewer new tokens"
            ) from error
        except EngineError as error:
            # What broke the network itself is the caller's to see as it was.
            if isinstance(error.__cause__, Exception):
                raise error.__cause__ from None
            raise
        except KeyboardInterrupt:
            # It may have cut a step in the midst: what comes next gets a fresh engine.
            self._engine = None
            raise

    def _searched(self, readings: Sequence[Reading], options: Options) -> list[Grounded]:
        """Answers by beams: batches of asks that follow the same rules."""
        alike: dict[object, list[Reading]] = defaultdict(list)
        for reading in readings:
            length = int(self.rules.inputs(reading.ask).keep.sum())
            ask = reading.ask
            alike[ask.one_object, ask.grammar, self.rules.limit(options, length)].append(reading)
        for group in alike.values():
            for first in range(0, len(group), self.batch):
                self._search(group[first : first + self.batch], options)
        return [reading.whole() for reading in readings]

    def _search(self, readings: Sequence[Reading], options: Options) -> None:
        asks = [reading.ask for reading in readings]
        inputs = self.rules.inputs(*asks).to(self.network.device)
        tokenizer = self.processor.tokenizer
        found = beam_search(
            self.network,
            inputs,
            options=options,
            eos=tokenizer.eos,
            pad=tokenizer.pad,
            locations=tokenizer.cells,
            latents=self.rules.latents(*asks),
            stop_ids=self.rules.stops(asks[0]),
            no_repeat_ngram_size=self.rules.no_repeat_ngram_size,
            filters=self.rules.filters(asks[0], options, int(inputs.keep[0].sum())),
        )
        for reading, completion in zip(readings, found, strict=True):
            reading.feed_all(completion)
