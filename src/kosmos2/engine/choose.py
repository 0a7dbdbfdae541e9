"""The role that takes one id.

Shapes: W vocabulary.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Generator, Tensor

from kosmos2.options import Options


@runtime_checkable
class Chooser(Protocol):
    """Takes one of the ids that may come next."""

    def choose(self, logits: Float[Tensor, " W"], random: Generator) -> int:
        """An id whose logit is not minus infinity."""


@dataclass(frozen=True, slots=True)
class Greedy:
    """Always the likeliest."""

    def choose(self, logits: Float[Tensor, " W"], random: Generator) -> int:
        """The first of the largest; chance has no say."""
        return int(logits.argmax())


@dataclass(frozen=True, kw_only=True, slots=True)
class Sample:
    """By chance, among the likeliest."""

    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = 0

    def choose(self, logits: Float[Tensor, " W"], random: Generator) -> int:
        """Throw one dart at the probabilities laid end to end.

        They lie in the order of their ids, not of their size, so that two nearly equal ones cannot
        change places through a rounding error: a seed gives the same answer alone and in any batch.
        """
        probabilities = self.probabilities(logits)
        kept = probabilities.nonzero()[:, 0]
        ends = probabilities[kept].cumsum(0)
        dart = torch.rand((), generator=random, dtype=ends.dtype) * ends[-1]
        return int(kept[int((ends <= dart).sum().clamp(max=len(kept) - 1))])

    def probabilities(self, logits: Float[Tensor, " W"]) -> Float[Tensor, " W"]:
        """Temperature, then the `top_k` likeliest, then as many of these as add up to `top_p`."""
        # The largest first goes to zero: a tiny temperature then cannot overflow.
        scores = (logits.double() - logits.max()) / self.temperature
        if self.top_k:
            least = scores.topk(min(self.top_k, len(scores))).values[-1]
            scores = scores.masked_fill(scores < least, -math.inf)
        probabilities = scores.softmax(0)
        if self.top_p < 1:
            falling, order = probabilities.sort(descending=True, stable=True)
            above = falling.cumsum(0) - falling  # what the likelier ones add up to
            probabilities[order[above >= self.top_p]] = 0
        return probabilities / probabilities.sum()


def chooser(options: Options) -> Chooser:
    """The one that a request asks for."""
    if options.temperature == 0:
        return Greedy()
    return Sample(temperature=options.temperature, top_p=options.top_p, top_k=options.top_k)
