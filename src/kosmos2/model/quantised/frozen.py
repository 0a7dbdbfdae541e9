"""What layers that only answer have in common: they cannot learn, and their numbers stay exact.

Shapes: M rows of activations, K inputs, N outputs.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol, runtime_checkable

import torch
from jaxtyping import Float, Float32, UInt8
from torch import Tensor, nn

from kosmos2.errors import ConfigError
from kosmos2.model.quantised.gradients import Weights, through
from kosmos2.model.quantised.numbers import to_bytes

# Ends of the names of tensors that are stored, moved and loaded as they are, whatever the dtype.
FIXED = ("weight_int8", "weight_int4", "weight_grid", "weight_size")


@runtime_checkable
class Packing(Protocol):
    """Weights in an order of their own."""

    shape: tuple[int, ...]
    dtype: torch.dtype

    def plain(self) -> Tensor:
        """The same in the usual order."""
        ...


class Frozen(nn.Module):
    """A layer that answers and does not learn; it may keep its weights in an order of its own."""

    rounds = True  # whether the weights are other numbers than those they were made from
    passes = False  # whether gradients pass through, to adapters before it: see `let_pass`
    # Of a query: what it, its key and its value answer, side by side, when they are packed as one.
    together: Callable[[Tensor], Tensor] | None = None
    why_frozen = (
        "quantised weights have no gradients and cannot be trained; load the model "
        "without quantize, train that, and quantise the result"
    )

    def settle(self) -> None:
        """Make ready to answer, once the weights are there."""

    def unsettle(self) -> None:
        """Back to plain tensors, which can be moved."""

    def stored(self) -> dict[str, Packing]:
        """What is packed and will be stored plain, by its own name."""
        return {}

    def train(self, mode: bool = True) -> Frozen:
        """Only to answer, or beside adapters that learn.

        Raises:
            ConfigError: for training, where nothing could learn.
        """
        if mode and not self.passes:
            raise ConfigError(self.why_frozen)
        return super().train(mode)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Frozen:
        """Move, but convert only what is no weight: a rounded size would spoil a whole row."""
        self.unsettle()
        before = {name: b for name, b in self._buffers.items() if name in FIXED and b is not None}
        super()._apply(fn, recurse)
        for name, buffer in before.items():
            moved = self._buffers[name]
            assert moved is not None
            self._buffers[name] = buffer.to(moved.device)
        self.settle()
        return self

    def _save_to_state_dict(
        self, destination: dict[str, Any], prefix: str, keep_vars: bool
    ) -> None:
        super()._save_to_state_dict(destination, prefix, keep_vars)
        for name, packed in self.stored().items():
            destination[prefix + name] = packed.plain()

    def _load_from_state_dict(self, *args: Any, **how: Any) -> None:
        self.unsettle()
        super()._load_from_state_dict(*args, **how)
        self.settle()


def applied(
    x: Float[Tensor, "*any K"],
    product: Callable[[UInt8[Tensor, "M K"]], Float32[Tensor, "M N"]],
    bias: Float[Tensor, " N"] | None = None,
    weights: Weights | None = None,
) -> Float[Tensor, "*any N"]:
    """A layer's answer: its product with the activations as bytes, on their scale, and the bias.

    Each row has its own scale, so no row changes another's answer. `weights` are what gradients
    pass through, where they may.

    Raises:
        ConfigError: gradients are wanted of it, and may not pass.
    """
    if x.requires_grad and torch.is_grad_enabled():
        if weights is None:
            raise ConfigError(
                "there are no gradients through quantised weights; load the model without "
                "quantize, or compute under torch.no_grad()"
            )
        return through(x, lambda x: applied(x, product, bias), weights)
    numbers, size = to_bytes(x.reshape(-1, x.shape[-1]))
    y = product(numbers)
    y = y.mul_(size) if bias is None else torch.addcmul(bias, y, size)
    return y.view(*x.shape[:-1], y.shape[-1]).to(x.dtype)
