"""Is our trainer faster than a plain loop around the reference's model, and does it train the same?

    python benchmarks/training.py [--quick] [--size tiny,tiny-lessons] [--out results/training.json]

Two sizes: the embedded model's, and two layers at the released model's full width and vocabulary.
Both sides begin with the same random weights and learn from the same batches with the same AdamW,
in float32, in turns: a step of one, then the same step of the other, each in a process of its own,
as a user would run it. Their losses are compared step by step. Exit code 1 if a goal is missed.

Each size learns from pairs, a caption with its boxes for each picture, as GRIT has them; and those
are also loaded alone, by one worker from shards of JPEGs, and compared with how fast the trainer
uses them up. The embedded model's size learns from lessons too, as that model did: phrases,
questions and captions, several about each picture. A sample is one of them. Ours looks once at a
picture for all its lessons; the reference's model takes a picture with every text.

Our trainer in bfloat16 is measured too, where the processor multiplies in it; where it does not,
such a product takes twenty times as long as one in float32.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch
import transformers
from torch.utils.data import DataLoader
from training_peers import away, network_of, recipe_of, train_ours
from training_rows import apart, lessons_of, prepared, write_shards

from kosmos2.config import Config
from kosmos2.data.rows import IGNORED, Row, Rows
from kosmos2.train.batches import Batches
from kosmos2.train.freed import keep_freed
from kosmos2.train.signals import unmoved
from kosmos2.weights.load import read_config

DEMO = Path(__file__).resolve().parents[1] / "src" / "kosmos2" / "assets" / "demo"
FASTER, LOADS_FASTER = 1.3, 5.0  # the goals
CLOSE, FIRST = 1e-4, 5  # relative difference of the losses of the first steps
NOISE = 1e-2  # and of all of them: rounding differences grow while both learn
KEPT = "reference, freed memory kept"
WARM_UP = 3  # steps that are not timed: memory is asked for, kernels are chosen


@dataclass(frozen=True, kw_only=True)
class Size:
    """A network, and how it is trained here."""

    config: Config
    rows: int  # a step
    steps: int  # that are timed
    quick_steps: int
    lessons: bool = False  # several a picture; pairs otherwise


def without_dropout(config: Config) -> Config:
    """Dropout would be drawn in another order on each side."""
    text = replace(config.text, dropout=0.0, attention_dropout=0.0, activation_dropout=0.0)
    return replace(config, text=text)


def sizes() -> dict[str, Size]:
    """Those that are measured."""
    full = Config()
    two = replace(full, text=replace(full.text, layers=2), vision=replace(full.vision, layers=2))
    tiny = without_dropout(read_config(DEMO))
    return {
        "tiny": Size(config=tiny, rows=16, steps=24, quick_steps=4),
        "tiny-lessons": Size(config=tiny, rows=4, steps=24, quick_steps=4, lessons=True),
        "full-width": Size(config=without_dropout(two), rows=4, steps=8, quick_steps=2),
    }


def compare(size: Size, rows: Sequence[Row], desk: Path, *, extra: int) -> dict[str, Any]:
    """Both in turns on the same batches; then as others might run them, `extra` steps."""
    network = network_of(size.config)
    each = [rows[first : first + size.rows] for first in range(0, len(rows), size.rows)]
    texts = [[one for row in step for one in apart(row)] for step in each]
    recipe = recipe_of(network, len(each), size.rows)
    ours: list[tuple[float, float]] = []
    theirs: list[tuple[float, float]] = []
    others: dict[str, Sequence[float]] = {}
    with away(size.config, texts) as other:

        def told(step: int, took: float, loss: float) -> None:
            ours.append((took, loss))
            theirs.append(other("step", step))

        train_ours(network, recipe, rows, desk / "float32", told)
        for change, name in (("keep_freed", KEPT), ("unfused", f"{KEPT}, AdamW not fused")):
            other(change)
            others[name] = [other("step", WARM_UP + step)[0] for step in range(extra)]
    half: list[float] = []
    if torch.ops.mkldnn._is_mkldnn_bf16_supported():
        some = rows[: (extra + WARM_UP) * size.rows]
        recipe = recipe_of(network, len(each), size.rows, "bfloat16")
        train_ours(network, recipe, some, desk / "bfloat16", lambda _, took, __: half.append(took))
    others["ours, bfloat16"] = half[WARM_UP:]
    return figures([len(step) for step in texts], ours, theirs, others) | {
        "rows_a_step": size.rows,
        "parameters": sum(one.numel() for one in network.parameters()),
        "tokens_in_a_row": statistics.mean(len(row.ids) for row in rows),
        "learnt_in_a_row": statistics.mean(int((row.labels != IGNORED).sum()) for row in rows),
        "samples_in_a_row": sum(map(len, texts)) / len(rows),
    }  # fmt: skip


def figures(
    samples: Sequence[int],
    ours: Sequence[tuple[float, float]],
    theirs: Sequence[tuple[float, float]],
    others: dict[str, Sequence[float]],
) -> dict[str, Any]:
    """From (seconds, loss) of every step of both to samples a second, their ratio, and curves.

    `samples` are those of each step; what the others took begins with the first that is timed.
    """
    took = [[seconds for seconds, _ in each[WARM_UP:]] for each in (ours, theirs)]
    losses = [[loss for _, loss in each] for each in (ours, theirs)]
    differ = [abs(one - other) / abs(other) for one, other in zip(*losses, strict=True)]
    ratios = [other / one for one, other in zip(*took, strict=True)]

    def rate(seconds: Sequence[float]) -> float:
        return statistics.median(n / one for n, one in zip(samples[WARM_UP:], seconds))

    return {
        "steps_timed": len(ratios),
        "samples_per_s": {
            "ours": rate(took[0]),
            "reference": rate(took[1]),
            **{name: rate(held) for name, held in others.items() if held},
        },
        "times_faster": {
            "median": statistics.median(ratios), "least": min(ratios), "most": max(ratios),
        },
        "losses": {
            "ours": losses[0], "reference": losses[1],
            "differ_first": max(differ[:FIRST]), "differ_most": max(differ),
        },
    }  # fmt: skip


def load(rows: Rows, each: int, count: int) -> float:
    """Rows a second that one worker makes, once it is at work."""
    data = Batches(rows, steps=count + 2, step_rows=each)
    loader = iter(
        DataLoader(data, batch_size=None, num_workers=1, prefetch_factor=2, worker_init_fn=unmoved)
    )
    for _ in range(2):
        next(loader)
    begun = time.perf_counter()
    # What waited ready at the beginning, others wait ready at the end.
    for _ in range(count):
        next(loader)
    return count * each / (time.perf_counter() - begun)


def goals(found: dict[str, Any]) -> list[dict[str, Any]]:
    """What was promised for each size, and whether it is so."""
    kept = []
    for name, size in found.items():
        times, losses = size["times_faster"]["median"], size["losses"]
        kept += [
            _goal(f"{name}: samples a second, times the reference", times, FASTER, least=True),
            _goal(f"{name}: first losses, difference", losses["differ_first"], CLOSE),
            _goal(f"{name}: all losses, difference", losses["differ_most"], NOISE),
        ]
        if "loading" in size:
            times = size["loading"]["times_used_up"]
            what = f"{name}: rows loaded, times those used up"
            kept.append(_goal(what, times, LOADS_FASTER, least=True))
    # The embedded model's sizes use up a row in milliseconds: told, not promised.
    return [one for one in kept if "tiny: rows loaded" not in one["what"]]


def _goal(what: str, value: float, limit: float, *, least: bool = False) -> dict[str, Any]:
    good = value >= limit if least else value <= limit
    return {"what": what, "found": value, "at_least" if least else "at_most": limit, "kept": good}


def measure(size: Size, steps: int, desk: Path) -> dict[str, Any]:
    """All figures of one size."""
    count = size.rows * (steps + WARM_UP)
    if size.lessons:
        drawn = lessons_of(size.config)
        return compare(size, [drawn[i] for i in range(count)], desk, extra=max(1, steps // 4))
    made = prepared(write_shards(desk / "shards", 4 * 32), size.config)
    found = compare(size, [made[i] for i in range(count)], desk, extra=max(1, steps // 4))
    loaded = load(made, each=8, count=16)
    used = found["samples_per_s"]["ours"]
    return found | {"loading": {"rows_per_s": loaded, "times_used_up": loaded / used}}


def main(words: Sequence[str] | None = None) -> int:
    """Measure, print, write; 1 if a goal is missed."""
    known = sizes()
    reader = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    reader.add_argument("--size", default=",".join(known), help="default: %(default)s")
    reader.add_argument("--quick", action="store_true", help="fewer steps")
    reader.add_argument("--out", type=Path, help="a file for the figures")
    wishes = reader.parse_args(words)
    keep_freed()  # as `kosmos2 train` does
    found: dict[str, Any] = {}
    for name in wishes.size.split(","):
        if name not in known:
            reader.error(f"there is no size {name!r}; there are {', '.join(known)}")
        size = known[name]
        with tempfile.TemporaryDirectory(prefix="kosmos2-training-") as desk:
            steps = size.quick_steps if wishes.quick else size.steps
            found[name] = measure(size, steps, Path(desk))
    kept = goals(found)
    text = json.dumps(
        {
            "made": datetime.now(UTC).isoformat(timespec="seconds"),
            "quick": wishes.quick,
            "threads": torch.get_num_threads(),
            "processor": torch.backends.cpu.get_cpu_capability(),
            "versions": {
                "python": platform.python_version(),
                "torch": torch.__version__,
                "transformers": transformers.__version__,
            },
            "goals": kept,
            "sizes": found,
        },
        indent=1,
    )
    print(text)
    if wishes.out:
        wishes.out.parent.mkdir(parents=True, exist_ok=True)
        wishes.out.write_text(text + "\n")
    return 0 if all(one["kept"] for one in kept) else 1


if __name__ == "__main__":
    sys.exit(main())
