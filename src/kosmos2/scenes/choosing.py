"""Which of all questions are put: evenly by answer, so that guessing does not pay.

Most kinds are single and most nouns are there when one goes by what a scene could be asked; a model
taught so says "one" and "yes" to everything, and is right most of the time.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeVar

import numpy as np

from kosmos2.scenes import attributes, sentences
from kosmos2.scenes.layout import Scene
from kosmos2.scenes.sentences import Example

T = TypeVar("T")


def some(rng: np.random.Generator, examples: Iterable[T], most: int) -> list[T]:
    """A few of them, by lot."""
    pool = list(examples)
    return [pool[i] for i in rng.permutation(len(pool))[:most]]


def missing(scene: Scene, rng: np.random.Generator) -> str:
    """A noun of the scene's world that is not there."""
    present = {thing.noun for thing in scene.things}
    away = [noun for noun in scene.world.nouns if noun not in present]
    return away[int(rng.integers(len(away)))]


def count(scene: Scene, rng: np.random.Generator, *, grounded: bool = True) -> Example:
    """How many there are: none, one, or several, the last mostly, where there are several."""
    none = sentences.ask_absent(scene, missing(scene, rng), grounded=grounded)[0]
    asked = [e for e in sentences.ask(scene, grounded=grounded) if e.kind == "count"]
    several = [e for e in asked if e.text != " one."]
    one = [e for e in asked if e.text == " one."]
    groups = [[none], one, *[several] * 4]
    return some(rng, some(rng, filter(None, groups), 1)[0], 1)[0]


def presence(scene: Scene, rng: np.random.Generator, *, grounded: bool = True) -> Example:
    """Whether something is there, as often when it is not; with a colour, half of the time."""
    there = bool(rng.random() < 0.5)
    coloured = list(attributes.ask_coloured(scene, there=there, grounded=grounded))
    if coloured and rng.random() < 0.5:
        return some(rng, coloured, 1)[0]
    if not there:
        return sentences.ask_absent(scene, missing(scene, rng), grounded=grounded)[1]
    asked = [e for e in sentences.ask(scene, grounded=grounded) if e.text == " yes."]
    return some(rng, asked, 1)[0]


def where(scene: Scene, rng: np.random.Generator, *, grounded: bool = True) -> list[Example]:
    """What lies on some side of something; nothing, where no single thing does."""
    return some(rng, (e for e in sentences.ask(scene, grounded=grounded) if e.kind == "where"), 1)


def colour(scene: Scene, rng: np.random.Generator, *, grounded: bool = True) -> list[Example]:
    """What colour something has; nothing, where no single thing has one."""
    return some(rng, attributes.ask_colour(scene, grounded=grounded), 1)
