"""The other runtime for this processor. It is measured where it is installed, and only there."""

from __future__ import annotations

from importlib.util import find_spec

from peer import Unable
from workload import World


class Peer:
    """Says why it is not measured."""

    def __init__(self, folder: str, world: World, way: str) -> None:
        missing = [name for name in ("openvino", "nncf") if find_spec(name) is None]
        if missing:
            raise Unable(f"{' and '.join(missing)} not installed")
        raise Unable("openvino is installed, but its conversion of this model is not written yet")
