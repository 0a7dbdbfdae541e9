"""One token a step for every row: this loop is what generation means here."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence

import torch
from jaxtyping import Float
from torch import Generator, Tensor

from kosmos2.engine.choose import chooser
from kosmos2.engine.decoder import Cached, Decoder, Inputs, Network
from kosmos2.engine.filters import Filter
from kosmos2.engine.row import Row, readable, rows_of
from kosmos2.engine.token import Token, token_of
from kosmos2.errors import InputError
from kosmos2.options import Options


def generate(
    network: Network,
    inputs: Inputs,
    *,
    options: Options | Sequence[Options],
    eos: int,
    pad: int,
    locations: range,
    latents: Float[Tensor, "N L D"] | None = None,
    stop_ids: frozenset[int] = frozenset(),
    no_repeat_ngram_size: int = 0,
    filters: Sequence[Filter] = (),
    own_logprobs: bool = False,
    decoder: Callable[[Network], Decoder] = Cached,
) -> Iterator[list[Token | None]]:
    """Answer a batch of prompts, step by step.

    Each step holds one token for each row, None for a row that has ended. A row is answered as if
    it were alone. Closing the iterator stops at once.

    Args:
        network: What reads and looks.
        inputs: The prompts, padded on the left, where the network is.
        options: What is wanted, of all rows or of each.
        eos: The id that ends an answer.
        pad: The id that is never part of one.
        locations: The ids that name places.
        latents: What `network.look` made of the pictures, if that is at hand.
        stop_ids: More ids that end an answer.
        no_repeat_ngram_size: The checkpoint's own, for options that leave it to the checkpoint.
        filters: More rules about what may come next.
        own_logprobs: Log-probabilities are among all words even where only locations may come.
        decoder: How the network is run.

    Raises:
        InputError: prompts or options that cannot be answered, before anything is computed.
        EngineError: at the step where the network puts out something else than numbers.
    """
    rows = rows_of(
        inputs,
        options,
        positions=network.config.text.positions,
        eos=eos,
        pad=pad,
        stop_ids=stop_ids,
        no_repeat_ngram_size=no_repeat_ngram_size,
        filters=filters,
        own_logprobs=own_logprobs,
    )
    if any(row.options.beams > 1 for row in rows):
        raise InputError("beams are searched, not streamed; use beam_search, or beams=1")
    return _steps(decoder(network), inputs, latents, rows, locations)


def _steps(
    decoder: Decoder,
    inputs: Inputs,
    latents: Float[Tensor, "N L D"] | None,
    rows: Sequence[Row],
    locations: range,
) -> Iterator[list[Token | None]]:
    live = [Writer(row) for row in rows]
    if not live:
        return
    logits, step = decoder.start(inputs, latents), 0
    while True:
        tokens: list[Token | None] = [None] * len(rows)
        logits = readable(logits, [writer.row for writer in live], step)
        for writer, scores in zip(live, logits, strict=True):
            tokens[writer.row.index] = writer.write(scores, locations)
        yield tokens
        going = [place for place, writer in enumerate(live) if not writer.ended]
        if not going:
            return
        if len(going) < len(live):
            decoder.pick(torch.tensor(going))
            live = [live[place] for place in going]
        logits, step = decoder.step(torch.tensor([writer.answer[-1] for writer in live])), step + 1


class Writer:
    """One row on its way: its answer so far, and its own source of chance."""

    def __init__(self, row: Row) -> None:
        self.row = row
        self.answer: list[int] = []
        self.ended = False
        self.chooser = chooser(row.options)
        self.random = Generator()
        if row.options.seed is None:
            self.random.seed()
        else:
            self.random.manual_seed(row.options.seed % 2**63)

    def write(self, logits: Float[Tensor, " W"], locations: range) -> Token:
        """Filter, choose, remember."""
        allowed = self.row.allowed(logits, self.answer)
        if allowed.max() == -math.inf:
            raise self.row.dead_end(len(self.answer))
        chosen = self.chooser.choose(allowed, self.random)
        token = token_of(
            logits,
            chosen,
            locations,
            self.row.finish(chosen, len(self.answer) + 1),
            only_locations=self.row.only_locations(self.answer, locations),
            top=self.row.options.top_logprobs,
        )
        self.take(token)
        return token

    def take(self, token: Token) -> None:
        """Remember what was chosen."""
        self.answer.append(token.id)
        self.ended = token.finish is not None
