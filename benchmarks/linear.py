"""One layer, all the ways that torch has to compute it in fewer bits, side by side.

    python benchmarks/linear.py [--threads 1 2] [--rows 1 4 16 64 331] [--json FILE]

`Int8Linear` and `Int4Linear` use those that won: this is where the choice comes from, and where to
look again on another processor. Every way has so many copies of its weights that they cannot stay
in the processor's cache, as in a network. A figure is the least of several short runs, in turns, so
that whatever else the machine does is not taken for the way's own slowness.
"""

from __future__ import annotations

import argparse
import json
import platform
import time
import warnings
from collections.abc import Callable
from functools import partial
from itertools import product
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from kosmos2.model.quantised import Int4Linear, Int8Linear, kernels, numbers

SIZES = [(2048, 2048), (2048, 8192), (8192, 2048), (1024, 4096), (2048, 65037)]
OUT_OF_CACHE = 100_000_000  # bytes
Way = Callable[[Tensor], Tensor]


def fp32(weight: Tensor) -> Way:
    """As it is."""
    return lambda x: F.linear(x, weight)


def bf16(weight: Tensor) -> Way:
    """Half the bytes, and no thought."""
    half = weight.bfloat16()
    return lambda x: F.linear(x.bfloat16(), half).float()


def int8(weight: Tensor) -> Way:
    """Ours: `onednn.qlinear_pointwise`, a scale for each row of activations."""
    return _layer(Int8Linear(weight.shape[1], len(weight), bias=False), weight)


def int8_int_mm(weight: Tensor) -> Way:
    """The same sums by `_int_mm`, of weights that are not packed."""
    whole, size = numbers.to_int8(weight)

    def way(x: Tensor) -> Tensor:
        rows, scale = numbers.to_bytes(x)
        return kernels._by_int_mm(rows, whole).mul_(size).mul_(scale)

    return way


def int8_dynamic(weight: Tensor) -> Way:
    """`quantized.linear_dynamic`: one scale for all rows, and deprecated types."""
    whole, size = numbers.to_int8(weight)
    zeros = torch.zeros(len(weight), dtype=torch.long)
    typed = torch._make_per_channel_quantized_tensor(whole, size.double(), zeros, 0)
    packed = torch.ops.quantized.linear_prepack(typed, None)
    return lambda x: torch.ops.quantized.linear_dynamic(x, packed, False)


def int8_weight_only(weight: Tensor) -> Way:
    """`_weight_int8pack_mm`, activations in bfloat16."""
    whole, size = numbers.to_int8(weight)
    return lambda x: torch._weight_int8pack_mm(x.bfloat16(), whole, size.bfloat16()).float()


def int4(weight: Tensor, group: int) -> Way:
    """Ours: the kernel for few rows, int8 first for many."""
    return _layer(Int4Linear(weight.shape[1], len(weight), bias=False, group=group), weight)


def int4_kernel(weight: Tensor, group: int) -> Way:
    """`_weight_int4pack_mm_for_cpu` alone, whatever the number of rows."""
    packed, grid, size = numbers.to_int4(weight, group)
    here = kernels.Ordered(packed, kernels.block_here() or numbers.BLOCK).weights

    def way(x: Tensor) -> Tensor:
        rows, scale = numbers.to_bytes(x)
        return kernels._by_int4pack(rows, here, grid).mul_(size).mul_(scale)

    return way


WAYS: dict[str, Callable[[Tensor], Way]] = {
    "fp32": fp32,
    "bf16": bf16,
    "int8": int8,
    "int8 _int_mm": int8_int_mm,
    "int8 linear_dynamic": int8_dynamic,
    "int8 weight only": int8_weight_only,
    "int4 32": partial(int4, group=32),
    "int4 128": partial(int4, group=128),
    "int4 32 kernel": partial(int4_kernel, group=32),
}
BITS = {"fp32": 32, "bf16": 16}


def _layer(layer: Int8Linear | Int4Linear, weight: Tensor) -> Way:
    layer.fill(weight)
    layer.settle()
    return layer.eval()


def measure(size: tuple[int, int], rows: list[int], turns: int) -> list[dict[str, object]]:
    """Every way at one size."""
    inputs, outputs = size
    weight = torch.randn(outputs, inputs, generator=torch.Generator().manual_seed(0)) * 0.02
    ways: dict[str, list[Way]] = {}
    for name, make in WAYS.items():
        if name.startswith("int4") and not Int4Linear.suits(inputs, outputs):
            continue
        own = weight.numel() * BITS.get(name, int(name[3]) if name.startswith("int") else 8) // 8
        ways[name] = [make(weight.clone()) for _ in range(1 + OUT_OF_CACHE // own)]
    found: list[dict[str, object]] = []
    for count in rows:
        x = torch.randn(count, inputs, generator=torch.Generator().manual_seed(count))
        exact = F.linear(x, weight)
        best = dict.fromkeys(ways, float("inf"))
        for _ in range(turns):
            for name, copies in ways.items():
                begun = time.perf_counter()
                for way in copies:
                    way(x)
                best[name] = min(best[name], (time.perf_counter() - begun) / len(copies))
        for name, seconds in best.items():
            error = (ways[name][0](x) - exact).norm() / exact.norm()
            found.append(
                {
                    "way": name,
                    "inputs": inputs,
                    "outputs": outputs,
                    "rows": count,
                    "threads": torch.get_num_threads(),
                    "milliseconds": round(seconds * 1e3, 4),
                    "times_as_fast": round(best["fp32"] / seconds, 2),
                    "relative_error": round(float(error), 5),
                }
            )
    return found


def main() -> None:
    """Measure, print a table for each size, write the figures."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--rows", type=int, nargs="+", default=[1, 4, 16, 64, 331])
    parser.add_argument("--turns", type=int, default=7)
    parser.add_argument("--json", type=Path, metavar="FILE")
    arguments = parser.parse_args()
    warnings.filterwarnings("ignore", message=".*quantiz.*")  # the deprecated types' own
    able = torch.cpu.get_capabilities()
    figures: list[dict[str, object]] = []
    report = {
        "processor": able.get("cpu_name", platform.machine()),
        "avx512_vnni": able.get("avx512_vnni"),
        "torch": torch.__version__,
        "figures": figures,
    }
    for threads, size in product(arguments.threads, SIZES):
        torch.set_num_threads(threads)
        with torch.inference_mode():
            found = measure(size, arguments.rows, arguments.turns)
        figures += found
        print(f"{size[0]} -> {size[1]}, {threads} threads: times as fast as fp32 (ms)")
        for name in dict.fromkeys(str(one["way"]) for one in found):
            own = [one for one in found if one["way"] == name]
            cells = (f"{o['times_as_fast']:6.2f} ({o['milliseconds']:8.3f})" for o in own)
            print(f"  {name:20}", *cells, f" error {own[0]['relative_error']:.4f}", flush=True)
        if arguments.json:  # after each size: it takes some minutes, and half of it is of use too
            arguments.json.parent.mkdir(parents=True, exist_ok=True)
            arguments.json.write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
