"""One process: nobody to ask, nothing to share."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.nn.utils import clip_grads_with_norm_, get_total_norm

from kosmos2.train.checkpoint import Checkpoint, Parts
from kosmos2.train.parallel.reading import opened
from kosmos2.train.run_folder import RunFolder

T = TypeVar("T")
M = TypeVar("M", bound=nn.Module)


class Alone:
    """A `Parallel` of one."""

    rank, world = 0, 1

    def __init__(self, device: torch.device | str = "cpu") -> None:
        self.device = torch.device(device)

    def share(self, positions: range) -> range:
        """All of them."""
        return positions

    def wrap(self, learner: nn.Module) -> Callable[..., Any]:
        """The learner's own loss."""
        loss: Callable[..., Any] = learner.loss  # type: ignore[assignment]
        return loss

    def accumulate(self, last: bool) -> AbstractContextManager[None]:
        """Gradients add up by themselves."""
        return nullcontext()

    def backward(self, loss: Tensor) -> None:
        """Add the loss's gradients to those that are there."""
        loss.backward()

    def clip(self, parameters: Iterable[Tensor], most: float) -> Tensor:
        """Shorten all gradients together to a norm of `most` (0: not at all); the norm before."""
        learnt = [one for one in parameters if one.grad is not None]
        norm = self.joined(get_total_norm([one.grad for one in learnt if one.grad is not None]))
        if most:
            clip_grads_with_norm_(learnt, most, norm)
        return norm

    def joined(self, tensor: Tensor) -> Tensor:
        """It is whole."""
        return tensor

    def sum(self, values: Tensor) -> Tensor:
        """Nothing to add."""
        return values

    def gather(self, values: Tensor) -> Tensor:
        """There are no others."""
        return values

    def any(self, flag: bool) -> bool:
        """Whether it is so here."""
        return flag

    def agree(self, value: T) -> T:
        """What it says itself."""
        return value

    def each(self, value: T) -> list[T]:
        """What it says itself."""
        return [value]

    def first(self, do: Callable[[], T]) -> T | None:
        """Do it."""
        return do()

    def save(
        self, run: RunFolder | None, step: int, parts: Parts, notes: Mapping[str, Any]
    ) -> None:
        """Write a checkpoint into the run folder."""
        assert run is not None
        run.save(step, parts, notes)

    def load(
        self, run: RunFolder | None, learner: nn.Module, restore: Callable[[Checkpoint], object]
    ) -> Checkpoint | None:
        """Put the newest good checkpoint back; slices that many processes wrote are joined."""
        assert run is not None
        return run.newest(lambda saved: restore(opened(saved)))

    def whole(self, learner: M) -> M | None:
        """The learner itself."""
        return learner

    def close(self) -> None:
        """Nothing to part from."""
