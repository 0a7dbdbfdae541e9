"""Every process holds a slice of each parameter, and of what the optimiser keeps of it.

A layer's parameters come together just before it is run, and part just after. All that is outside
the layers (words, positions, connector, heads) is one more such group, together for a whole
step: words are both read and scored, so this is how the tied embedding is one.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext, suppress
from pathlib import Path
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.tensor import DTensor

from kosmos2.errors import Kosmos2Error, RecipeError
from kosmos2.model.decoder import DecoderLayer
from kosmos2.model.vision import VisionLayer
from kosmos2.train.checkpoint import Parts
from kosmos2.train.parallel import sharded
from kosmos2.train.parallel.ranks import Ranks
from kosmos2.train.parallel.reading import SHARDS
from kosmos2.train.run_folder import RunFolder

M = TypeVar("M", bound=nn.Module)


class Fsdp(Ranks):
    """torch's `fully_shard`, around each layer and around the rest."""

    def __init__(self, device: torch.device | str = "cpu") -> None:
        super().__init__(device)
        self._mesh = init_device_mesh(self.device.type, (self.world,))

    def wrap(self, learner: nn.Module) -> Callable[..., Any]:
        """The loss, for which slices come together layer by layer."""
        from torch.distributed.fsdp import fully_shard, register_fsdp_forward_method

        for tensor in learner.parameters():  # all begin as the first process does
            dist.broadcast(tensor.detach(), src=0)
        self._hollow = _hollow(learner)
        layers = [one for one in learner.modules() if isinstance(one, DecoderLayer | VisionLayer)]
        for group in [*layers, learner]:
            _check(group)
            fully_shard(group, mesh=self._mesh)
        self._learner: Any = learner
        register_fsdp_forward_method(learner, "loss")
        self.join(learner)
        loss: Callable[..., Any] = learner.loss  # type: ignore[assignment]
        return loss

    def accumulate(self, last: bool) -> AbstractContextManager[None]:
        """Until the last micro-batch of a step, every process adds up on its own."""
        self._learner.set_requires_gradient_sync(last)
        self._learner.set_is_last_backward(last)
        return nullcontext()

    def joined(self, tensor: Tensor) -> Tensor:
        """The whole of which every process holds a slice."""
        return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor

    def save(
        self, run: RunFolder | None, step: int, parts: Parts, notes: Mapping[str, Any]
    ) -> None:
        """Every process writes its slices into the draft of the first, which writes the rest."""
        parts = self.with_random(parts)
        slices = {
            f"{part}/{name}": tensor
            for part, tensors in parts.items()
            for name, tensor in tensors.items()
            if isinstance(tensor, DTensor)
        }
        rest = {
            part: {name: one for name, one in tensors.items() if not isinstance(one, DTensor)}
            for part, tensors in parts.items()
        }
        failure, drafts = None, []

        def write(draft: Path) -> None:
            drafts.append(self.agree(draft))
            sharded.write(draft / SHARDS, slices)

        if run is not None:
            try:
                run.save(step, rest, notes, write)
            except Kosmos2Error as error:
                failure = error
            if not drafts:  # it is saved already, or failed before anybody else came
                self.agree(None)
        elif (draft := self.agree(Path())) is not None:
            with suppress(OSError):  # the first process has it too, and says more
                sharded.write(draft / SHARDS, slices)
        self.stop_together(failure)

    def slices(self, learner: nn.Module) -> dict[str, nn.Parameter]:
        """The learner's parameters, each a slice."""
        return dict(learner.named_parameters())

    def whole(self, learner: M) -> M | None:
        """A copy with whole parameters, in the first process, on the CPU."""
        tensors = {}
        for name, tensor in learner.state_dict().items():
            full = self.joined(tensor)  # by all of them, for the first
            if self.rank == 0:
                tensors[name] = full.cpu()
        if self.rank:
            return None
        filled: Any = copy.deepcopy(self._hollow)
        filled.load_state_dict(tensors, assign=True)
        whole: M = filled.to("cpu").train(learner.training)
        return whole


def _hollow(learner: nn.Module) -> nn.Module:
    """A copy of a module without its parameters, which shares its buffers."""
    known: dict[int, Any] = {id(one): one for one in learner.buffers()}
    for parameter in learner.parameters():
        empty = torch.empty_like(parameter, device="meta")
        known[id(parameter)] = nn.Parameter(empty, requires_grad=parameter.requires_grad)
    return copy.deepcopy(learner, known)


def _check(group: nn.Module) -> None:
    """What learns in a group travels as one, so it has to be of one type."""
    learnt = [one for one in group.parameters() if one.requires_grad]
    kinds = sorted({str(one.dtype) for one in learnt if not isinstance(one, DTensor)})
    if len(kinds) > 1:
        raise RecipeError(
            f"parameters of several types learn side by side ({', '.join(kinds)}), and their "
            "slices cannot travel together; use parallel.how = 'ddp'"
        )
