"""Int8: a byte for each weight and a scale for each output, or for each word.

Shapes: M rows of activations, K inputs, N outputs, W words, D text width.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float, Float32, Int, Int8, UInt8
from torch import Tensor, nn

from kosmos2.model.quantised.fbgemm import Halved
from kosmos2.model.quantised.frozen import Frozen, Packing, applied
from kosmos2.model.quantised.kernels import Packed, packed8, product8
from kosmos2.model.quantised.numbers import to_int8


class Int8Linear(Frozen):
    """`nn.Linear` with a byte for each weight."""

    weight_int8: Int8[Tensor, "N K"] | None  # None once it is packed
    weight_size: Float32[Tensor, " N"]  # what one is worth

    def __init__(
        self, inputs: int, outputs: int, *, bias: bool = True, dtype: torch.dtype | None = None
    ) -> None:
        super().__init__()
        self.in_features, self.out_features = inputs, outputs
        self.register_buffer("weight_int8", torch.empty(outputs, inputs, dtype=torch.int8))
        self.register_buffer("weight_size", torch.empty(outputs, dtype=torch.float32))
        self.bias = nn.Parameter(torch.empty(outputs, dtype=dtype), False) if bias else None
        self.packed: Packed | Halved | Any = None  # or some rows of a larger one

    def fill(self, weight: Float[Tensor, "N K"]) -> None:
        """Take over the weights, rounded."""
        self.weight_int8, self.weight_size = to_int8(weight)

    def settle(self) -> None:
        """Pack the weights, where there is a kernel for that; they are then the only ones."""
        if self.weight_int8 is None or self.weight_int8.device.type != "cpu":
            return
        self.packed = packed8(self.weight_int8, self.weight_size)
        if self.packed is not None:
            self.weight_int8 = None

    def unsettle(self) -> None:
        """Unpack."""
        if self.packed is not None:
            self.weight_int8, self.packed, self.together = self.packed.plain(), None, None

    def pack_with(self, layers: Sequence[Int8Linear]) -> Packed | Halved:
        """The weights of all of these, one after the other."""
        sizes = torch.cat([layer.weight_size for layer in layers])
        whole = packed8(torch.cat([layer.packed.plain() for layer in layers]), sizes)
        assert whole is not None, "what was packed one by one can be packed together"
        return whole

    def answer(
        self, x: Float[Tensor, "*any K"], packed: Packed | Halved, bias: Tensor | None
    ) -> Float[Tensor, "*any more"]:
        """What the layer would say if it had these weights."""
        weights = (lambda: (packed.plain(), packed.size)) if self.passes else None
        return applied(x, packed.product, bias, weights)

    def stored(self) -> dict[str, Packing]:
        """The weights, while they are packed."""
        return {} if self.packed is None else {"weight_int8": self.packed}

    def forward(self, x: Float[Tensor, "*any K"]) -> Float[Tensor, "*any N"]:
        """As `nn.Linear`."""
        return applied(x, self._product, self.bias, self.plain if self.passes else None)

    def plain(self) -> tuple[Int8[Tensor, "N K"], Float32[Tensor, " N"]]:
        """The whole numbers in their usual order, and what one is worth."""
        if self.packed is not None:
            return self.packed.plain(), self.weight_size
        assert self.weight_int8 is not None
        return self.weight_int8, self.weight_size

    def _product(self, numbers: UInt8[Tensor, "M K"]) -> Float32[Tensor, "M N"]:
        if self.packed is not None:
            return self.packed.product(numbers)
        assert self.weight_int8 is not None
        return product8(numbers, self.weight_int8).mul_(self.weight_size)


class Int8Words(Frozen):
    """The embedding of words, which is the output layer too.

    Looking a word up needs its row, scoring all words the packed matrix, so both are kept; and so
    are those words packed by themselves that were scored last without the others.
    """

    weight_int8: Int8[Tensor, "W D"]
    weight_size: Float32[Tensor, " W"]

    def __init__(self, words: int, width: int, *, dtype: torch.dtype = torch.float32) -> None:
        super().__init__()
        self.register_buffer("weight_int8", torch.empty(words, width, dtype=torch.int8))
        self.register_buffer("weight_size", torch.empty(words, dtype=torch.float32))
        self.dtype = dtype  # in which words are given
        self.packed: Packed | Halved | None = None
        self._part: tuple[range, Packed | Halved] | None = None

    def fill(self, weight: Float[Tensor, "W D"]) -> None:
        """Take over the weights, rounded."""
        self.weight_int8, self.weight_size = to_int8(weight)

    def settle(self) -> None:
        """Pack the weights, where there is a kernel for that."""
        if self.packed is None and self.weight_int8.device.type == "cpu":
            self.packed = packed8(self.weight_int8, self.weight_size)

    def unsettle(self) -> None:
        """Forget the packed ones."""
        self.packed = self._part = None

    def forward(self, ids: Int[Tensor, "*any"]) -> Float[Tensor, "*any D"]:
        """As `nn.Embedding`."""
        rows = self.weight_int8[ids].float().mul_(self.weight_size[ids][..., None])
        return rows.to(self.dtype)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Frozen:
        self.dtype = fn(torch.empty(0, dtype=self.dtype)).dtype
        return super()._apply(fn, recurse)

    @property
    def weight(self) -> Table:
        """What the float matrix would be to the output layer: something to multiply with."""
        return Table(self)

    def score(
        self, x: Float[Tensor, "*any D"], words: slice | None = None
    ) -> Float[Tensor, "*any W"]:
        """The product with every word's row, or with those of a slice: the same numbers."""
        some = slice(None) if words is None else words
        rows, size = self.weight_int8[some], self.weight_size[some]
        weights = (lambda: (rows, size)) if self.passes else None
        if self.packed is not None:
            packed = self.packed if words is None else self._packed_part(words)
            return applied(x, packed.product, weights=weights)
        return applied(x, lambda numbers: product8(numbers, rows).mul_(size), weights=weights)

    def _packed_part(self, words: slice) -> Packed | Halved:
        which, part = range(len(self.weight_size))[words], self._part
        if part is None or part[0] != which:
            packed = packed8(self.weight_int8[words], self.weight_size[words])
            assert packed is not None, "the whole could be packed"
            part = self._part = which, packed
        return part[1]


class Table:
    """Stands where a float embedding's `weight` would, for those who only multiply with it.

    `F.linear(x, words.weight)` and `F.linear(x, words.weight[first:last])` go to `score`.
    """

    def __init__(self, words: Int8Words, rows: slice | None = None) -> None:
        self.words, self.rows = words, rows

    @property
    def dtype(self) -> torch.dtype:
        """In which type words are given, not that in which they are stored."""
        return self.words.dtype

    @property
    def device(self) -> torch.device:
        """Where they are."""
        return self.words.weight_int8.device

    @property
    def shape(self) -> torch.Size:
        """Words and width."""
        return self.words.weight_int8[self.rows or slice(None)].shape

    def __getitem__(self, rows: Any) -> Table:
        if self.rows is not None or not isinstance(rows, slice):
            raise TypeError("of a quantised embedding's weight only one slice of rows can be had")
        return Table(self.words, rows)

    @classmethod
    def __torch_function__(
        cls,
        func: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        if func is F.linear and len(args) == 2 and isinstance(args[1], Table) and not kwargs:
            return args[1].words.score(args[0], args[1].rows)
        raise TypeError(
            f"a quantised embedding's weight is no tensor and {func.__name__} needs one; "
            "there are F.linear(x, weight) and words(ids)"
        )
