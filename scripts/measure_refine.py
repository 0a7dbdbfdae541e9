"""What refined corners are worth: overlap with the truth, with and without, on scenes never seen.

    python scripts/measure_refine.py --count 300 --seed 777

writes results/refine.json.
"""

from __future__ import annotations

import argparse
import json
import random
from pathlib import Path
from statistics import mean
from typing import Any

from kosmos2 import Kosmos2
from kosmos2.geometry import Box
from kosmos2.grounder import locating, tasks
from kosmos2.scenes import sentences
from kosmos2.scenes.draw import draw_scene
from kosmos2.scenes.layout import compose
from kosmos2.scenes.world import SHIPPED

RESULT = Path(__file__).parents[1] / "results" / "refine.json"
SIDE_PX = 448
RESAMPLES = 1000


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="demo")
    parser.add_argument("--count", type=int, default=300, help="scenes (%(default)s)")
    parser.add_argument("--seed", type=int, default=777, help="of the scenes (%(default)s)")
    arguments = parser.parse_args()
    model = Kosmos2.load(arguments.model)
    ways: dict[str, list[float]] = {"ground": [], "locate, cells": []}
    ways |= {f"locate, refined by {near}": [] for near in (1, 2, 3)}
    for index in range(arguments.count):
        scene = compose(arguments.seed, index, SHIPPED)
        plain = [
            (example.asked, example.truth[0])
            for example in sentences.find(scene)
            if len(example.truth) == 1 and example.asked.split()[0] in ("a", "an")
        ]
        if plain:
            _measure(model, model.see(draw_scene(scene, SIDE_PX)), plain, ways)
    cells, refined = ways["locate, cells"], ways["locate, refined by 1"]
    result = {
        "model": arguments.model,
        "seed": arguments.seed,
        "scenes": arguments.count,
        "phrases": len(cells),
        "ways": {name: _figures(overlaps) for name, overlaps in ways.items()},
        "gain": _gain(cells, refined),
    }
    RESULT.write_text(json.dumps(result, indent=2) + "\n")
    print(json.dumps(result, indent=2))


def _measure(
    model: Kosmos2, seen: Any, plain: list[tuple[str, Box]], ways: dict[str, list[float]]
) -> None:
    """Add the overlap of each phrase's best box, each way."""
    phrases = [phrase for phrase, _ in plain]
    answer = model.ground(seen, phrases)
    by_phrase = {entity.phrase: entity.boxes for entity in answer.entities}
    corners = model.runner.corners(tasks.ground(seen, phrases), tries=locating.TRIES)
    for (phrase, truth), each in zip(plain, corners, strict=True):
        boxes = by_phrase.get(phrase, ())
        ways["ground"].append(boxes[0].iou(truth) if boxes else 0.0)
        for near in (0, 1, 2, 3):
            locating.NEAR = near or locating.NEAR
            found = locating.located(phrase, each, best=1, refine=near > 0, overlap=0.5)
            name = f"locate, refined by {near}" if near else "locate, cells"
            ways[name].append(found.boxes[0].iou(truth))


def _figures(overlaps: list[float]) -> dict[str, float]:
    return {
        "mean_iou": round(mean(overlaps), 4),
        **{
            f"iou_{int(100 * least)}": round(mean(iou >= least for iou in overlaps), 4)
            for least in (0.5, 0.75, 0.9)
        },
    }


def _gain(before: list[float], after: list[float]) -> dict[str, Any]:
    """The difference of the means, with its 95 % interval from resampled phrases."""
    differences = [new - old for old, new in zip(before, after, strict=True)]
    dice = random.Random(0)
    means = sorted(mean(dice.choices(differences, k=len(differences))) for _ in range(RESAMPLES))
    low, high = means[RESAMPLES // 40], means[-RESAMPLES // 40]
    return {"mean_iou": round(mean(differences), 4), "interval": [round(low, 4), round(high, 4)]}


if __name__ == "__main__":
    main()
