"""What an engine is to the server, wherever it runs.

Shapes: N pictures, S pixels a side, L latents, D text width.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

import numpy as np
from jaxtyping import Float, UInt8
from torch import Tensor

from kosmos2.engine import Request, Token
from kosmos2.grounder import Located, Seen

LEAST_SLOTS, MOST_SLOTS = 8, 16
ENDLESS = 2**31  # how many may wait is decided at the door


class Ordered(Protocol):
    """One answer that is being made."""

    prompt: int  # tokens of the prompt
    reused: int  # of these, not read again

    @property
    def done(self) -> bool:
        """Whether nothing more will come."""
        ...

    @property
    def error(self) -> BaseException | None:
        """What went wrong."""
        ...

    @property
    def forced(self) -> int:
        """How many of the tokens so far were known before their turn."""
        ...

    def cancel(self) -> bool:
        """Want no more of it."""
        ...


class Making(Protocol):
    """Makes answers; callbacks come in a thread of its own, and must be quick."""

    @property
    def dead(self) -> bool:
        """Whether it has ended though nobody closed it."""
        ...

    @property
    def running(self) -> int:
        """Answers that have a slot."""
        ...

    @property
    def waiting(self) -> int:
        """Answers without one."""
        ...

    def submit(
        self,
        request: Request,
        *,
        on_token: Callable[[Token], None],
        on_end: Callable[[Any], None],
    ) -> Ordered:
        """Hand in a request; from any thread, and without waiting for a step.

        Raises:
            PromptError: what the network cannot read.
            EngineError: it is closed or dead.
        """
        ...

    def look(self, squares: UInt8[np.ndarray, "N S S 3"]) -> Float[Tensor, "N L D"]:
        """What the network makes of pictures; waits for it."""
        ...

    def locate(self, seen: Seen, phrases: Sequence[str], **how: Any) -> list[Located]:
        """`Kosmos2.locate`; waits for it."""
        ...

    def give_way(self) -> None:
        """For a moment whoever is at the door matters more; may be called often."""
        ...

    def close(self, drain_s: float) -> None:
        """Finish what can be finished in time, cancel the rest, free the memory."""
        ...


def slots_of(running: int) -> int:
    """How many answers run together where so many may."""
    return min(max(running, LEAST_SLOTS), MOST_SLOTS)
