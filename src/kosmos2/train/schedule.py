"""How fast to learn, and how forgiving to be, at each step of a stage: pure functions of it."""

from __future__ import annotations

import math

from kosmos2.train.recipe import Stage


def rate_at(stage: Stage, step: int) -> float:
    """The learning rate of a step, counted from 0.

    All schedules climb in a straight line for `warm_up` steps. Then "linear" falls to nothing at
    the end (the paper's); "constant-then-linear" stays, and falls over the last share of the steps;
    "cosine" falls along half a wave.
    """
    warm = (step + 1) / stage.warm_up if stage.warm_up else 1.0
    if stage.schedule == "constant-then-linear":
        left = (stage.steps - step) / max(1.0, stage.fall * stage.steps)
        return stage.rate * min(1.0, warm, left)
    if step < stage.warm_up:
        return stage.rate * warm
    done = (step - stage.warm_up) / max(1, stage.steps - stage.warm_up)
    if stage.schedule == "cosine":
        return stage.rate * (1 + math.cos(math.pi * done)) / 2
    return stage.rate * (1 - done)


def spread_at(stage: Stage, step: int) -> float:
    """How wide the bell around a true location is, in cells; 0 is none."""
    first, last = stage.spread
    return first + (last - first) * min(1.0, step / stage.steps)
