"""Pictures of requests: where they come from, and how they are decoded without harm.

opening     Pictures: an address in, what the network looks at out
data_url    the bytes in a `data:` address
addresses   which https addresses and which machines may be asked
fetch       the one place that asks them
pool        worker processes that can be killed
worker      what such a process runs; it knows pictures, no server and no network
frames      what the two say to each other
decoded     a picture as numbers

Names are imported when first used: a worker process comes through this file too.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from kosmos2.serve.pictures.decoded import Decoded
    from kosmos2.serve.pictures.opening import Encoded, Pictures

_HOMES = {
    "Decoded": "kosmos2.serve.pictures.decoded",
    "Encoded": "kosmos2.serve.pictures.opening",
    "Pictures": "kosmos2.serve.pictures.opening",
}

__all__ = ["Decoded", "Encoded", "Pictures"]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
