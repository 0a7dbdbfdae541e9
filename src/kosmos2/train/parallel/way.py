"""Parallel: what the loop asks of it, however many processes there are.

A step is the same for one process and for many:

    cost = parallel.wrap(learner)  # once, and then the optimiser
    whole = parallel.sum(sum(map(counted, batches)))  # what counts in all rows of the step
    for number, batch in enumerate(batches):
        with parallel.accumulate(last=number == len(batches) - 1):
            loss, report = cost(batch, ..., whole)  # this batch's share of the step's loss
            parallel.backward(loss)
    norm = parallel.clip(learner.parameters(), most)
    optimiser.step()

All but `share`, `accumulate` and `backward` are called by every process, in the same order.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager
from typing import Any, Protocol, TypeVar, runtime_checkable

import torch
from torch import Tensor, nn

from kosmos2.train.checkpoint import Checkpoint, Parts
from kosmos2.train.run_folder import RunFolder

T = TypeVar("T")
M = TypeVar("M", bound=nn.Module)


@runtime_checkable
class Parallel(Protocol):
    """How the processes of a run work together; with one process, how it does without."""

    rank: int  # of this process, from 0; the first one writes, prints and owns the run folder
    world: int  # how many processes there are
    device: torch.device  # where this process computes

    def share(self, positions: range) -> range:
        """This process's rows of a micro-batch: each row comes to exactly one process.

        Raises:
            RecipeError: there is not the same number of rows for every process.
        """

    def wrap(self, learner: nn.Module) -> Callable[..., Any]:
        """What to call instead of `learner.loss`, with the same words.

        Comes once all is frozen, adapted and on its device that shall be, and before the optimiser
        and a moving average are made. With slices, `learner` itself holds them from now on.
        """

    def accumulate(self, last: bool) -> AbstractContextManager[None]:
        """Around a micro-batch: the processes' gradients meet after the last one of a step."""

    def backward(self, loss: Tensor) -> None:
        """Add the gradients of this process's share of the loss to those of all others."""

    def clip(self, parameters: Iterable[Tensor], most: float) -> Tensor:
        """Shorten all gradients together to a norm of `most` (0: not at all); the norm before."""

    def sum(self, values: Tensor) -> Tensor:
        """Added up over all processes; no gradient passes."""

    def gather(self, values: Tensor) -> Tensor:
        """All processes' rows one after the other; gradients go back to where each row is from."""

    def any(self, flag: bool) -> bool:
        """Whether it is so in any process."""

    def agree(self, value: T) -> T:
        """What the first process says."""

    def each(self, value: T) -> list[T]:
        """What every process says, by rank."""

    def first(self, do: Callable[[], T]) -> T | None:
        """Let the first process do something, and all wait for it; the others get None.

        Raises:
            Kosmos2Error: it could not; every process learns of it.
        """

    def save(
        self, run: RunFolder | None, step: int, parts: Parts, notes: Mapping[str, Any]
    ) -> None:
        """Write a checkpoint into the run folder, which the first process alone has.

        Raises:
            SaveError: as `RunFolder.save`, in every process.
        """

    def load(
        self, run: RunFolder | None, learner: nn.Module, restore: Callable[[Checkpoint], object]
    ) -> Checkpoint | None:
        """Put the newest good checkpoint back, whatever number of processes wrote it.

        Raises:
            NoCheckpoint: as `RunFolder.newest`, in every process.
        """

    def whole(self, learner: M) -> M | None:
        """The learner with whole parameters, for the first process; the others get None.

        To look at, measure and export, not to train: with slices it is a copy, on the CPU.
        """

    def close(self) -> None:
        """Part from the other processes."""
