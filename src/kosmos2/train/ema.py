"""A moving average of what is learnt: steadier than the last step, and often a better model.

`average <- keep x average + (1 - keep) x parameter` after each step; early on `keep` is less, so
that the beginning is soon forgotten.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn


class Average:
    """Averages of the parameters that learn, by name."""

    def __init__(self, learner: nn.Module, keep: float) -> None:
        self.keep, self.steps = keep, 0
        self._parameters = {n: p for n, p in learner.named_parameters() if p.requires_grad}
        self.held = {name: one.detach().clone() for name, one in self._parameters.items()}

    @torch.no_grad()
    def update(self) -> None:
        """Take in what a step left."""
        self.steps += 1
        keep = min(self.keep, (1 + self.steps) / (10 + self.steps))
        for name, one in self._parameters.items():
            self.held[name].lerp_(one.detach(), 1 - keep)

    @contextmanager
    def instead(self) -> Iterator[None]:
        """Within, the learner holds the averages, for measuring and for export."""
        self._swap()
        try:
            yield
        finally:
            self._swap()

    def settle(self) -> None:
        """Leave the averages in the learner, for good."""
        self._swap()

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

    @torch.no_grad()
    def _swap(self) -> None:
        for name, one in self._parameters.items():
            mine = self.held[name].clone()
            self.held[name].copy_(one.detach())
            one.data.copy_(mine)
