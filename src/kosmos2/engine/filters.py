"""The role that says what may not come next: logits in, logits out, minus infinity for never.

Shapes: W vocabulary.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from typing import Any, Protocol, TypeGuard, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor


@runtime_checkable
class Filter(Protocol):
    """One rule about what may come next, given the prompt and the answer so far."""

    def apply(
        self, logits: Float[Tensor, " W"], prompt: Sequence[int], answer: Sequence[int]
    ) -> Float[Tensor, " W"]:
        """The logits with what is forbidden at minus infinity; the given ones stay as they are."""


@runtime_checkable
class Listing(Filter, Protocol):
    """A filter that forbids some ids, whatever the logits are."""

    def forbidden(self, prompt: Sequence[int], answer: Sequence[int]) -> Collection[int]:
        """These ids."""


@runtime_checkable
class Narrowing(Filter, Protocol):
    """A filter that can say beforehand that nothing outside a range of ids may come."""

    def only(self, prompt: Sequence[int], answer: Sequence[int]) -> range | None:
        """That range; None where others may come."""


@dataclass(frozen=True, slots=True)
class Never:
    """Some ids never come."""

    ids: Collection[int]

    def apply(
        self, logits: Float[Tensor, " W"], prompt: Sequence[int], answer: Sequence[int]
    ) -> Float[Tensor, " W"]:
        """Forbid them."""
        return without(logits, self.ids)

    def forbidden(self, prompt: Sequence[int], answer: Sequence[int]) -> Collection[int]:
        """They."""
        return self.ids


@dataclass(frozen=True, slots=True)
class NotYet:
    """Some ids, those that end an answer, do not come before it has a length."""

    ids: Collection[int]
    length: int

    def apply(
        self, logits: Float[Tensor, " W"], prompt: Sequence[int], answer: Sequence[int]
    ) -> Float[Tensor, " W"]:
        """Forbid them while the answer is shorter."""
        return without(logits, self.forbidden(prompt, answer))

    def forbidden(self, prompt: Sequence[int], answer: Sequence[int]) -> Collection[int]:
        """They, or none."""
        return self.ids if len(answer) < self.length else ()


@dataclass(frozen=True, slots=True)
class NoRepeat:
    """No run of `size` ids comes twice.

    Quirk: the prompt counts, and with it the ids that happen to stand in the slots of a picture
    (the 64 commonest words), as in transformers' `NoRepeatNGramLogitsProcessor` and in fairseq.
    Padding does not count, or an answer would depend on what else is in its batch.
    """

    size: int

    def apply(
        self, logits: Float[Tensor, " W"], prompt: Sequence[int], answer: Sequence[int]
    ) -> Float[Tensor, " W"]:
        """Forbid whatever followed the last `size` - 1 ids when they came before."""
        return without(logits, self.forbidden(prompt, answer))

    def forbidden(self, prompt: Sequence[int], answer: Sequence[int]) -> Collection[int]:
        """Those ids."""
        ids = [*prompt, *answer]
        before = self.size - 1
        if not before or not ids:
            return set(ids)
        tail, found, end = ids[-before:], set[int](), before - 1
        with suppress(ValueError):  # the last of the run is looked for first: that is much quicker
            while True:
                end = ids.index(tail[-1], end, -1) + 1
                if ids[end - before : end] == tail:
                    found.add(ids[end])
        return found


def narrowing(filters: Sequence[Filter]) -> Narrowing | None:
    """The first that can narrow, if what stands before it has no need of all the logits."""
    for each in filters:
        if _narrows(each):
            return each
        if not has_role(type(each), Listing):
            return None
    return None


@cache
def has_role(kind: type, role: Any) -> bool:
    """Whether filters of a kind have a role: found out once, since that takes longer than to act.

    Before Python 3.12 `isinstance` looked a protocol through each time: a tenth of a millisecond
    for each request.
    """
    return issubclass(kind, role)


def _narrows(each: Filter) -> TypeGuard[Narrowing]:
    return has_role(type(each), Narrowing)


def without(logits: Float[Tensor, " W"], ids: Collection[int]) -> Float[Tensor, " W"]:
    """The logits with some ids at minus infinity."""
    if not ids:
        return logits
    return logits.index_fill(0, torch.tensor(sorted(ids), device=logits.device), -math.inf)
