"""Which examples one scene teaches: a mixture drawn by lot, several for the price of one look."""

from __future__ import annotations

import string
from collections.abc import Iterable, Sequence
from typing import TypeVar

import numpy as np

from kosmos2 import prompts
from kosmos2.scenes import sentences
from kosmos2.scenes.layout import Scene
from kosmos2.scenes.sentences import Example
from kosmos2.scenes.stickers import NOUNS

T = TypeVar("T")
MOST_TOKENS = 224  # of all a scene's examples together


def lessons(scene: Scene, rng: np.random.Generator) -> list[Example]:
    """Draw the examples that this scene teaches, the rarer and harder tasks first."""
    grounded = bool(rng.random() < 0.85)
    chosen = _some(rng, sentences.refer(scene, ambiguous=True), 3)
    if rng.random() < 0.5:
        chosen.append(sentences.detailed(scene, grounded=grounded))
    if rng.random() < 0.3:
        chosen.append(sentences.brief(scene, grounded=grounded))
    chosen += _some(rng, sentences.find(scene), 4)
    chosen += _some(rng, sentences.refer(scene, ambiguous=False), 2)
    chosen += _some(rng, sentences.absent(scene, _nouns(rng, 2)), 1)
    chosen += _some(rng, sentences.describe(scene, grounded=grounded), 1)
    chosen += _some(rng, sentences.ask(scene, grounded=grounded), 2)
    if rng.random() < 0.3:
        noun = _nouns(rng, 1)[0]
        if all(thing.noun != noun for thing in scene.things):
            chosen += _some(rng, sentences.ask_absent(scene, noun, grounded=grounded), 1)
    if rng.random() < 0.3:
        chosen += _some(rng, sentences.ask_about(scene, grounded=grounded), 1)
    if rng.random() < 0.1:
        chosen.append(_nonsense(rng))
    return chosen


def _some(rng: np.random.Generator, examples: Iterable[Example], most: int) -> list[Example]:
    pool = list(examples)
    return [pool[i] for i in rng.permutation(len(pool))[:most]]


def _nouns(rng: np.random.Generator, count: int) -> Sequence[str]:
    return [NOUNS[i] for i in rng.choice(len(NOUNS), size=count, replace=False)]


def _nonsense(rng: np.random.Generator) -> Example:
    """A word that nobody knows is tied to nothing, so that unknown words are not found."""
    letters = rng.choice(list(string.ascii_lowercase), size=int(rng.integers(3, 9)))
    phrase = f"a {''.join(letters)}"
    return Example("absent", prompts.ground(phrase), (), phrase)
