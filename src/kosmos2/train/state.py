"""Everything that decides the next step of a run: what resuming puts back, and nothing else.

Parameters, the optimiser's moments, their moving average, torch's random state, and two integers:
steps done, and rows drawn. Data is a pure function of a row's position, and rates of the step, so
there is no more. Putting back draws no random number, and copies: the files may go afterwards.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from kosmos2.errors import CheckpointError
from kosmos2.train import checkpoint
from kosmos2.train.checkpoint import Checkpoint

LEARNER, OPTIMISER, AVERAGE, RANDOM = "learner", "optimiser", "average", "random"
_CPU, _CUDA = "cpu", "cuda."


@runtime_checkable
class Keeps(Protocol):
    """A thing with tensors by name, such as a moving average of the parameters."""

    def state_dict(self) -> Mapping[str, Tensor]:
        """Its tensors, not copied."""

    def load_state_dict(self, tensors: Mapping[str, Tensor], /) -> object:
        """Put copies of such tensors back."""


@dataclass(slots=True)
class State:
    """A run between two steps."""

    learner: nn.Module
    optimiser: torch.optim.Optimizer
    average: Keeps | None = None
    # Parameters that do not learn stay out of the checkpoints, which then hold their hash alone:
    # for an adapter beside billions of frozen numbers.
    lean: bool = False
    step: int = 0  # done, of all stages together
    position: int = 0  # of the next row to draw
    more: dict[str, Any] = field(default_factory=dict)  # plain values that a run wants back
    _frozen: str = field(default="", init=False, repr=False)

    def parts(self) -> dict[str, Mapping[str, Tensor]]:
        """All tensors, by file and name; they are those of the run, not copies."""
        parts: dict[str, Mapping[str, Tensor]] = {
            LEARNER: self._learnt(),
            OPTIMISER: _moments(self.learner, self.optimiser),
            RANDOM: _random(),
        }
        if self.average is not None:
            parts[AVERAGE] = self.average.state_dict()
        return parts

    def notes(self) -> dict[str, Any]:
        """All plain values."""
        frozen = {"frozen": self._hash_of_frozen()} if self.lean else {}
        return {"step": self.step, "position": self.position, "more": self.more, **frozen}

    def state_hash(self) -> str:
        """One SHA-256 over all of it: the `state_hash` that a checkpoint of it has."""
        return checkpoint.state_hash(self.step, self.parts(), self.notes())

    def restore(self, saved: Checkpoint) -> None:
        """Put everything back as it was.

        Raises:
            CheckpointError: it is a checkpoint of another learner, or of other frozen weights.
        """
        notes = saved.notes
        if self.lean and notes.get("frozen") != self._hash_of_frozen():
            raise CheckpointError(
                f"{saved.path} was trained beside other frozen weights than these; "
                "start from the same model again"
            )
        try:
            learner = saved.part(LEARNER)
            if learner.keys() != self._learnt().keys():
                other = sorted(learner.keys() ^ self._learnt().keys())
                raise ValueError(f"{other[0]} is only in one of them")
            self.learner.load_state_dict(learner, strict=not self.lean)
            _put_moments(self.learner, self.optimiser, saved.part(OPTIMISER))
            if self.average is not None:
                self.average.load_state_dict(saved.part(AVERAGE))
            self.step, self.position = int(notes["step"]), int(notes["position"])
            self.more = dict(notes["more"])
            _put_random(saved.part(RANDOM))
        except (ValueError, KeyError, TypeError, RuntimeError) as error:
            reason = str(error).splitlines()[0]
            raise CheckpointError(
                f"{saved.path} is not a checkpoint of this learner ({reason}); "
                "train into another folder"
            ) from error

    def _learnt(self) -> dict[str, Tensor]:
        tensors = self.learner.state_dict()
        if not self.lean:
            return tensors
        learns = {name for name, one in self.learner.named_parameters() if one.requires_grad}
        return {name: tensor for name, tensor in tensors.items() if name in learns}

    def _hash_of_frozen(self) -> str:
        """Computed once: what does not learn does not change."""
        if not self._frozen:
            learnt = self._learnt()
            rest = {n: t for n, t in self.learner.state_dict().items() if n not in learnt}
            self._frozen = checkpoint.hash_of(rest)
        return self._frozen


def _moments(learner: nn.Module, optimiser: torch.optim.Optimizer) -> dict[str, Tensor]:
    """What the optimiser remembers, under the name of each parameter."""
    names: dict[Tensor, str] = {one: name for name, one in learner.named_parameters()}
    return {
        f"{names[parameter]}.{key}": value
        for parameter, held in optimiser.state.items()
        for key, value in held.items()
        if isinstance(value, Tensor)
    }


def _put_moments(
    learner: nn.Module, optimiser: torch.optim.Optimizer, moments: Mapping[str, Tensor]
) -> None:
    """Not by the optimiser's own loading, which changes types on the way."""
    held: dict[str, dict[str, Tensor]] = {}
    for name, value in moments.items():
        parameter, _, key = name.rpartition(".")
        held.setdefault(parameter, {})[key] = value
    optimiser.state.clear()
    names = {parameter: name for name, parameter in learner.named_parameters()}
    for group in optimiser.param_groups:
        fused = group.get("fused") or group.get("capturable")
        for parameter in group["params"]:
            for key, value in held.pop(names[parameter], {}).items():
                here = parameter.device if fused or key != "step" else torch.device("cpu")
                own = torch.empty(value.shape, dtype=value.dtype, device=here)
                if value.shape == parameter.shape:
                    own = torch.empty_like(parameter, dtype=value.dtype, requires_grad=False)
                optimiser.state[parameter][key] = own.copy_(value)
    if held:
        raise ValueError(f"nothing here is trained under the name {min(held)}")


def _random() -> dict[str, Tensor]:
    states = {_CPU: torch.get_rng_state()}
    if torch.cuda.is_available() and torch.cuda.is_initialized():
        for number, state in enumerate(torch.cuda.get_rng_state_all()):
            states[f"{_CUDA}{number}"] = state
    return states


def _put_random(states: Mapping[str, Tensor]) -> None:
    for name, state in states.items():
        if name == _CPU:
            torch.set_rng_state(state.clone())
        elif (
            torch.cuda.is_available() and int(name.removeprefix(_CUDA)) < torch.cuda.device_count()
        ):
            torch.cuda.set_rng_state(state.clone(), int(name.removeprefix(_CUDA)))
