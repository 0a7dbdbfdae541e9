"""A checkpoint as this process holds things, whoever wrote it.

What is whole in it is cut where the learner holds slices; what was written in slices is joined
where the learner holds it whole.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from torch import Tensor, nn

from kosmos2.train.checkpoint import Checkpoint
from kosmos2.train.state import RANDOM

SHARDS = "shards"  # the folder of slices in a checkpoint


def opened(
    saved: Checkpoint, rank: int = 0, slices: Mapping[str, nn.Parameter] | None = None
) -> Checkpoint:
    """A checkpoint for a process; `slices` are its learner's parameters, if they are slices."""
    given = {one.name: getattr(saved, one.name) for one in fields(saved)}
    return _Opened(**given, rank=rank, slices=slices or {})


@dataclass(frozen=True, slots=True)
class _Opened(Checkpoint):
    rank: int
    slices: Mapping[str, Tensor] = field(repr=False)

    def part(self, name: str) -> dict[str, Tensor]:
        """A part's tensors, as this process wants them."""
        tensors = Checkpoint.part(self, name)
        if name == RANDOM:
            return self._own(tensors)
        tensors = {key: self._cut(key, tensor) for key, tensor in tensors.items()}
        if (self.path / SHARDS).is_dir():
            from kosmos2.train.parallel.sharded import read

            tensors |= read(self.path / SHARDS, name, self._like)
        return tensors

    def _own(self, states: dict[str, Tensor]) -> dict[str, Tensor]:
        """This process's random states; none if fewer processes wrote the checkpoint."""
        if not any("/" in name for name in states):
            return {} if self.rank else states
        begin = f"{self.rank}/"
        return {n.removeprefix(begin): one for n, one in states.items() if n.startswith(begin)}

    def _like(self, name: str) -> Tensor | None:
        """The parameter that a tensor is or, as "NAME.exp_avg", belongs to."""
        return self.slices.get(name, self.slices.get(name.rpartition(".")[0]))

    def _cut(self, name: str, tensor: Tensor) -> Tensor:
        """This process's slice of a whole tensor, if it holds slices of its like."""
        model: Any = self._like(name)
        if model is None or model.shape != tensor.shape:
            return tensor
        from torch.distributed.tensor import distribute_tensor

        here = tensor.to(model.device)
        return distribute_tensor(here, model.device_mesh, model.placements, src_data_rank=None)
