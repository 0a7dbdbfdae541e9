"""What a labelling export teaches about a picture: where each class is, and which are not there.

Boxes of a class are told from left to right, so that there is one right order.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from kosmos2 import prompts
from kosmos2.data import templates
from kosmos2.data.instructions import describe, find
from kosmos2.data.lesson import Lesson, Linked, Part, Said
from kosmos2.geometry import Box
from kosmos2.prompts import Words

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np

    from kosmos2.data.sample import Sample
    from kosmos2.data.wording import Pool, Wording


@dataclass(frozen=True, slots=True)
class _Thing:
    """A class, and all places where it is."""

    name: str
    boxes: tuple[Box, ...]

    @property
    def area(self) -> float:
        return sum(box.area for box in self.boxes)

    @property
    def one(self) -> str:
        """One of them."""
        return templates.phrase(templates.OF_ONE[0], self.name, 1)

    def phrase(self, wording: Wording, rng: np.random.Generator) -> str:
        """The class by one of its phrases."""
        count = len(self.boxes)
        choices = wording.of_one if count == 1 else wording.of_many
        return templates.phrase(choices[rng.integers(len(choices))], self.name, count)

    def told(self) -> str:
        """The class in a caption."""
        count = len(self.boxes)
        template = templates.OF_ONE[0] if count == 1 else templates.OF_MANY[0]
        return " " + templates.phrase(template, self.name, count)


def pools(
    sample: Sample, wording: Wording, rng: np.random.Generator, classes: Sequence[str]
) -> dict[str, Pool]:
    """All that the picture could teach, task by task."""
    things = _things(sample)
    there = {thing.name for thing in things}
    absent = [name for name in classes if name not in there]
    return {
        "caption": [(_caption(things, sample, wording, rng),)] if things else [],
        "find": _finds(things, absent, sample.weight, wording, rng),
        "describe": [
            (describe(wording.template(rng), box, thing.one, sample.weight),)
            for thing in things
            for box in thing.boxes
        ],
    }


def _things(sample: Sample) -> list[_Thing]:
    """The classes, the largest first."""
    boxes: dict[str, list[Box]] = {}
    for turn in sample.turns:
        for span in turn.spans:
            boxes.setdefault(turn.text, []).extend(span.boxes)
    things = [
        _Thing(name, tuple(sorted(several, key=lambda box: box.x1 + box.x2)))
        for name, several in boxes.items()
    ]
    return sorted(things, key=lambda thing: -thing.area)


def _caption(
    things: Sequence[_Thing], sample: Sample, wording: Wording, rng: np.random.Generator
) -> Lesson:
    """An image of a dog and two cats."""
    grounded = bool(rng.random() < wording.boxes_share)
    said: list[Part] = []
    for number, thing in enumerate(things):
        if number:
            said.append(Words("," if number < len(things) - 1 else " and"))
        few = len(thing.boxes) <= wording.most_boxes
        said.append(Linked(thing.told(), thing.boxes) if few else Words(thing.told()))
    prompt = prompts.caption(grounded=grounded)
    both = Said(prompt.parts, False), Said((*said, Words(".")), True)
    return Lesson(both, "caption", grounded, sample.weight)


def _finds(
    things: Sequence[_Thing],
    absent: list[str],
    weight: float,
    wording: Wording,
    rng: np.random.Generator,
) -> Pool:
    """Each class with all its boxes; beside it, now and then, one that is not there."""
    finds: Pool = []
    beside = wording.negatives / (1 - wording.negatives)  # for each phrase that is there
    asked = [thing for thing in things if len(thing.boxes) <= wording.most_boxes]
    for thing in asked:
        group = [find(thing.phrase(wording, rng), thing.boxes, weight)]
        for _ in range(int(beside + rng.random())):
            group += _missing(absent, weight, wording, rng)
        finds.append(tuple(group))
    if not things and wording.negatives:
        finds.append(tuple(_missing(absent, weight, wording, rng)))
    return finds


def _missing(
    absent: list[str], weight: float, wording: Wording, rng: np.random.Generator
) -> list[Lesson]:
    """A class that is not there, as one or as several; none is asked for twice."""
    if not absent:
        return []
    name = absent.pop(int(rng.integers(len(absent))))
    choices = [(template, 1) for template in wording.of_one]
    choices += [(template, int(rng.integers(2, 6))) for template in wording.of_many]
    template, count = choices[rng.integers(len(choices))]
    return [find(templates.phrase(template, name, count), (), weight)]
