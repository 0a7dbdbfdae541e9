"""Cold start: from the start of a process to its first answer, and the most memory it ever took."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from cases import Bench
from figures import Sample, agreement, summary
from process import Process, Skipped

ROOT = Path(__file__).resolve().parents[1]
DEMO = ROOT / "src/kosmos2/assets/demo"
PICTURE = ROOT / "src/kosmos2/assets/examples/snowman.jpg"
SCRIPT = Path(__file__).with_name("caption_transformers.py")


def embedded(bench: Bench, reference: str, rounds: int) -> dict[str, Any]:
    """The small model in the package: one command captions one picture."""
    commands = {
        reference: [sys.executable, str(SCRIPT), str(DEMO), str(PICTURE)],
        "kosmos2-fp32": [sys.executable, "-m", "kosmos2", "caption", str(PICTURE), "--json"],
    }
    samples: dict[str, list[Sample]] = {}
    boxes: dict[str, Any] = {}
    for _ in range(rounds):
        for name, command in commands.items():
            seconds, peak, said = _command(command)
            boxes[name] = _boxes(json.loads(said)["entities"])
            sample = {"seconds": seconds, "peak_bytes": float(peak)}
            samples.setdefault(name, []).append(sample)
            bench.tell(f"{name}: seconds {seconds:.3f}, peak_bytes {peak:.4g}")
    return {
        "rounds": rounds,
        "peers": summary(samples, reference),
        "skipped": {},
        "same_boxes": boxes[reference] == boxes["kosmos2-fp32"],
    }


def full(
    bench: Bench, folders: dict[str, Path], log: Path, reference: str, rounds: int
) -> dict[str, Any]:
    """The large one: load, look, read a prompt, write 8 tokens; its file is in the page cache."""
    for folder in set(folders.values()):
        for file in folder.glob("*.safetensors"):
            _warm(file)
    asks = bench.world.captions(1, 8)
    samples: dict[str, list[Sample]] = {}
    tokens: dict[str, list[list[int]]] = {}
    skipped = {}
    for _ in range(rounds):
        for name, folder in folders.items():
            begun = time.perf_counter()
            try:
                with Process(name, folder, log=log) as process:
                    came = process.ask("captions", asks=asks, batch=1)
                    seconds = time.perf_counter() - begun
                    peak = process.ask("memory")["peak_rss"]
            except Skipped as reason:
                skipped[name] = str(reason)
                continue
            sample = {"seconds": seconds, "peak_bytes": float(peak)}
            tokens[name] = came["tokens"]
            if name != reference and reference in tokens:
                sample["same_tokens"] = agreement(tokens[name], tokens[reference])
            samples.setdefault(name, []).append(sample)
            bench.tell(f"{name}: seconds {seconds:.2f}, peak_bytes {peak:.4g}")
    return {"rounds": rounds, "peers": summary(samples, reference), "skipped": skipped}


def _warm(file: Path) -> None:
    """Read it once."""
    with file.open("rb") as data:
        while data.read(2**24):
            continue


def _boxes(entities: list[Any]) -> list[Any]:
    """Of both sides: the reference has them in a tuple, ours in a table with scores."""
    return [
        [one["box"] for one in entity["boxes"]] if isinstance(entity, dict) else entity[2]
        for entity in entities
    ]


def _command(command: list[str]) -> tuple[float, int, str]:
    """Seconds, peak bytes and output of a command that ends by itself."""
    begun = time.perf_counter()
    child = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=os.environ | {"HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"},
    )
    try:
        assert child.stdout is not None
        said = child.stdout.read().decode()
        _, status, usage = os.wait4(child.pid, 0)
        child.returncode = os.waitstatus_to_exitcode(status)
    except BaseException:
        child.kill()
        child.wait()
        raise
    if child.returncode:
        raise RuntimeError(f"{' '.join(command)} ended with {child.returncode}; run it by hand")
    return time.perf_counter() - begun, usage.ru_maxrss * 1024, said
