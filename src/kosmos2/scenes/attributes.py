"""Colour and size, in phrases and questions: what a noun alone does not tell.

A colour belongs to a thing; a size only stands between things of a kind, of which one is plainly
the largest or the smallest.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from kosmos2 import prompts
from kosmos2.scenes.colours import COLOURED, COLOURS
from kosmos2.scenes.layout import Scene, Thing
from kosmos2.scenes.sentences import NUMBERS, Example, Link, kinds, question
from kosmos2.scenes.stickers import article, plural

PLAINLY = 1.3  # how many times as long as the next one a thing is, to be called large


def by_colour(scene: Scene, *, ambiguous: bool) -> Iterator[Example]:
    """Phrases that name a colour: "the red car".

    When `ambiguous`, only those where the noun alone would not do: there are several cars, and one
    of them is red. Otherwise only those about single things.
    """
    for kind in kinds(scene):
        if (len(kind) > 1) != ambiguous:
            continue
        for thing in kind:
            if thing.colour and [other.colour for other in kind].count(thing.colour) == 1:
                yield from _find(f"{thing.colour} {thing.noun}", thing)


def by_size(scene: Scene) -> Iterator[Example]:
    """Phrases that name a size, of which there are several to choose from: "the small dog"."""
    for kind in kinds(scene):
        if len(kind) < 2:
            continue
        noun, *lengths = kind[0].noun, *(_length(thing) for thing in kind)
        ordered = [kind[i] for i in sorted(range(len(kind)), key=lengths.__getitem__)]
        lengths.sort()
        large, small = ("large", "small") if len(kind) == 2 else ("largest", "smallest")
        several = f"one of {NUMBERS[len(kind)]} {plural(noun)}"
        if lengths[-1] >= PLAINLY * lengths[-2]:
            yield from _the((f"{large} {noun}", f"{large} {several}"), ordered[-1])
        if lengths[1] >= PLAINLY * lengths[0]:
            yield from _the((f"{small} {noun}", f"{small} {several}"), ordered[0])


def not_in_that_colour(scene: Scene) -> Iterator[Example]:
    """Phrases for things that are there, but in no such colour; they are tied to nothing."""
    for kind in kinds(scene):
        for colour in _missing(kind):
            words = f"{colour} {kind[0].noun}"
            for phrase in (f"{article(words)} {words}", f"the {words}"):
                yield Example("absent", prompts.ground(phrase), (), phrase)


def not_there_at_all(scene: Scene, nouns: Sequence[str]) -> Iterator[Example]:
    """Phrases with a colour for those of the nouns that are not there in any."""
    present = {thing.noun for thing in scene.things}
    for noun in nouns:
        if noun in COLOURED and noun not in present:
            for colour in COLOURS:
                phrase = f"the {colour} {noun}"
                yield Example("absent", prompts.ground(phrase), (), phrase)


def ask_colour(scene: Scene, *, grounded: bool = True) -> Iterator[Example]:
    """What colour a single thing has."""
    for kind in kinds(scene):
        if len(kind) == 1 and kind[0].colour:
            asked = f"What color is the {kind[0].noun}?"
            yield question(asked, (f" {kind[0].colour}.",), grounded, "colour")


def ask_coloured(scene: Scene, *, there: bool, grounded: bool = True) -> Iterator[Example]:
    """Whether there is a thing in a colour; when not `there`, its kind is, in other colours."""
    for kind in kinds(scene):
        held = sorted({thing.colour for thing in kind if thing.colour})
        for colour in held if there else _missing(kind):
            words = f"{colour} {kind[0].noun}"
            answer = " yes." if there else " no."
            asked = f"Is there {article(words)} {words}?"
            yield question(asked, (answer,), grounded, "presence")


def _missing(kind: Sequence[Thing]) -> list[str]:
    held = {thing.colour for thing in kind}
    return [] if None in held else [colour for colour in COLOURS if colour not in held]


def _find(words: str, thing: Thing) -> Iterator[Example]:
    for phrase in (f"the {words}", f"{article(words)} {words}"):
        yield _phrase(phrase, thing)


def _the(several: Sequence[str], thing: Thing) -> Iterator[Example]:
    for words in several:
        yield _phrase(f"the {words}", thing)


def _phrase(phrase: str, thing: Thing) -> Example:
    boxes = (thing.box,)
    return Example("attribute", prompts.ground(phrase), (Link("", boxes),), phrase, None, boxes)


def _length(thing: Thing) -> float:
    return max(thing.box.x2 - thing.box.x1, thing.box.y2 - thing.box.y1)
