"""From which presence on should a model point? What is found, and what is found that is not there.

    python scripts/measure_presence.py --count 500 --seed 31337

writes results/presence.json: for each least presence (`min_presence`), the share of plain phrases
that get the right box and the share of absent things that get one; and the same where the model
chooses. The seed is neither that of training nor that of the figures on the model's card.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from kosmos2 import Kosmos2
from kosmos2.evaluate.scenes import HIT, SIDE_PX
from kosmos2.result import Grounded
from kosmos2.scenes import sentences
from kosmos2.scenes.choosing import some
from kosmos2.scenes.draw import draw_scene
from kosmos2.scenes.layout import Scene, compose
from kosmos2.scenes.sentences import Example
from kosmos2.scenes.world import SHIPPED

RESULT = Path(__file__).parents[1] / "results" / "presence.json"
ABSENT = 3  # things that are not there, a scene
LEAST = (0.0, 0.01, 0.02, 0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.4, 0.5, 0.7, 0.9)


@dataclass(frozen=True, slots=True)
class Asked:
    """One phrase: how surely it is there, and what came of asking for it."""

    there: bool
    presence: float
    right: bool  # the box that it gets at any price
    chosen: bool | None  # the box that the model chose to give was right; None if it gave none


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="demo")
    parser.add_argument("--count", type=int, default=500, help="scenes (%(default)s)")
    parser.add_argument("--seed", type=int, default=31_337, help="of the scenes (%(default)s)")
    arguments = parser.parse_args()
    model = Kosmos2.load(arguments.model)
    model = Kosmos2(model.network, model.tokenizer, no_repeat_ngram_size=model.no_repeat_ngram_size)
    asked: list[Asked] = []
    for index in range(arguments.count):
        asked += _ask(model, compose(arguments.seed, index, SHIPPED))
    result = {
        "model": arguments.model,
        "seed": arguments.seed,
        "scenes": arguments.count,
        "there": sum(one.there for one in asked),
        "absent": sum(not one.there for one in asked),
        "chosen": _shares(
            [(one.there, one.chosen is not None, one.chosen is True) for one in asked]
        ),
        "least": {
            str(least): _shares([(one.there, one.presence >= least, one.right) for one in asked])
            for least in LEAST
        },
    }
    RESULT.write_text(json.dumps(result, indent=2) + "\n")
    print(json.dumps(result, indent=2))


def _ask(model: Kosmos2, scene: Scene) -> list[Asked]:
    """Its single things, and a few that it has not."""
    rng = np.random.default_rng([scene.seed, scene.index, 3])
    single = [each for each in sentences.find(scene) if len(each.truth) == 1]
    with_article = [each for each in single if _with_article(each)]
    absent = some(rng, filter(_with_article, sentences.absent(scene)), ABSENT)
    examples = with_article + absent
    if not examples:
        return []
    phrases = [each.asked for each in examples]
    seen = model.see(draw_scene(scene, SIDE_PX))
    forced = model.ground(seen, phrases, min_presence=0.0)
    chosen = model.ground(seen, phrases)
    places = model.locate(seen, phrases, best=1)
    return [
        Asked(
            there=bool(each.truth),
            presence=place.presence,
            right=_right(each, forced, number) is True,
            chosen=_right(each, chosen, number),
        )
        for number, (each, place) in enumerate(zip(examples, places, strict=True))
    ]


def _with_article(example: Example) -> bool:
    return example.asked.split()[0] in ("a", "an")


def _right(example: Example, answer: Grounded, number: int) -> bool | None:
    """Whether a phrase got its box; None if it got none."""
    boxes = answer.entities[number].boxes
    if not boxes:
        return None
    return bool(example.truth) and boxes[0].iou(example.truth[0]) >= HIT


def _shares(rows: list[tuple[bool, bool, bool]]) -> dict[str, float]:
    """Of (is there, was pointed at, rightly): what is found, and what is seen that is not there."""
    found = [pointed and right for there, pointed, right in rows if there]
    false = [pointed for there, pointed, _ in rows if not there]
    return {
        "found": round(sum(found) / len(found), 4),
        "false": round(sum(false) / len(false), 4),
    }


if __name__ == "__main__":
    main()
