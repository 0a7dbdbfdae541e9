"""When an answer is at its end.

Shapes: R rows, T tokens so far.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from time import monotonic
from typing import Any

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from kosmos2.errors import InputError

Criterion = Callable[[Tensor, Any], Any]


class Stopping:
    """An end token, the greatest length, a time that is over, or what a user's callable says."""

    def __init__(
        self,
        *,
        ends: Collection[int],
        limit: int,
        max_time: float | None = None,
        criteria: Sequence[Criterion] = (),
    ) -> None:
        self.ends = frozenset(ends)
        self.limit = limit
        self.criteria = criteria
        self.deadline = None if max_time is None else monotonic() + max_time

    @property
    def pads(self) -> bool:
        """Whether a row that ended goes on as padding (if nothing can end one alone, none does)."""
        return bool(self.ends) or any(hasattr(each, "eos_token_id") for each in self.criteria)

    def __call__(
        self, ids: Int[Tensor, "R T"], length: int, scores: Sequence[Tensor] | None
    ) -> Bool[Tensor, " R"]:
        """Which rows are at their end, when their answers have a length.

        Raises:
            InputError: a user's callable says neither yes nor no.
        """
        ended = torch.isin(ids[:, -1], torch.tensor(sorted(self.ends), device=ids.device).long())
        late = self.deadline is not None and monotonic() > self.deadline
        if length >= self.limit or late:
            ended = torch.ones_like(ended)
        for criterion in self.criteria:
            ended = ended | self._asked(criterion, ids, None if scores is None else tuple(scores))
        return ended

    def _asked(self, criterion: Criterion, ids: Tensor, scores: Any) -> Tensor | bool:
        answer = criterion(ids, scores)
        if isinstance(answer, Tensor) and answer.shape in ((), (1,), (len(ids),)):
            return answer.to(ids.device).bool()
        if isinstance(answer, bool):
            return answer
        shown = list(answer.shape) if isinstance(answer, Tensor) else repr(answer)
        raise InputError(
            f"a stopping criterion said {shown}; let it return True, False, or a tensor with one "
            f"of them for each of the {len(ids)} rows"
        )
