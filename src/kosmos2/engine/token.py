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
    given that it points.
    """

    id: int
    logprob: float
    location_logprob: float | None = None
    finish: Finish | None = None  # set on the last token of an answer


@dataclass(frozen=True, kw_only=True, slots=True)
class Completion:
    """A whole answer; the end token, if the model wrote one, is its last id."""

    ids: tuple[int, ...]
    logprobs: tuple[float, ...]
    location_logprobs: tuple[float | None, ...]
    finish: Finish

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
        )


def collect(steps: Iterable[list[Token | None]]) -> list[Completion]:
    """Whole answers, one for each row, from the steps of `generate`."""
    return [Completion.of(t for t in row if t) for row in zip(*steps, strict=True)]


def token_of(
    logits: Float[Tensor, " W"], chosen: int, locations: range, finish: Finish | None = None
) -> Token:
    """The chosen id with its probabilities under the model's own logits."""
    at = logits[chosen]
    among = logits[locations.start : locations.stop] if chosen in locations else None
    return Token(
        id=chosen,
        logprob=float(at - logits.logsumexp(0)),
        location_logprob=None if among is None else float(at - among.logsumexp(0)),
        finish=finish,
    )
