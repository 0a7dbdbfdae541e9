"""How long a step takes: through the engine, alone, and kernel by kernel."""

from __future__ import annotations

import itertools
import statistics
import time
from typing import Any

import torch
from gpu_bench import Bench
from gpu_work import PAD, Work

from kosmos2.engine import Engine
from kosmos2.engine.slots import Slots
from kosmos2.engine.static import Static, rounded_length
from kosmos2.model import Network


class Decoding:
    """Answers being written together: when each step was done."""

    def __init__(self, bench: Bench, network: Network, work: Work, *, fuse: bool = False) -> None:
        self.bench, self.network, self.work, self.fuse = bench, network, work, fuse
        self.token_bytes = 0

    def step_s(self, rows: int) -> float:
        """Seconds a step, of so many answers at once, through the whole engine."""
        new = 8 if self.bench.tiny else 96
        with torch.no_grad():
            latents = self.network.look(self.work.pixels[:1].to(self.bench.device))
        asked = [self.work.request(self.work.ids(4, n), latents, new) for n in range(rows)]
        with Engine(
            self.network, slots=rows, static=True, fuse=self.fuse, background=False
        ) as engine:
            engine.run(asked)  # records what is to be recorded
            gaps = []
            for _ in range(3):
                times: list[float] = []
                tickets = [
                    engine.submit(
                        request, on_token=lambda _, times=times: times.append(time.perf_counter())
                    )
                    for request in asked
                ]
                for ticket in tickets:
                    ticket.result()
                steps = times[rows - 1 :: rows]
                gaps += [b - a for a, b in itertools.pairwise(steps)]
        return statistics.median(gaps)

    def figures(self, rows: int, gb_s: float) -> dict[str, float]:
        """The same, and what part of the time the memory needs at least."""
        seconds = self.step_s(rows)
        return {"ms_a_step": seconds * 1e3, "tokens_s": rows / seconds} | share(
            self.bench, self.network, rows, seconds, gb_s
        )


def share(
    bench: Bench,
    network: Network,
    rows: int,
    seconds: float,
    gb_s: float,
    bytes_: int | None = None,
) -> dict[str, float]:
    """Bytes that a step has to read, and the time for them as a share of what it took."""
    text = network.config.text
    seen = network.config.latents + 8 + (4 if bench.tiny else 48)  # half way through the answer
    weights = decoder_bytes(network) if bytes_ is None else bytes_
    heard = rows * seen * 2 * text.layers * text.width * network.dtype.itemsize
    least_s = (weights + heard) / gb_s / 1e9
    return {"limit_ms": least_s * 1e3, "share_of_limit": least_s / seconds}


def decoder_bytes(network: Network) -> int:
    """The blocks and the words: each step reads all of them."""
    return sum(p.nbytes for p in network.decoder.parameters())


def bare_steps(
    bench: Bench, network: Network, gb_s: float, *, pack: Any = None, fuse: bool = False
) -> dict[str, Any]:
    """The recorded step alone, again and again: what the engine around it adds is not in it."""
    found = {}
    for rows in (1, 2) if bench.tiny else (1, 2, 4, 8, 16, 32, 64):
        memory = Slots(network.config.text, rows, device=bench.device, dtype=network.dtype, spare=1)
        memory.reserve(rows - 1, 100 if bench.tiny else 256)
        static = Static(network, memory, pack=pack, fuse=fuse)
        length = rounded_length(96, memory.capacity)
        static._told[:rows] = torch.tensor([7, 92, 90, 0] + [PAD] * (static._told.shape[1] - 4))
        times = 3 if bench.tiny else 50
        # Many at once: the host only waits at the end.
        run = lambda: [static.run(rows, length, range(0)) for _ in range(times)]  # noqa: B023, E731
        seconds = bench.seconds(run, times=3, warm=1) / times
        found[str(rows)] = {"ms": seconds * 1e3, "recorded": static.recorded} | share(
            bench, network, rows, seconds, gb_s, static.step.step_bytes
        )
        del static, memory
    return found


def profile(bench: Bench, network: Network) -> list[dict[str, Any]]:
    """Where the time of a step at batch 1 goes: kernels, the longest first."""
    from torch.profiler import ProfilerActivity
    from torch.profiler import profile as watched

    cuda = bench.device.type == "cuda"
    memory = Slots(network.config.text, 1, device=bench.device, dtype=network.dtype, spare=1)
    memory.reserve(0, 100)
    static = Static(network, memory)
    static._told[:] = torch.tensor([7, 92, 90, 0] + [PAD] * (static._told.shape[1] - 4))
    for _ in range(3):
        static.run(1, 128, range(0))
    bench.wait()
    steps = 2 if bench.tiny else 20
    kinds = [ProfilerActivity.CUDA] if cuda else [ProfilerActivity.CPU]
    with watched(activities=kinds) as seen:
        for _ in range(steps):
            static.run(1, 128, range(0))
        bench.wait()
    spent = "self_device_time_total" if cuda else "self_cpu_time_total"
    rows = sorted(seen.key_averages(), key=lambda row: -getattr(row, spent))
    return [
        {
            "kernel": row.key[:120],
            "us_a_step": getattr(row, spent) / steps,
            "calls_a_step": row.count / steps,
        }
        for row in rows[:20]
    ]
