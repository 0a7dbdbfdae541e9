"""What does each step of a caption that looks twice give, and what does it take?

    python scripts/measure_retelling.py --count 500 --beams 5

writes results/retelling.json: after each step, how many boxes were told, how many of them are
right, of how many things; precision, recall and F1 of these; how closely boxes lie on things; and
the seconds of the step. The seed is not that of training, nor that of the figures on the model's
card.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kosmos2 import Kosmos2, Options
from kosmos2.evaluate.scenes import HIT, SIDE_PX, matched
from kosmos2.grounder import Seen, retelling, tasks
from kosmos2.result import Grounded
from kosmos2.scenes.draw import draw_scene
from kosmos2.scenes.layout import Scene, compose
from kosmos2.scenes.world import SHIPPED

RESULT = Path(__file__).parents[1] / "results" / "retelling.json"


@dataclass(slots=True)
class Step:
    """What was counted after one step, over all scenes."""

    hits: int = 0
    told: int = 0
    there: int = 0
    overlap: float = 0.0  # of boxes that lie on something
    lying: int = 0  # such boxes
    seconds: float = 0.0

    def count(self, scene: Scene, answer: Grounded) -> None:
        """Compare one answer with what is there."""
        hits, told, there = matched(scene, answer)
        self.hits += hits
        self.told += told
        self.there += there
        for entity in answer.entities:
            for box in entity.boxes:
                best = max(box.iou(thing.box) for thing in scene.things)
                if best >= HIT:
                    self.overlap += best
                    self.lying += 1

    def figures(self, scenes: int) -> dict[str, Any]:
        """The counts and what follows from them."""
        return {
            "hits": self.hits,
            "told": self.told,
            "there": self.there,
            "precision": round(self.hits / self.told, 4),
            "recall": round(self.hits / self.there, 4),
            "f1": round(2 * self.hits / (self.told + self.there), 4),
            "mean_iou": round(self.overlap / self.lying, 4),
            "seconds_a_scene": round(self.seconds / scenes, 3),
        }


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="demo")
    parser.add_argument("--count", type=int, default=500, help="scenes (%(default)s)")
    parser.add_argument("--seed", type=int, default=31_337, help="of the scenes (%(default)s)")
    parser.add_argument("--beams", type=int, default=5, help="of captions (%(default)s)")
    arguments = parser.parse_args()
    model, options = Kosmos2.load(arguments.model), Options(beams=arguments.beams)
    steps: dict[str, Step] = {}
    for index in range(arguments.count):
        _tell(model, compose(arguments.seed, index, SHIPPED), options, steps)
    result = {
        "model": arguments.model,
        "seed": arguments.seed,
        "scenes": arguments.count,
        "beams": arguments.beams,
        "steps": {name: step.figures(arguments.count) for name, step in steps.items()},
    }
    RESULT.write_text(json.dumps(result, indent=2) + "\n")
    print(json.dumps(result, indent=2))


def _tell(model: Kosmos2, scene: Scene, options: Options, steps: dict[str, Step]) -> None:
    """One scene, step by step."""
    seen: Seen = model.see(draw_scene(scene, SIDE_PX))
    ask = tasks.caption(seen, detailed=True, grounded=True)
    ways: dict[str, Callable[[Any], Grounded]] = {
        "one look": lambda _: model.answer([ask], options)[0],
        "mended": lambda answer: retelling.mended(model, ask, answer, options),
        "once": retelling.once,
        "sharper": lambda answer: retelling.sharper(model, seen, answer),
        "with more": lambda answer: retelling.with_more(model, seen, answer),
    }
    answer: Any = None
    for name, way in ways.items():
        began = time.perf_counter()
        answer = way(answer)
        step = steps.setdefault(name, Step())
        step.seconds += time.perf_counter() - began
        step.count(scene, answer)


if __name__ == "__main__":
    main()
