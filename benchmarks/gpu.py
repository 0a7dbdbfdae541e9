"""Every figure of the GPU in one command of at most 8 minutes: what is right, then what is fast.

    PYTHONPATH=src python benchmarks/gpu.py               # on a GPU; writes results/gpu.json
    PYTHONPATH=src python benchmarks/gpu.py --few-bits    # also with int8 and int4 weights
    PYTHONPATH=src python benchmarks/gpu.py --tiny        # anywhere, in seconds: does it run

The network has the released sizes and random weights, made on the device from a seed. Nothing is
downloaded. `--budget` seconds are kept: cases that no longer fit are named under `dropped`. The
file is written anew after each case, so that what was measured is there whatever happens.

    gpu_work.py     what is asked          gpu_right.py     whether the answers are right
    gpu_bench.py    clock and notebook     gpu_steps.py     how long a step takes
    gpu_peer.py     the other library      gpu_answers.py   how long whole answers take
"""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from few_bits import PACKS
from gpu_answers import all_captions, first_token, phrases
from gpu_bench import Bench, machine
from gpu_peer import their_cases
from gpu_right import right
from gpu_steps import Decoding, bare_steps, profile
from gpu_work import CAPTIONS, Work, full_size_or_tiny, made

HERE = Path(__file__).resolve().parent


def measure(bench: Bench, *, fuse: bool, few_bits: bool, peer: bool) -> None:
    """Everything, in this order."""
    about = bench.case("machine", 0, lambda: machine(bench)) or {}
    gb_s = max(about.get("copy_gb_s", 1.0), about.get("read_gb_s", 1.0))
    config = bench.config
    work = Work(config, 4 if bench.tiny else CAPTIONS)
    network = made(config, bench.device)
    bench.case("right_fp32", 60, lambda: right(bench, network, work, "float32"))
    network.to(torch.bfloat16)
    bench.case("right_bf16", 60, lambda: right(bench, network, work, "bfloat16"))
    batches = (1, 2) if bench.tiny else (1, 4, 16, 64)
    decoding = Decoding(bench, network, work)
    bench.case("first_token_s", 10, lambda: first_token(bench, network, work))
    for rows in batches:
        bench.case(f"decode_{rows}", 15, lambda rows=rows: decoding.figures(rows, gb_s))
    bench.case("bare_steps", 20, lambda: bare_steps(bench, network, gb_s))
    theirs = None
    if peer:
        theirs = their_cases(bench, network, work)
    if theirs is not None:
        with_it = theirs
        bench.case("peer_agreement", 15, lambda: with_it.agreement(network))
        bench.case("peer_first_token_s", 10, with_it.first_token)
        for rows in batches:
            bench.case(f"peer_decode_{rows}_s", 10, lambda rows=rows: with_it.step_s(rows))
    bench.case("phrases", 10, lambda: phrases(bench, network, work))
    if theirs is not None:
        bench.case("peer_phrases", 20, theirs.phrases)
    bench.case("captions", 40, lambda: all_captions(bench, network, work))
    if theirs is not None:
        bench.case("peer_captions", 30, theirs.captions)
    bench.case("profile", 15, lambda: profile(bench, network))
    if fuse:
        fused = Decoding(bench, network, work, fuse=True)
        bench.case("fused_decode_1", 60, lambda: fused.figures(1, gb_s))
        bench.case("fused_decode_16", 40, lambda: fused.figures(16, gb_s))
    if few_bits:
        for name, pack in PACKS.items():
            steps = lambda pack=pack: bare_steps(bench, network, gb_s, pack=pack)  # noqa: E731
            bench.case(f"bare_steps_{name}", 30, steps)
    bench.case("ratios", 0, lambda: dict(ratios(bench.found)))


def ratios(found: dict[str, Any]) -> Iterator[tuple[str, float]]:
    """How many times as fast as the peer, of what both were measured at."""
    if found.get("first_token_s") and found.get("peer_first_token_s"):
        yield "first_token", found["peer_first_token_s"] / found["first_token_s"]
    for name in [name for name in found if "decode_" in name and not name.startswith("peer")]:
        theirs = found.get(f"peer_{name.removeprefix('fused_')}_s")
        if theirs and found[name]:
            yield name, theirs * 1e3 / found[name]["ms_a_step"]
    if found.get("phrases") and found.get("peer_phrases"):
        yield "phrases", found["peer_phrases"]["seconds"] / found["phrases"]["seconds"]
    if found.get("captions") and found.get("peer_captions"):
        yield "captions", found["captions"]["pictures_s"] / found["peer_captions"]["pictures_s"]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=HERE.parent / "results")
    parser.add_argument("--budget", type=float, default=450, help="seconds")
    parser.add_argument("--tiny", action="store_true", help="small sizes, on any machine")
    parser.add_argument("--no-fuse", action="store_true", help="without what torch.compile makes")
    parser.add_argument("--few-bits", action="store_true", help="also int8 and int4 weights")
    parser.add_argument("--no-peer", action="store_true", help="without the other library")
    asked = parser.parse_args()
    logging.basicConfig(level=logging.WARNING)
    if not torch.cuda.is_available() and not asked.tiny:
        print("there is no GPU here; --tiny runs anywhere, to see that it does", file=sys.stderr)
        return 2
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    bench = Bench(device, full_size_or_tiny(asked.tiny), asked.tiny, asked.budget, asked.out)
    measure(
        bench,
        fuse=not (asked.no_fuse or asked.tiny),
        few_bits=asked.few_bits,
        peer=not asked.no_peer,
    )
    print(f"{bench.left_s:.0f} s of the budget are left; {bench.out / 'gpu.json'}")
    broken = [name for name, why in bench.dropped.items() if "were left" not in why]
    return 1 if broken and broken != ["peer"] else 0


if __name__ == "__main__":
    sys.exit(main())
