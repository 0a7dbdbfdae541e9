"""What generation gives back: tokens as they come, or a whole answer of them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from jaxtyping import Float
from torch import Tensor

Finish = Literal["stop", "length"]  # ended by itself, or by a limit


@dataclass(frozen=True, kw_only=True, slots=True)
class Token:
    """One id, and how sure the model was of it.

    `logprob` is the model's own, before temperature and filters. `location_logprob` is the same
    among the locations alone, for an id that is a location: how sure the model was of *where*,
    given that it points. Where the grammar leaves only locations, no other word is scored, and
    `logprob` is among the locations too; a request that asks for `top_logprobs` or `own_logprobs`
    has it among all words there as well.

    `top` holds the likeliest ids at this place, best first, each with its `logprob`, as many as
    `top_logprobs` asked for; the chosen one need not be among them.
    """

    id: int
    logprob: float
    location_logprob: float | None = None
    finish: Finish | None = None  # set on the last token of an answer
    top: tuple[tuple[int, float], ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class Completion:
    """A whole answer; the end token, if the model wrote one, is its last id."""

    ids: tuple[int, ...]
    logprobs: tuple[float, ...]
    location_logprobs: tuple[float | None, ...]
    finish: Finish
    tops: tuple[tuple[tuple[int, float], ...], ...] = ()  # of each token, if they were asked for

    @classmethod
    def of(cls, tokens: Iterable[Token]) -> Completion:
        """The answer that these tokens are; the last of them says how it ended."""
        tokens = tuple(tokens)
        finish = tokens[-1].finish
        assert finish, "the answer goes on"
        return cls(
            ids=tuple(t.id for t in tokens),
            logprobs=tuple(t.logprob for t in tokens),
            location_logprobs=tuple(t.location_logprob for t in tokens),
            finish=finish,
            tops=tuple(t.top for t in tokens) if any(t.top for t in tokens) else (),
        )


def collect(steps: Iterable[list[Token | None]]) -> list[Completion]:
    """Whole answers, one for each row, from the steps of `generate`."""
    return [Completion.of(t for t in row if t) for row in zip(*steps, strict=True)]


def token_of(
    logits: Float[Tensor, " W"],
    chosen: int,
    locations: range,
    finish: Finish | None = None,
    *,
    only_locations: bool = False,
    top: int = 0,
) -> Token:
    """The chosen id, and the `top` likeliest, with their probabilities under the model's logits."""
    at, logprob = logits[chosen], None
    if chosen in locations:
        logprob = float(at - logits[locations.start : locations.stop].logsumexp(0))
    if only_locations and logprob is not None:
        return Token(id=chosen, logprob=logprob, location_logprob=logprob, finish=finish)
    total = logits.logsumexp(0)
    return Token(
        id=chosen,
        logprob=float(at - total),
        location_logprob=logprob,
        finish=finish,
        top=_likeliest(logits - total, top) if top else (),
    )


def _likeliest(logprobs: Float[Tensor, " W"], count: int) -> tuple[tuple[int, float], ...]:
    best, ids = logprobs.topk(min(count, len(logprobs)))
    return tuple(zip(ids.tolist(), best.tolist(), strict=True))
