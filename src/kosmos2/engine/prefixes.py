"""See once, ask many: what the network made of a prompt's beginning, kept for the next to begin so.

Shapes: Y layers, H heads, P tokens of a beginning, W head width.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable

from jaxtyping import Float
from torch import Tensor

from kosmos2.errors import ConfigError

Beginning = Float[Tensor, "2 Y H P W"]  # keys, then values


class Prefixes:
    """Beginnings by name, the least lately used given up first; never more than `most_bytes`."""

    def __init__(self, most_bytes: int) -> None:
        if not isinstance(most_bytes, int) or isinstance(most_bytes, bool) or most_bytes < 0:
            raise ConfigError(f"prefix_bytes is {most_bytes!r}; give a whole number, 0 keeps none")
        self.most_bytes = most_bytes
        self.bytes = 0
        self.hits = 0
        self._kept: OrderedDict[Hashable, Tensor] = OrderedDict()

    def __len__(self) -> int:
        return len(self._kept)

    def __contains__(self, name: object) -> bool:
        return name in self._kept

    def get(self, name: Hashable) -> Beginning | None:
        """What was kept under a name."""
        found = self._kept.get(name)
        if found is not None:
            self.hits += 1
            self._kept.move_to_end(name)
        return found

    def put(self, name: Hashable, beginning: Beginning) -> bool:
        """Keep a beginning; whether it was: not one too large, nor one that holds no numbers."""
        if beginning.nbytes > self.most_bytes or not bool(beginning.isfinite().all()):
            return False
        self._forget(name)
        while self.bytes + beginning.nbytes > self.most_bytes:
            self._forget(next(iter(self._kept)))
        self._kept[name] = beginning
        self.bytes += beginning.nbytes
        return True

    def clear(self) -> None:
        """Forget all."""
        self._kept.clear()
        self.bytes = 0

    def _forget(self, name: Hashable) -> None:
        old = self._kept.pop(name, None)
        self.bytes -= 0 if old is None else old.nbytes
