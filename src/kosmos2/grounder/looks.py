"""See once, ask many: what the network made of pictures, kept while there is room.

Shapes: L latents, D text width.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Hashable

import torch
from jaxtyping import Float
from torch import Tensor

from kosmos2.model import Network

MOST_BYTES = 64 * 2**20  # 128 pictures at full size


class Looks:
    """Latents by name, the least lately used given up first; never more than `most_bytes`."""

    def __init__(self, most_bytes: int = MOST_BYTES) -> None:
        self.most_bytes = most_bytes
        self.bytes = 0
        self._kept: OrderedDict[Hashable, Tensor] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, name: Hashable) -> Float[Tensor, "L D"] | None:
        """What was kept under a name."""
        with self._lock:
            if name in self._kept:
                self._kept.move_to_end(name)
            return self._kept.get(name)

    def put(self, name: Hashable, latents: Float[Tensor, "L D"]) -> None:
        """Keep what a picture became, unless it alone is too large, or holds no numbers."""
        if latents.nbytes > self.most_bytes or not bool(latents.isfinite().all()):
            return
        with self._lock:
            if (old := self._kept.pop(name, None)) is not None:
                self.bytes -= old.nbytes
            while self.bytes + latents.nbytes > self.most_bytes:
                self.bytes -= self._kept.popitem(last=False)[1].nbytes
            self._kept[name] = latents
            self.bytes += latents.nbytes


def weights_of(network: Network) -> Hashable:
    """Another value whenever the weights are others: training goes on, a state is loaded.

    What was made with old weights must not be taken for the answer of the new ones.
    """
    tensors = (*network.parameters(), *network.buffers())
    return hash(
        tuple(
            (tensor.data_ptr(), 0 if tensor.is_inference() else tensor._version)
            for tensor in tensors
        )
    )


def kind_of(network: Network) -> tuple[torch.device, torch.dtype]:
    """Where the network is and what it computes in: the memory of an engine is made for both."""
    return network.device, network.dtype
