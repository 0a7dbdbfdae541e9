"""An engine in this process: its thread and the event loop take turns.

Shapes: N pictures, S pixels a side, L latents, D text width.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from kosmos2.engine import Engine, Request, Ticket, Token
from kosmos2.grounder import Kosmos2, Located, Seen
from kosmos2.images import normalised
from kosmos2.serve.engines.making import ENDLESS


class Inside:
    """See `Making`."""

    def __init__(self, model: Kosmos2, *, slots: int) -> None:
        self.model = model
        self.engine = Engine(model.network, slots=slots, queue=ENDLESS)

    @property
    def dead(self) -> bool:
        """Whether the engine's thread has ended in the midst of its work."""
        return self.engine.dead

    @property
    def running(self) -> int:
        """Answers that have a slot."""
        return self.engine.statistics().running

    @property
    def waiting(self) -> int:
        """Answers without one."""
        return self.engine.statistics().waiting

    def submit(
        self,
        request: Request,
        *,
        on_token: Callable[[Token], None],
        on_end: Callable[[Ticket], None],
    ) -> Ticket:
        """As `Engine.submit`."""
        return self.engine.submit(request, on_token=on_token, on_end=on_end)

    def look(self, squares: UInt8[np.ndarray, "N S S 3"]) -> Float[Tensor, "N L D"]:
        """As `Engine.look`."""
        return self.engine.look(torch.from_numpy(normalised(squares)))

    def locate(self, seen: Seen, phrases: Sequence[str], **how: Any) -> list[Located]:
        """`Kosmos2.locate`, between two steps."""
        found: list[Located] = self.engine.between(
            lambda: self.model.locate(seen, list(phrases), **how)
        )
        return found

    def give_way(self) -> None:
        """Nothing to be done: threads of a process take turns as they do."""

    def close(self, drain_s: float) -> None:
        """As `Engine.close`."""
        self.engine.close(drain_s)
