"""Every process holds the whole network; after the last micro-batch they add up gradients."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any, TypeVar

from torch import nn
from torch.nn.parallel import DistributedDataParallel

from kosmos2.train.parallel.ranks import Ranks

M = TypeVar("M", bound=nn.Module)


class Ddp(Ranks):
    """torch's DistributedDataParallel."""

    def wrap(self, learner: nn.Module) -> Callable[..., Any]:
        """The loss, whose gradients meet; parameters become the first process's."""
        with warnings.catch_warnings():  # of a newer word for `broadcast_buffers`
            warnings.simplefilter("ignore", FutureWarning)
            self._meeting = DistributedDataParallel(
                _Loss(learner),
                device_ids=[self.device] if self.device.type == "cuda" else None,
                find_unused_parameters=True,  # a stage may leave out the decoder, or a head
                broadcast_buffers=False,  # none of ours change
            )
        self.join(learner)
        return self._meeting

    def accumulate(self, last: bool) -> AbstractContextManager[None]:
        """Until the last micro-batch of a step, every process adds up on its own."""
        meet: AbstractContextManager[None] = nullcontext() if last else self._meeting.no_sync()
        return meet

    def whole(self, learner: M) -> M | None:
        """The learner itself, in the first process."""
        return learner if self.rank == 0 else None


class _Loss(nn.Module):
    """A learner called by what torch wraps: `forward`."""

    def __init__(self, learner: nn.Module) -> None:
        super().__init__()
        self.learner = learner

    def forward(self, *given: Any, **named: Any) -> Any:
        return self.learner.loss(*given, **named)  # type: ignore[operator]
