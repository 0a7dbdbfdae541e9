"""Several answers to one prompt at a time, and the best of them at the end.

The rules are those of transformers' `_beam_search` with its default early stopping, so that answers
agree token for token. The candidates of a step are ranked together. One that ends counts only if it
is among the first `beams`. Ended ones are compared by their log-probability divided by their length
to the power `length_penalty`. The search is over when the best one still running could not, at its
present length, enter the list of the ended.

Shapes: K answers of one row (one at first, then `beams`), W vocabulary.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from kosmos2.engine.decoder import Cached, Decoder, Inputs, Network
from kosmos2.engine.filters import Filter
from kosmos2.engine.row import Row, readable, rows_of
from kosmos2.engine.token import Completion, Token, token_of
from kosmos2.options import Options


def beam_search(
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
    decoder: Callable[[Network], Decoder] = Cached,
) -> list[Completion]:
    """The best answer to each prompt of a batch; arguments and errors are those of `generate`.

    With `beams=1` it is what `generate` finds greedily.
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
    )
    searches = [Search(row, locations) for row in rows]
    live, step, reader = searches, 0, decoder(network)
    logits = reader.start(inputs, latents) if live else torch.empty(0, 0)
    while live:
        owners = [search.row for search in live for _ in search.paths]
        blocks = readable(logits, owners, step).split([len(search.paths) for search in live])
        first, going = 0, []  # of the rows that the reader holds
        for search, block in zip(live, blocks, strict=True):
            parents = search.advance(block)
            going += [] if search.over else [first + parent for parent in parents]
            first += len(block)
        live = [search for search in live if not search.over]
        if live:
            reader.pick(torch.tensor(going))
            last = [path[-1].id for search in live for path in search.paths]
            logits, step = reader.step(torch.tensor(last)), step + 1
    return [search.best() for search in searches]


class Search:
    """The search for the answer to one row."""

    def __init__(self, row: Row, locations: range) -> None:
        self.row = row
        self.locations = locations
        self.paths: list[tuple[Token, ...]] = [()]  # running, the likeliest first
        self.totals = torch.zeros(1)  # their log-probabilities
        self.ended: list[tuple[float, tuple[Token, ...]]] = []  # with their scores, best first
        self.over = False

    def advance(self, logits: Float[Tensor, "K W"]) -> list[int]:
        """Go one token further; for each path that runs on, the place of the path it came from."""
        beams, length = self.row.options.beams, len(self.paths[0]) + 1
        totals = self._totals(logits)
        # A stop ends at most one candidate of each path, so `beams` of this many run on.
        wanted = min((1 + len(self.row.stops)) * beams, totals.numel())
        likeliest, places = totals.flatten().topk(wanted)
        scores = likeliest / length**self.row.options.length_penalty

        running: list[tuple[int, tuple[Token, ...], float]] = []
        for rank, (place, total) in enumerate(zip(places.tolist(), likeliest.tolist())):
            parent, chosen = divmod(place, totals.shape[1])
            finish = self.row.finish(chosen, length)
            if total == -math.inf or (rank >= beams if finish else len(running) == beams):
                continue
            token = token_of(logits[parent], chosen, self.locations, finish)
            path = (*self.paths[parent], token)
            if finish:
                self.ended.append((float(scores[rank]), path))
            else:
                running.append((parent, path, total))

        if not running and not self.ended:
            raise self.row.dead_end(length - 1)
        self.ended = sorted(self.ended, key=lambda scored: scored[0], reverse=True)[:beams]
        self.paths = [path for _, path, _ in running]
        self.totals = torch.tensor([total for _, _, total in running])
        self.over = not running or self._settled(length)
        return [parent for parent, _, _ in running]

    def best(self) -> Completion:
        """The best answer that came to an end."""
        return Completion.of(self.ended[0][1])

    def _totals(self, logits: Float[Tensor, "K W"]) -> Float[Tensor, "K W"]:
        """The log-probability of each path with each next token."""
        rows = [
            self.row.allowed(scores, [token.id for token in path])
            for scores, path in zip(logits.log_softmax(-1), self.paths, strict=True)
        ]
        return torch.stack(rows) + self.totals[:, None]

    def _settled(self, length: int) -> bool:
        """Whether no running path could still enter a full list of ended ones."""
        penalty = length**self.row.options.length_penalty
        full = len(self.ended) == self.row.options.beams
        return full and float(self.totals[0] / penalty) <= self.ended[-1][0]
