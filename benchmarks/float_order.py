"""What float32 weights in oneDNN's own order would be worth: one layer, 2048 to 8192, many copies.

    python benchmarks/float_order.py [--json FILE]

The copies are more than any cache holds, so that every product reads its weights from memory, as a
decoder's step does. All numbers of rows are given the same copies, in the one order that
`kosmos2.model.packed` takes.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path

import torch
import torch.nn.functional as F

from kosmos2.model.packed import Reordered

INPUTS, OUTPUTS, COPIES = 2048, 8192, 24
ROWS = (1, 2, 4, 8, 16, 32, 71, 128)


def seconds(work: Callable[[], object], rounds: int = 3) -> float:
    """The quickest of a few, after one to warm up."""
    work()
    taken = []
    for _ in range(rounds):
        begun = time.perf_counter()
        work()
        taken.append(time.perf_counter() - begun)
    return min(taken)


def measured() -> list[dict[str, float]]:
    """For each number of rows: milliseconds a product, plain and reordered."""
    weights = [torch.randn(OUTPUTS, INPUTS) * 0.02 for _ in range(COPIES)]
    bias, found = torch.zeros(OUTPUTS), []
    packed = [Reordered(weight) for weight in weights]
    for rows in ROWS:
        x = torch.randn(rows, INPUTS)
        plain = seconds(lambda x=x: [F.linear(x, weight, bias) for weight in weights])
        reordered = seconds(lambda x=x: [weight.product(x, bias) for weight in packed])
        difference = F.linear(x, weights[0], bias) - packed[0].product(x, bias)
        found.append(
            {
                "rows": rows,
                "plain_ms": 1000 * plain / COPIES,
                "reordered_ms": 1000 * reordered / COPIES,
                "times": plain / reordered,
                "largest_difference": float(difference.abs().max()),
            }
        )
        print(found[-1], flush=True)
    return found


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path)
    wishes = parser.parse_args()
    figures = {"threads": torch.get_num_threads(), "torch": torch.__version__, "rows": measured()}
    if wishes.json:
        wishes.json.write_text(json.dumps(figures, indent=1) + "\n")
