"""A moving average of what is learnt: steadier than the last step, and often a better model.

`average <- keep x average + (1 - keep) x parameter` after each step; early on `keep` is less, so
that the beginning is soon forgotten.

Of a model that knew something before, a share of the weights it began with may be mixed in at the
end (Wortsman et al. 2022, "Robust fine-tuning of zero-shot models"): it then forgets less of that
than it loses of what is new.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from kosmos2.train.recipe import Train


def average_of(learner: nn.Module, settings: Train) -> Average | None:
    """What a recipe wants kept beside a learner that has not learnt yet; None if nothing."""
    if not (settings.ema or settings.start_share):
        return None
    return Average(learner, settings.ema, start_share=settings.start_share)


class Average:
    """Averages of the parameters that learn, by name."""

    def __init__(self, learner: nn.Module, keep: float, *, start_share: float = 0.0) -> None:
        """Made before anything is learnt: what the parameters are now is the start."""
        self.keep, self.start_share, self.steps = keep, start_share, 0
        self._parameters = {n: p for n, p in learner.named_parameters() if p.requires_grad}
        self.held = {name: one.detach().clone() for name, one in self._parameters.items()}
        self._start = {n: one.clone() for n, one in self.held.items()} if start_share else {}

    @torch.no_grad()
    def update(self) -> None:
        """Take in what a step left."""
        self.steps += 1
        keep = min(self.keep, (1 + self.steps) / (10 + self.steps))
        for name, one in self._parameters.items():
            self.held[name].lerp_(one.detach(), 1 - keep)

    @contextmanager
    def instead(self) -> Iterator[None]:
        """Within, the learner holds what it would be at the end, for measuring."""
        mine = {name: one.detach().clone() for name, one in self._parameters.items()}
        self.settle()
        try:
            yield
        finally:
            for name, one in self._parameters.items():
                one.data.copy_(mine[name])

    @torch.no_grad()
    def settle(self) -> None:
        """Leave the averages in the learner, and the start's share in them."""
        for name, one in self._parameters.items():
            average = self.held[name]
            if self.start_share:
                average = torch.lerp(average, self._start[name], self.start_share)
            one.data.copy_(average)

    def state_dict(self) -> dict[str, Tensor]:
        """What resuming needs."""
        return {**self.held, "steps": torch.tensor(self.steps)}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Put it back."""
        held = {name: one for name, one in state.items() if name != "steps"}
        if held.keys() != self.held.keys():
            raise ValueError(f"averages of {len(held)} parameters, not of these {len(self.held)}")
        self.steps = int(state["steps"])
        for name, one in held.items():
            self.held[name].copy_(one)
