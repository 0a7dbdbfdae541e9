"""The last few of something that is dear to make."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Any, Generic, TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class Recent(Generic[K, V]):
    """Makes and keeps; what is kept is not carried along to other processes."""

    def __init__(self, make: Callable[[K], V], most: int) -> None:
        self.make, self.most = make, most
        self.kept: OrderedDict[K, V] = OrderedDict()

    def __getitem__(self, key: K) -> V:
        if key in self.kept:
            self.kept.move_to_end(key)
        else:
            while len(self.kept) >= self.most:
                self.kept.popitem(last=False)
            self.kept[key] = self.make(key)
        return self.kept[key]

    def __getstate__(self) -> dict[str, Any]:
        return {"make": self.make, "most": self.most, "kept": OrderedDict()}
