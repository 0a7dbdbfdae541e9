"""Several answers to one prompt at a time, and the best of them at the end.

The rules are those of transformers' `_beam_search`, so that answers agree token for token. The
candidates of a step are ranked together. One that ends counts only if it is among the first
`beams`. Ended ones are compared by their log-probability divided by their length to the power
`length_penalty`. The search is over when the best one still running could not, at its present
length, enter the list of the ended; `early_stopping` is another word for when it is over.

Shapes: K answers of one row (one at first, then `beams`), W vocabulary.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, Literal, TypeVar

import torch
from jaxtyping import Float
from torch import Tensor

from kosmos2.engine.decoder import Cached, Decoder, Inputs, Network
from kosmos2.engine.filters import Filter
from kosmos2.engine.row import Row, readable, rows_of
from kosmos2.engine.token import Completion, Token, token_of
from kosmos2.options import Options

P = TypeVar("P")  # whatever the caller remembers of a path
EarlyStopping = bool | Literal["never"]


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


@dataclass(frozen=True, slots=True)
class Candidate:
    """A running path, by its place, and one more token for it."""

    parent: int
    id: int
    total: float  # log-probability of it all


class Contest(Generic[P]):
    """Which paths of one row run on, which came to an end, and which of these are best.

    `limit` is how many tokens an answer may have. With `early_stopping` True the first `beams`
    answers to end are taken; with "never" the running are given the benefit of the greatest length
    they could have, where length is an advantage.
    """

    def __init__(
        self,
        start: P,
        *,
        beams: int,
        limit: int,
        length_penalty: float = 1.0,
        early_stopping: EarlyStopping = False,
    ) -> None:
        self.beams = beams
        self.limit = limit
        self.length_penalty = length_penalty
        self.early_stopping = early_stopping
        self.length = 0  # tokens of every running path
        self.paths: list[P] = [start]  # running, the likeliest first
        self.totals = torch.zeros(1)  # their log-probabilities
        self.ended: list[tuple[float, P]] = []  # with their scores, best first
        self.over = False

    def candidates(self, scores: Float[Tensor, "K W"], stops: int) -> list[Candidate]:
        """The likeliest next steps, best first, from the score of each path's next tokens.

        At most `stops` of a path's next tokens end it, so `beams` of this many run on.
        """
        totals = scores + self.totals[:, None]
        words = totals.shape[1]
        wanted = min(max(2, 1 + stops) * self.beams, totals.numel())
        likeliest, places = totals.flatten().topk(wanted)
        return [
            Candidate(place // words, place % words, total)
            for place, total in zip(places.tolist(), likeliest.tolist())
            if total > -math.inf
        ]

    def settle(
        self,
        candidates: Sequence[Candidate],
        ends: Sequence[bool],
        grown: Callable[[Candidate], P],
    ) -> list[Candidate]:
        """Go one token further; the candidates that run on, in the order of their `paths`.

        `ends` says which of them are at their end, `grown` what path a candidate is.
        """
        self.length += 1
        running: list[Candidate] = []
        for rank, (candidate, end) in enumerate(zip(candidates, ends, strict=True)):
            if not end and len(running) < self.beams:
                running.append(candidate)
            elif end and rank < self.beams and not self.over:
                self.ended.append((self._score(candidate.total, self.length), grown(candidate)))
        self.ended = sorted(self.ended, key=lambda scored: scored[0], reverse=True)[: self.beams]
        self.paths = [grown(candidate) for candidate in running]
        self.totals = torch.tensor([candidate.total for candidate in running])
        self.over = self.over or not running or self._settled()
        return running

    def _score(self, total: float, length: int) -> float:
        # In the precision of the totals, or nearly equal ones could change places.
        return float(torch.tensor(total) / length**self.length_penalty)

    def _settled(self) -> bool:
        """Whether no running path could still enter a full list of ended ones."""
        if len(self.ended) < self.beams:
            return False
        hopeful = self.early_stopping == "never" and self.length_penalty > 0
        best = self._score(float(self.totals[0]), self.limit if hopeful else self.length)
        return self.early_stopping is True or best <= self.ended[-1][0]


class Search:
    """The search for the answer to one row."""

    def __init__(self, row: Row, locations: range) -> None:
        self.row = row
        self.locations = locations
        options = row.options
        self.contest: Contest[tuple[Token, ...]] = Contest(
            (), beams=options.beams, limit=row.limit, length_penalty=options.length_penalty
        )

    @property
    def paths(self) -> list[tuple[Token, ...]]:
        """The answers that may go on."""
        return self.contest.paths

    @property
    def over(self) -> bool:
        """Whether the best answer is known."""
        return self.contest.over

    def advance(self, logits: Float[Tensor, "K W"]) -> list[int]:
        """Go one token further; for each path that runs on, the place of the path it came from."""
        contest, paths, length = self.contest, self.contest.paths, self.contest.length + 1
        candidates = contest.candidates(self._scores(logits), len(self.row.stops))
        top = self.row.options.top_logprobs
        only = [
            self.row.only_locations([token.id for token in path], self.locations) for path in paths
        ]

        def grown(candidate: Candidate) -> tuple[Token, ...]:
            parent, chosen = candidate.parent, candidate.id
            finish = self.row.finish(chosen, length)
            token = token_of(
                logits[parent],
                chosen,
                self.locations,
                finish,
                only_locations=only[parent],
                top=top,
            )
            return (*paths[parent], token)

        ends = [self.row.finish(candidate.id, length) is not None for candidate in candidates]
        running = contest.settle(candidates, ends, grown)
        if not running and not contest.ended:
            raise self.row.dead_end(length - 1)
        return [candidate.parent for candidate in running]

    def best(self) -> Completion:
        """The best answer that came to an end."""
        return Completion.of(self.contest.ended[0][1])

    def _scores(self, logits: Float[Tensor, "K W"]) -> Float[Tensor, "K W"]:
        """The log-probability of each next token after each path."""
        rows = [
            self.row.allowed(scores, [token.id for token in path])
            for scores, path in zip(logits.log_softmax(-1), self.paths, strict=True)
        ]
        return torch.stack(rows)
