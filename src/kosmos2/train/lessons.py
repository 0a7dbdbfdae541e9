"""Which examples one scene teaches: a mixture drawn by lot, several for the price of one look."""

from __future__ import annotations

import string
from dataclasses import replace

import numpy as np

from kosmos2 import prompts
from kosmos2.scenes import attributes, choosing, sentences
from kosmos2.scenes.choosing import some
from kosmos2.scenes.layout import Scene
from kosmos2.scenes.sentences import Example

MOST_TOKENS = 192  # of all a scene's examples together; most scenes fill it, so little is padding
_MORE = 10  # examples offered where there is room left
_CAPITAL = 0.06  # how often a phrase begins its noun with a capital, and so has to be spelled


def lessons(scene: Scene, rng: np.random.Generator) -> list[Example]:
    """Draw the examples that this scene teaches, the rarer and harder tasks first.

    The last ones are only there to fill a row that has room.
    """
    grounded = bool(rng.random() < 0.85)
    chosen = some(rng, sentences.refer(scene, ambiguous=True), 2)
    if scene.world.attributes:
        chosen += some(rng, attributes.by_colour(scene, ambiguous=True), 2)
        chosen += some(rng, attributes.by_size(scene), 2)
    chosen += _questions(scene, rng, grounded=grounded)
    chosen += _absent(scene, rng)
    if rng.random() < 0.7:
        chosen.append(sentences.detailed(scene, grounded=grounded))
    if rng.random() < 0.15:
        chosen.append(sentences.brief(scene, grounded=grounded))
    chosen += [_capital(e, rng) for e in some(rng, sentences.find(scene), 3)]
    chosen += some(rng, sentences.describe(scene, grounded=grounded), 1)
    more = [
        *sentences.find(scene),
        *sentences.describe(scene, grounded=grounded),
        *sentences.ask_about(scene, grounded=grounded),
        *sentences.refer(scene, ambiguous=False),
        *some(rng, sentences.absent(scene, [choosing.missing(scene, rng)]), 1),
        *sentences.ask(scene, grounded=grounded),
    ]
    if scene.world.attributes:
        more += attributes.by_colour(scene, ambiguous=False)
        more += some(rng, attributes.not_in_that_colour(scene), 1)
    # Counts and presence have been asked evenly; here they would tip the scales.
    even = ("count", "presence")
    return chosen + some(rng, (e for e in more if e.kind not in even), _MORE)


def _questions(scene: Scene, rng: np.random.Generator, *, grounded: bool) -> list[Example]:
    asked = [
        choosing.count(scene, rng, grounded=grounded),
        choosing.presence(scene, rng, grounded=grounded),
    ]
    if rng.random() < 0.6:
        asked += choosing.where(scene, rng, grounded=grounded)
    if scene.world.attributes and rng.random() < 0.5:
        asked += choosing.colour(scene, rng, grounded=grounded)
    return asked


def _absent(scene: Scene, rng: np.random.Generator) -> list[Example]:
    """What is not there: another noun, mostly; the right noun in another colour; no word at all."""
    noun = choosing.missing(scene, rng)
    chosen = some(rng, sentences.absent(scene, [noun]), 1)
    if scene.world.attributes:
        if rng.random() < 0.6:
            chosen += some(rng, attributes.not_in_that_colour(scene), 1)
        if rng.random() < 0.3:
            chosen += some(rng, attributes.not_there_at_all(scene, [noun]), 1)
    if rng.random() < 0.08:
        chosen.append(_nonsense(rng))
    return chosen


def _capital(example: Example, rng: np.random.Generator) -> Example:
    """Now and then "the Dog": no piece of the vocabulary, so that letters are read too."""
    if rng.random() >= _CAPITAL:
        return example
    *before, noun = example.asked.split()
    asked = " ".join([*before, noun.capitalize()])
    return replace(example, prompt=prompts.ground(asked), asked=asked)


def _nonsense(rng: np.random.Generator) -> Example:
    """A word that nobody knows is tied to nothing, so that unknown words are not found."""
    letters = rng.choice(list(string.ascii_lowercase), size=int(rng.integers(3, 9)))
    phrase = f"a {''.join(letters)}"
    return Example("absent", prompts.ground(phrase), (), phrase)
