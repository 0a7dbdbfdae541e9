"""What the machine can do at most, measured between the others: reading memory, multiplying."""

from __future__ import annotations

import os
import platform
import time
from pathlib import Path
from typing import Any

import torch
from workload import World

NUMBERS = 3 * 2**27  # 1.5 GiB of float32: no cache holds any of it from one pass to the next
SIDE = 2048
FLAGS = ("avx2", "avx512f", "avx512_vnni", "avx_vnni", "avx512_bf16", "amx_int8", "amx_bf16")


class Peer:
    """No model at all."""

    def __init__(self, folder: str, world: World, way: str) -> None:
        """Nothing is kept; memory is taken only while it is measured."""

    def facts(self) -> dict[str, Any]:
        """What is known without measuring."""
        processor = Path("/proc/cpuinfo").read_text() if Path("/proc/cpuinfo").is_file() else ""
        said = dict(
            (part.strip() for part in line.split(":", 1))
            for line in processor.splitlines()
            if ":" in line
        )
        flags = said.get("flags", "").split()
        return {
            "cores": os.cpu_count(),
            "threads": torch.get_num_threads(),
            "processor": said.get("model name", platform.processor()),
            "cache": said.get("cache size", ""),
            "flags": [flag for flag in FLAGS if flag in flags],
            "memory_bytes": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
            "system": platform.platform(),
            "python": platform.python_version(),
            "torch": torch.__version__,
        }

    def read(self, passes: int = 5) -> dict[str, float]:
        """Bytes a second: a plain sum and a product with a vector, the faster of the two."""
        matrix = torch.ones(NUMBERS // SIDE, SIDE)
        vector = torch.ones(SIDE)
        fastest = min(
            _seconds(work) for _ in range(passes) for work in (matrix.sum, lambda: matrix @ vector)
        )
        return {"bytes_a_second": matrix.nbytes / fastest}

    def multiply(self, passes: int = 5) -> dict[str, float]:
        """Operations a second of a large product in float32."""
        one, other = torch.ones(SIDE, SIDE), torch.ones(SIDE, SIDE)
        fastest = min(_seconds(lambda: one @ other) for _ in range(passes))
        return {"operations_a_second": 2.0 * SIDE**3 / fastest}


def _seconds(work: Any) -> float:
    begun = time.perf_counter()
    work()
    return time.perf_counter() - begun
