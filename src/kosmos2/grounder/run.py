"""From asks to answers: batches through the engine, one reading for each ask."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch

from kosmos2 import engine
from kosmos2.grounder.reading import Ask, Reading
from kosmos2.markup import OBJECT_END
from kosmos2.markup.events import Event
from kosmos2.model import Network
from kosmos2.options import Options
from kosmos2.processor import Processor
from kosmos2.result import Grounded


class Runner:
    """A network, its processor and its own rules, ready for batches."""

    def __init__(
        self, network: Network, processor: Processor, *, no_repeat_ngram_size: int, model: str
    ) -> None:
        self.network = network
        self.processor = processor
        self._no_repeat_ngram_size = no_repeat_ngram_size
        self._model = model

    def whole(self, asks: Sequence[Ask], options: Options) -> list[Grounded]:
        """Answer one batch."""
        readings = self._readings(asks, options)
        for _ in self._events(readings, options):
            pass
        return [reading.whole() for reading in readings]

    def stream(self, ask: Ask, options: Options) -> Iterator[Event | Grounded]:
        """Answer one ask, event by event; the last thing is the whole answer."""
        (reading,) = readings = self._readings([ask], options)
        yield from reading.opening()
        for _, events in self._events(readings, options):
            yield from events
        yield reading.whole()

    def _readings(self, asks: Sequence[Ask], options: Options) -> list[Reading]:
        tokenizer = self.processor.tokenizer
        return [Reading(ask, tokenizer, stop=options.stop, model=self._model) for ask in asks]

    def _events(
        self, readings: Sequence[Reading], options: Options
    ) -> Iterator[tuple[int, list[Event]]]:
        """Feed every reading until all are done; yields each row's events as they come."""
        tokenizer = self.processor.tokenizer
        asks = [reading.ask for reading in readings]
        inputs = self.processor(
            [ask.prompt for ask in asks],
            [[ask.seen.picture] if ask.seen else [] for ask in asks],
            look=False,
        ).to(self.network.device)
        latents = [ask.seen.latents for ask in asks if ask.seen]
        one_object = {ask.one_object for ask in asks}
        assert len(one_object) == 1, "a batch is of one task"
        run = engine.beam_search if options.beams > 1 else engine.generate
        running = run(
            self.network,
            inputs,
            options=options,
            eos=tokenizer.eos,
            pad=tokenizer.pad,
            locations=tokenizer.cells,
            latents=torch.stack(latents) if latents else None,
            stop_ids=frozenset({tokenizer.tag(OBJECT_END)} if one_object == {True} else ()),
            no_repeat_ngram_size=self._no_repeat_ngram_size,
        )
        if isinstance(running, list):
            for row, completion in enumerate(running):
                yield row, readings[row].feed_all(completion)
            return
        for tokens in running:
            for row, token in enumerate(tokens):
                if token is not None:
                    yield row, readings[row].feed(token)
            if all(reading.done for reading in readings):
                return  # a stop text ends a row that the engine would go on with
