"""One peer in a process of its own: loads its model once, then does what it is told.

    python benchmarks/peer.py NAME FOLDER

Orders come as lines of JSON, `{"do": "decode", "with": {...}}`; each is answered by one line:
`{"done": ...}`, `{"unable": why}` or `{"failed": error}`. The first line, without an order, says
that the model is loaded. The process ends when its orders end, or when its driver does.
"""

from __future__ import annotations

import ctypes
import json
import os
import signal
import sys
import time
import traceback
from pathlib import Path
from typing import Any

from workload import Ask, World

DIES_WITH_PARENT = 1  # PR_SET_PDEATHSIG


class Unable(Exception):
    """What a peer cannot do here, and why."""


def make(name: str, folder: str) -> Any:
    """Import and load one; imports are part of what it costs to start."""
    library, _, way = name.partition("-")
    if library == "transformers":
        from peer_transformers import Peer
    elif library == "kosmos2":
        from peer_kosmos2 import Peer
    elif library == "openvino":
        from peer_openvino import Peer
    elif library == "machine":
        from peer_machine import Peer
    else:
        raise Unable(f"there is no peer {name!r}")
    return Peer(folder, World.of(folder), way)


def memory() -> dict[str, int]:
    """Bytes of this process: the most that were ever there, and what is there now."""
    lines = Path("/proc/self/status").read_text().splitlines()
    sizes = {line.split(":")[0]: line.split()[1] for line in lines if line.endswith(" kB")}
    return {
        word: int(sizes[name]) * 1024
        for word, name in (("peak_rss", "VmHWM"), ("rss", "VmRSS"), ("anonymous", "RssAnon"))
    }


def obey(peer: Any, order: dict[str, Any]) -> dict[str, Any]:
    """Do one thing, and say what came of it."""
    words = dict(order.get("with", {}))
    if "asks" in words:
        words["asks"] = [Ask.of(values) for values in words["asks"]]
    try:
        if order["do"] == "memory":
            return {"done": memory()}
        return {"done": getattr(peer, order["do"])(**words)}
    except Unable as error:
        return {"unable": str(error)}
    except Exception as error:  # noqa: BLE001 - the driver is told
        return failed(error)


def failed(error: Exception) -> dict[str, str]:
    """What went wrong in a line, and the whole story."""
    said = str(error).strip().splitlines() or [""]
    return {"failed": f"{type(error).__name__}: {said[0]}", "traceback": traceback.format_exc()}


def main() -> None:
    """Load, then obey until there are no more orders."""
    name, folder = sys.argv[1:]
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # what libraries print is no answer
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(DIES_WITH_PARENT, signal.SIGKILL)
    begun = time.perf_counter()
    try:
        peer = make(name, folder)
        first = {"done": {**peer.facts(), "load_s": time.perf_counter() - begun, **memory()}}
    except (Unable, ImportError) as error:
        first, peer = {"unable": str(error)}, None
    except Exception as error:  # noqa: BLE001 - the driver is told
        first, peer = failed(error), None
    print(json.dumps(first), file=answers)
    for line in sys.stdin if peer else ():
        print(json.dumps(obey(peer, json.loads(line))), file=answers)


if __name__ == "__main__":
    main()
