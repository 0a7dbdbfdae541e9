"""Peak memory of LoRA fine-tuning at full size: 1.66 B weights held as int8, one row a step.

    python benchmarks/lora_memory.py [FOLDER] [--steps 3] [--to results/lora-memory.json]

The folder is that of `benchmarks/checkpoint.py`: memory does not depend on what weights say. Each
matrix is read and rounded before the next is read, so the network is never there in floats. Then
come steps as the trainer makes them: forward with dropout, backward with every block computed twice
(activation checkpointing), gradient clipping, AdamW.

What is counted is all of this process that is resident in memory at its worst moment: the
interpreter and its libraries, weights, gradients, optimiser, activations, and pages of mapped files
(the checkpoint's while it is read, the libraries' own). The system counts it (`ru_maxrss`); `when`
tells how much there was after each stage, private pages and those of files apart.
"""

from __future__ import annotations

import argparse
import json
import math
import resource
import time
from pathlib import Path
from typing import Any

import torch
from checkpoint import default_folder

from kosmos2.model import Network
from kosmos2.model.quantised import tensors
from kosmos2.train.again import compute_again
from kosmos2.train.lora import Lora, attach
from kosmos2.weights.load import load_network

GOAL_BYTES = 8 * 2**30
PICTURE_AT = 2  # <s> and <image> come before the latents


def resident() -> dict[str, int]:
    """Bytes of this process in memory now: its own, and those of mapped files."""
    lines = Path("/proc/self/status").read_text().splitlines()
    held = {line.split(":")[0]: line.split()[1] for line in lines if line.startswith("Rss")}
    return {
        "private_bytes": int(held["RssAnon"]) * 1024,
        "file_bytes": (int(held["RssFile"]) + int(held["RssShmem"])) * 1024,
    }


def peak() -> int:
    """The most bytes that were ever in memory at once."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024  # Linux counts in KiB


def row(network: Network, tokens: int, seed: int = 0) -> dict[str, torch.Tensor]:
    """A picture and words by lot; every word after the picture is to be learnt."""
    config, random = network.config, torch.Generator().manual_seed(seed)
    size, end = config.vision.image_size, PICTURE_AT + config.latents
    ids = torch.randint(4, 60_000, (1, tokens), generator=random)
    slots = torch.zeros_like(ids, dtype=torch.bool)
    slots[:, PICTURE_AT:end] = True
    labels = ids.masked_fill(torch.arange(tokens) <= end, -100)
    pixels = torch.randn(1, 3, size, size, generator=random)
    return {"ids": ids, "labels": labels, "slots": slots, "pixels": pixels}


def measure(folder: Path, settings: Lora, *, steps: int, tokens: int, half: bool) -> dict[str, Any]:
    """Load, attach, and learn the same row a few times; `half` multiplies floats in bfloat16."""
    when: dict[str, dict[str, int]] = {}

    def note(stage: str) -> None:
        when[stage] = {**resident(), "peak_bytes": peak()}

    torch.manual_seed(0)
    note("imported")
    began = time.perf_counter()
    network = load_network(folder, dtype=torch.float32, quantize=settings.base)
    note("loaded")
    compute_again(attach(network, settings).train())
    learns = [one for one in network.parameters() if one.requires_grad]
    optimiser = torch.optim.AdamW(learns, lr=2e-4, betas=(0.9, 0.98), fused=True)
    ready_s = time.perf_counter() - began
    note("attached")
    batch = row(network, tokens)
    losses, seconds = [], []
    for step in range(1, steps + 1):
        began = time.perf_counter()
        optimiser.zero_grad(set_to_none=True)
        with torch.autocast("cpu", torch.bfloat16, enabled=half):
            loss = network.loss(**batch)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(learns, 1.0)
        optimiser.step()
        seconds.append(time.perf_counter() - began)
        losses.append(float(loss.detach()))
        note(f"step {step}")
    most = peak()  # before anything is counted: that is no part of training
    sizes = [(name, math.prod(one.shape)) for name, one in tensors(network)]
    learnt = sum(size for name, size in sizes if ".lora_" in name)
    base = sum(size for name, size in sizes if not name.endswith("weight_size")) - learnt
    return {
        "peak_bytes": most,
        "goal_bytes": GOAL_BYTES,
        "within_goal": most <= GOAL_BYTES,
        "counted": "ru_maxrss of the whole process, loading included: private and mapped pages",
        "seconds_a_step": seconds,
        "ready_s": ready_s,
        "losses": losses,
        "row": {"pictures": 1, "tokens": tokens, "learnt": int((batch["labels"] >= 0).sum())},
        "lora": {"rank": settings.rank, "targets": settings.targets, "base": settings.base},
        "numbers_in_the_base": base,
        "numbers_that_learn": learnt,
        "checkpointing": True,
        "precision": "bfloat16" if half else "float32",
        "threads": torch.get_num_threads(),
        "versions": {"torch": torch.__version__},
        "when": when,
    }


def main() -> None:
    """Measure, print, and keep."""
    reader = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    reader.add_argument("folder", type=Path, nargs="?", default=default_folder())
    reader.add_argument("--steps", type=int, default=3)
    reader.add_argument("--tokens", type=int, default=256, help="of the row, latents included")
    reader.add_argument("--rank", type=int, default=16)
    reader.add_argument("--precision", choices=["float32", "bfloat16"], help="(what is quicker)")
    reader.add_argument("--to", type=Path, metavar="FILE", help="write the figures there too")
    wishes = reader.parse_args()
    settings = Lora(rank=wishes.rank, base="int8")
    half = wishes.precision == "bfloat16"
    if wishes.precision is None:  # as the trainer's "auto"
        half = torch.cpu._is_avx512_bf16_supported()
    figures = measure(wishes.folder, settings, steps=wishes.steps, tokens=wishes.tokens, half=half)
    text = json.dumps(figures, indent=1)
    print(text)
    if wishes.to:
        wishes.to.write_text(text + "\n")


if __name__ == "__main__":
    main()
