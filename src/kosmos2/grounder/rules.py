"""From asks to what the engine is asked: prompts as ids, and the rules that an answer keeps to.

Shapes: N pictures, L latents of a picture, D text width.
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from kosmos2.engine import Filter, Grammar, Request, Tags, requests_of
from kosmos2.geometry import SIDE
from kosmos2.grounder.reading import Ask
from kosmos2.markup import DELIMITER, OBJECT, OBJECT_END, PHRASE, PHRASE_END, TAGS
from kosmos2.options import Options
from kosmos2.processor import Inputs, Processor
from kosmos2.tokenizer import Tokenizer

# With `every`, another box is written while the delimiter is at least this probable against the
# end. So low because a model that was taught one box for "a cat" hardly thinks of a second one;
# the boxes' scores tell which were worth it. Chosen with `FURTHER` on scenes of seeds 555 and 777.
MORE_ABOVE = 1e-4


def tags_of(tokenizer: Tokenizer) -> Tags:
    """What the grammar is about, as ids."""
    five = (PHRASE, PHRASE_END, OBJECT, OBJECT_END, DELIMITER)
    phrase, phrase_end, begin, end, delimiter = map(tokenizer.tag, five)
    others = [tokenizer.tag(tag) for tag in TAGS if tag not in five]
    return Tags(
        phrase=phrase,
        phrase_end=phrase_end,
        object=begin,
        object_end=end,
        delimiter=delimiter,
        locations=tokenizer.cells,
        columns=SIDE,
        others=(*others, tokenizer.bos),
    )


class Rules:
    """What one model's answers keep to, whatever is asked."""

    def __init__(
        self, processor: Processor, *, no_repeat_ngram_size: int, min_presence: float | None
    ) -> None:
        self.processor = processor
        self.no_repeat_ngram_size = no_repeat_ngram_size
        self.min_presence = min_presence
        self.tags = tags_of(processor.tokenizer)

    def request(self, ask: Ask, options: Options, *, weights: Hashable) -> Request:
        """The ask for the engine. Asks about the same pictures share what their prefix becomes.

        `weights` changes whenever those of the network do.

        Raises:
            PromptError: a prompt that is too long.
        """
        inputs = self.inputs(ask)
        (request,) = requests_of(
            inputs,
            self.latents(ask),
            options=options,
            prefix_keys=[(tuple(seen.picture.digest for seen in ask.seen), weights)],
            eos=self.processor.tokenizer.eos,
            pad=self.processor.tokenizer.pad,
            locations=self.processor.tokenizer.cells,
            stop_ids=self.stops(ask),
            no_repeat_ngram_size=self.no_repeat_ngram_size,
            filters=self.filters(ask, options, int(inputs.keep.sum())),
        )
        return request

    def inputs(self, *asks: Ask) -> Inputs:
        """The prompts as a batch."""
        # They have been looked at, so they are only counted.
        pictures: list[list[Any]] = [[seen.picture for seen in ask.seen] for ask in asks]
        return self.processor([ask.prompt for ask in asks], pictures, look=False)

    def latents(self, *asks: Ask) -> Float[Tensor, "N L D"] | None:
        """What the network made of their pictures, one ask's after the other's."""
        every = [seen.latents for ask in asks for seen in ask.seen]
        return torch.stack(every) if every else None

    def stops(self, ask: Ask) -> frozenset[int]:
        """The ids that end an answer besides the usual one."""
        return frozenset({self.tags.object_end} if ask.one_object else ())

    def limit(self, options: Options, prompt_length: int) -> int:
        """Tokens that an answer can have."""
        return min(options.max_new_tokens, self.processor.config.text.positions - prompt_length)

    def filters(self, ask: Ask, options: Options, prompt_length: int) -> tuple[Filter, ...]:
        """The grammar, where it is wanted."""
        counted = options.max_boxes is not None or options.every
        wanted = ask.grammar or counted if options.grammar is None else options.grammar
        if not wanted:
            return ()
        own = self.min_presence if options.min_presence is None else options.min_presence
        grammar = Grammar(
            tags=self.tags,
            stops=self.stops(ask) | {self.processor.tokenizer.eos},
            limit=self.limit(options, prompt_length),
            max_boxes=options.max_boxes,
            more_above=MORE_ABOVE if options.every else None,
            min_presence=own if ask.one_object else None,
        )
        return (grammar,)
