"""The clock and the notebook of a benchmark that has only so much time on its machine."""

from __future__ import annotations

import json
import platform
import statistics
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from kosmos2.config import Config


@dataclass
class Bench:
    """What is measured, in order, while there is time."""

    device: torch.device
    config: Config
    tiny: bool
    budget_s: float
    out: Path
    begun: float = field(default_factory=time.perf_counter)
    found: dict[str, Any] = field(default_factory=dict)
    dropped: dict[str, str] = field(default_factory=dict)

    @property
    def left_s(self) -> float:
        return self.budget_s - (time.perf_counter() - self.begun)

    def case(self, name: str, about_s: float, measure: Callable[[], Any]) -> Any:
        """Measure one thing, if it fits; what goes wrong is noted, and the next one begins."""
        if not self.tiny and self.left_s < about_s:
            self.dropped[name] = f"{self.left_s:.0f} s were left, it takes about {about_s:.0f}"
            print(f"{name}: dropped, {self.dropped[name]}", flush=True)
            self.save()
            return None
        begun = time.perf_counter()
        try:
            value = measure()
        except Exception as error:  # noqa: BLE001 - the other cases count
            traceback.print_exc()
            self.dropped[name] = f"{type(error).__name__}: {error}"[:500]
            value = None
        else:
            self.found[name] = value
        took = time.perf_counter() - begun
        print(f"[{took:5.1f} s] {name}: {json.dumps(value)}", flush=True)
        self.save()
        return value

    def save(self) -> None:
        """What there is so far."""
        seconds = round(time.perf_counter() - self.begun, 1)
        whole = {"tiny": self.tiny, **self.found, "dropped": self.dropped, "seconds": seconds}
        self.out.mkdir(parents=True, exist_ok=True)
        (self.out / "gpu.json").write_text(json.dumps(whole, indent=1) + "\n")

    def wait(self) -> None:
        """Until the device is done."""
        if self.device.type == "cuda":
            torch.cuda.synchronize()

    def seconds(self, do: Callable[[], Any], times: int = 5, warm: int = 2) -> float:
        """The median of some runs."""
        for _ in range(warm):
            do()
        took = []
        for _ in range(times):
            self.wait()
            begun = time.perf_counter()
            do()
            self.wait()
            took.append(time.perf_counter() - begun)
        return statistics.median(took)


def machine(bench: Bench) -> dict[str, Any]:
    """What this runs on, and how fast its memory and its matrix products are."""
    cuda = bench.device.type == "cuda"
    size = 2**20 if bench.tiny else 2**30  # numbers of 4 bytes
    source = torch.ones(size, device=bench.device)
    target = torch.empty_like(source)
    copy_s = bench.seconds(lambda: target.copy_(source), times=10)
    read_s = bench.seconds(source.sum, times=10)
    del source, target
    side = 256 if bench.tiny else 8192
    a = torch.randn(side, side, device=bench.device, dtype=torch.bfloat16)
    product_s = bench.seconds(lambda: a @ a, times=10)
    return {
        "device": torch.cuda.get_device_name() if cuda else platform.processor() or "cpu",
        "torch": torch.__version__,
        "cuda": torch.version.cuda,
        "python": platform.python_version(),
        "copy_gb_s": 8 * size / copy_s / 1e9,
        "read_gb_s": 4 * size / read_s / 1e9,
        "bf16_tflops": 2 * side**3 / product_s / 1e12,
    }
