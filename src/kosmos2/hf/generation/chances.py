"""What sampling does to scores before it draws, in the order in which the reference does it.

Shapes: R rows, T tokens so far, W vocabulary.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from kosmos2.hf.generation.config import GenerationConfig

Scores = Float[Tensor, "R W"]
Seen = Int[Tensor, "R T"]
Rule = Callable[[Seen, Scores], Scores]


@dataclass(frozen=True, slots=True)
class Temperature:
    """Above 1 chances are more alike, below 1 less."""

    degree: float

    def __call__(self, seen: Seen, scores: Scores) -> Scores:
        """Divide."""
        return scores / self.degree


@dataclass(frozen=True, slots=True)
class TopK:
    """Only so many of the likeliest."""

    most: int

    def __call__(self, seen: Seen, scores: Scores) -> Scores:
        """Forbid what is less likely than the last of them."""
        least = scores.topk(min(self.most, scores.shape[1])).values[:, -1:]
        return scores.masked_fill(scores < least, -math.inf)


@dataclass(frozen=True, slots=True)
class TopP:
    """As many of the likeliest as add up to a probability, and at least one."""

    mass: float

    def __call__(self, seen: Seen, scores: Scores) -> Scores:
        """Forbid the unlikeliest that together stay within the rest of the probability."""
        rising, order = scores.sort()
        rest = rising.softmax(-1).cumsum(-1) <= 1 - self.mass
        rest[:, -1] = False
        return scores.masked_fill(torch.zeros_like(rest).scatter(1, order, rest), -math.inf)


@dataclass(frozen=True, slots=True)
class MinP:
    """Only what has at least a share of the likeliest one's probability."""

    share: float

    def __call__(self, seen: Seen, scores: Scores) -> Scores:
        """Forbid the others."""
        chances = scores.softmax(-1)
        return scores.masked_fill(chances < self.share * chances.amax(-1, keepdim=True), -math.inf)


def normalised(seen: Seen, scores: Scores) -> Scores:
    """Scores as log-probabilities again."""
    return scores.log_softmax(-1)


def chances_of(config: GenerationConfig) -> list[Rule]:
    """What a configuration asks for, in turn."""
    steps: list[Rule] = []
    if config.do_sample:
        if config.temperature != 1:
            steps.append(Temperature(config.temperature))
        if config.top_k:
            steps.append(TopK(config.top_k))
        if config.top_p < 1:
            steps.append(TopP(config.top_p))
        if config.min_p is not None:
            steps.append(MinP(config.min_p))
    if config.renormalize_logits:
        steps.append(normalised)
    return steps
