"""What several processes of a run say to each other, whichever way they hold the network.

Shapes: N rows of this process, A of all, D width.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn

from kosmos2.errors import Kosmos2Error, RecipeError
from kosmos2.train.checkpoint import Checkpoint, Parts
from kosmos2.train.contrastive import ContrastiveHead
from kosmos2.train.parallel.alone import Alone
from kosmos2.train.parallel.reading import opened
from kosmos2.train.run_folder import RunFolder
from kosmos2.train.state import RANDOM

T = TypeVar("T")


class ElsewhereError(Kosmos2Error):
    """The first process could not; it says why, and the others stop with it."""


class Ranks(Alone):
    """A process among several that share a default process group."""

    def __init__(self, device: torch.device | str = "cpu") -> None:
        super().__init__(device)
        self.rank, self.world = dist.get_rank(), dist.get_world_size()

    def share(self, positions: range) -> range:
        """Every n-th row for n processes: rows that lie together in a file go to all of them."""
        if len(positions) % self.world:
            raise RecipeError(
                f"{len(positions)} rows a micro-batch cannot be shared by {self.world} processes; "
                "make rows / accumulate a multiple of their number"
            )
        return positions[self.rank :: self.world]

    def backward(self, loss: Tensor) -> None:
        """Add gradients; torch takes the mean over processes, and the sum is wanted."""
        (loss * self.world).backward()

    def sum(self, values: Tensor) -> Tensor:
        """Added up over all processes; no gradient passes."""
        values = values.detach().clone()
        dist.all_reduce(values)
        return values

    def gather(self, values: Tensor) -> Tensor:
        """All processes' rows one after the other; gradients go back to where each row is from."""
        counts = self.each(len(values))
        gathered: Tensor = _Gather.apply(values, sum(counts[: self.rank]), sum(counts))
        return gathered

    def any(self, flag: bool) -> bool:
        """Whether it is so in any process."""
        return bool(self.sum(torch.tensor(int(flag), device=self.device)))

    def agree(self, value: T) -> T:
        """What the first process says."""
        said = [value]
        dist.broadcast_object_list(said, src=0)
        return said[0]

    def each(self, value: T) -> list[T]:
        """What every process says, by rank."""
        said: list[Any] = [None] * self.world
        dist.all_gather_object(said, value)
        return said

    def first(self, do: Callable[[], T]) -> T | None:
        """Let the first process do something, and all wait for it; the others get None."""
        done, failure = None, None
        if self.rank == 0:
            try:
                done = do()
            except Kosmos2Error as error:
                failure = error
        self.stop_together(failure)
        return done

    def stop_together(self, failure: Kosmos2Error | None) -> None:
        """If the first process failed, all do, with its exit code."""
        said = self.agree(None if failure is None else (str(failure), failure.exit_code))
        if failure is not None:
            raise failure
        if said is not None:
            stopped = ElsewhereError(said[0])
            stopped.exit_code = said[1]
            raise stopped

    def save(
        self, run: RunFolder | None, step: int, parts: Parts, notes: Mapping[str, Any]
    ) -> None:
        """The first process writes what all hold alike, and everybody's random state."""
        parts = self.with_random(parts)
        self.first(lambda: run.save(step, parts, notes) if run else None)

    def load(
        self, run: RunFolder | None, learner: nn.Module, restore: Callable[[Checkpoint], object]
    ) -> Checkpoint | None:
        """The first process finds a good checkpoint, all put it back."""
        found = self.agree(self.first(lambda: run.newest(lambda saved: None) if run else None))
        if found is not None:
            restore(opened(found, self.rank, self.slices(learner)))
        return found

    def join(self, learner: nn.Module) -> None:
        """Let rows be compared with those of all, and dropout differ from that of the others."""
        for head in learner.modules():
            if isinstance(head, ContrastiveHead):
                head.gather = self.gather
        if self.rank:
            torch.manual_seed(torch.initial_seed() + self.rank)

    def slices(self, learner: nn.Module) -> dict[str, nn.Parameter]:
        """The learner's parameters, if this process holds slices of them."""
        return {}

    def with_random(self, parts: Parts) -> dict[str, Mapping[str, Tensor]]:
        """Parts with every process's random state, in which they differ: dropout has to."""
        states = self.each(dict(parts.get(RANDOM, {})))
        known = {
            f"{rank}/{name}": one for rank, held in enumerate(states) for name, one in held.items()
        }
        return {**parts, RANDOM: known}

    def close(self) -> None:
        """Part from the other processes, which may have failed and not be listening any more.

        torch keeps gloo's threads beyond the group's end. One that lets go of our last tensor only
        while Python ends may take the process down with SIGABRT, so what can be freed is freed now.
        """
        gc.collect()
        dist.destroy_process_group()


class _Gather(torch.autograd.Function):
    """Rows of all processes, which may have different numbers of them."""

    @staticmethod
    def forward(ctx: Any, values: Tensor, begin: int, count: int) -> Tensor:
        ctx.place = slice(begin, begin + len(values))
        gathered = values.new_zeros(count, *values.shape[1:])
        gathered[ctx.place] = values
        dist.all_reduce(gathered)
        return gathered

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        gradient = gradients[0].contiguous()
        dist.all_reduce(gradient)  # each process's loss looks at the rows of all
        return gradient[ctx.place], None, None
