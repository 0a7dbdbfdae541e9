"""What can truthfully be said and asked about a scene: the seven tasks of the model card.

Every function lists all that its task could say; training picks among them by lot, evaluation by
the same rules on scenes that training never drew. Things of a kind are told left to right. What
colour and size add stands in `attributes`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

from kosmos2 import prompts
from kosmos2.geometry import Box
from kosmos2.prompts import Prompt
from kosmos2.scenes.layout import Scene, Thing
from kosmos2.scenes.stickers import article, plural

Task = Literal[
    "brief", "detailed", "find", "refer", "attribute", "absent", "describe", "ask", "ask_about"
]
Kind = Literal["", "where", "count", "presence", "colour", "what"]  # of a question

NUMBERS = ("no", "one", "two", "three", "four", "five")
RELATIONS = ("to the left of", "to the right of", "above", "below")
CLEARLY = 0.08  # middles at least this far apart, along the axis that matters, to be called so
HARDLY = 0.02  # and a rival must not be on that side by even this much


@dataclass(frozen=True, slots=True)
class Link:
    """Words of an answer that are tied to boxes."""

    words: str
    boxes: tuple[Box, ...]


@dataclass(frozen=True, slots=True)
class Example:
    """One thing to ask about a scene, and what a model that sees should say."""

    task: Task
    prompt: Prompt
    answer: tuple[str | Link, ...]
    asked: str = ""  # the phrase or the question
    region: Box | None = None  # the box that came with it
    truth: tuple[Box, ...] = ()  # where the asked phrase is
    kind: Kind = ""

    @property
    def text(self) -> str:
        """The answer as plain words."""
        return "".join(part if isinstance(part, str) else part.words for part in self.answer)


def relation(one: Box, other: Box) -> str | None:
    """How one lies to the other along the axis of the larger distance, when it is plain to see."""
    across, down = _offset(one, other)
    if max(abs(across), abs(down)) < CLEARLY or 0.67 < abs(across) / max(abs(down), 1e-9) < 1.5:
        return None
    if abs(across) > abs(down):
        return RELATIONS[0] if across < 0 else RELATIONS[1]
    return RELATIONS[2] if down < 0 else RELATIONS[3]


def kinds(scene: Scene) -> list[tuple[Thing, ...]]:
    """The things by noun, each kind left to right, the kinds by their leftmost."""
    by_noun: dict[str, list[Thing]] = {}
    for thing in sorted(scene.things, key=lambda thing: thing.box.x1 + thing.box.x2):
        by_noun.setdefault(thing.noun, []).append(thing)
    return [tuple(things) for things in by_noun.values()]


def brief(scene: Scene, *, grounded: bool = True) -> Example:
    """An image of the two kinds that fill most of the picture, and how they lie."""
    first, *rest = sorted(kinds(scene), key=lambda kind: -sum(t.box.area for t in kind))
    answer: list[str | Link] = [_link(first)]
    if rest:
        plainly = (
            relation(first[0].box, rest[0][0].box) if len(first) == len(rest[0]) == 1 else None
        )
        answer += [f" {plainly or 'and'}", _link(rest[0])]
    return Example("brief", prompts.caption(grounded=grounded), (*answer, "."))


def detailed(scene: Scene, *, grounded: bool = True) -> Example:
    """Everything that is there, left to right, and how two single things lie."""
    all_kinds = kinds(scene)
    answer: list[str | Link] = [" The image shows"]
    for place, kind in enumerate(all_kinds):
        if place:
            answer.append("," if place < len(all_kinds) - 1 else " and")
        answer.append(_link(kind))
    answer.append(".")
    related = next(_related(scene), None)
    if related:
        one, how, other = related
        answer.append(f" The {one.noun} is {how} the {other.noun}.")
    return Example("detailed", prompts.caption(grounded=grounded, detailed=True), tuple(answer))


def find(scene: Scene) -> Iterator[Example]:
    """Plain phrases: each single thing by its noun, several of a kind by their number."""
    for kind in kinds(scene):
        boxes = tuple(thing.box for thing in kind)
        if len(kind) == 1:
            noun = kind[0].noun
            phrases = (f"{article(noun)} {noun}", f"the {noun}", noun)
        else:
            many = plural(kind[0].noun)
            phrases = (f"{NUMBERS[len(kind)]} {many}", f"the {many}", many)
        for phrase in phrases:
            yield Example("find", prompts.ground(phrase), (Link("", boxes),), phrase, None, boxes)


def refer(scene: Scene, *, ambiguous: bool) -> Iterator[Example]:
    """Phrases with a relation to a single thing: "the cup above the book".

    When `ambiguous`, only those where the noun alone would not do: there are several cups, and one
    alone is above the book. Otherwise only those about single things.
    """
    single = [kind[0] for kind in kinds(scene) if len(kind) == 1]
    for kind in kinds(scene):
        if (len(kind) > 1) != ambiguous:
            continue
        for thing in kind:
            for anchor in single:
                how = None if anchor is thing else relation(thing.box, anchor.box)
                rivals = [other for other in kind if other is not thing]
                if how and not any(_could_be(how, other.box, anchor.box) for other in rivals):
                    phrase = f"the {thing.noun} {how} the {anchor.noun}"
                    boxes = (thing.box,)
                    answer = (Link("", boxes),)
                    yield Example("refer", prompts.ground(phrase), answer, phrase, None, boxes)


def absent(scene: Scene, nouns: Sequence[str] | None = None) -> Iterator[Example]:
    """Phrases for what is not there; the right answer is to tie them to nothing."""
    present = {thing.noun for thing in scene.things}
    for noun in scene.world.nouns if nouns is None else nouns:
        if noun not in present:
            for phrase in (f"{article(noun)} {noun}", f"the {noun}", noun):
                yield Example("absent", prompts.ground(phrase), (), phrase)


def describe(scene: Scene, *, grounded: bool = True) -> Iterator[Example]:
    """What is in a box, and how it lies to the largest single other thing, if that is plain."""
    single = sorted((k[0] for k in kinds(scene) if len(k) == 1), key=lambda t: -t.box.area)
    for thing in scene.things:
        anchor = next((other for other in single if other is not thing), None)
        how = relation(thing.box, anchor.box) if anchor else None
        answer: tuple[str | Link, ...] = (f" {a(thing)}", ".")
        if anchor and how:
            answer = (f"{answer[0]} {how}", _link((anchor,)), ".")
        prompt = prompts.describe(thing.box, grounded=grounded)
        yield Example("describe", prompt, answer, "It", thing.box, (thing.box,))


def ask(scene: Scene, *, grounded: bool = True) -> Iterator[Example]:
    """Questions in words: what lies where, how many, and whether it is there."""
    all_kinds = kinds(scene)
    for anchor in (kind[0] for kind in all_kinds if len(kind) == 1):
        others = [thing for thing in scene.things if thing is not anchor]
        for how in RELATIONS:
            there = [thing for thing in others if _could_be(how, thing.box, anchor.box)]
            if len(there) == 1 and relation(there[0].box, anchor.box) == how:
                asked = f"What is {how} the {anchor.noun}?"
                yield question(asked, (_link(there), "."), grounded, "where")
    for kind in all_kinds:
        answer = f" {NUMBERS[len(kind)]}."
        yield question(_how_many(kind[0].noun), (answer,), grounded, "count")
    for kind in all_kinds:
        yield question(_is_there(kind[0].noun), (" yes.",), grounded, "presence")


def ask_absent(scene: Scene, noun: str, *, grounded: bool = True) -> tuple[Example, Example]:
    """The two questions about a noun that is not there."""
    assert all(thing.noun != noun for thing in scene.things)
    return (
        question(_how_many(noun), (" no.",), grounded, "count"),
        question(_is_there(noun), (" no.",), grounded, "presence"),
    )


def ask_about(scene: Scene, *, grounded: bool = True) -> Iterator[Example]:
    """A question about a box: what is this?"""
    asked = "What is [this]?"
    for thing in scene.things:
        prompt = prompts.ask(asked, boxes=[thing.box], grounded=grounded)
        answer = (f" {a(thing)}", ".")
        yield Example("ask_about", prompt, answer, asked, thing.box, (thing.box,), "what")


def question(asked: str, answer: tuple[str | Link, ...], grounded: bool, kind: Kind) -> Example:
    """A question in words, and its answer."""
    return Example("ask", prompts.ask(asked, grounded=grounded), answer, asked, kind=kind)


def a(thing: Thing) -> str:
    """The thing with its article, and its colour where it has one: "an orange car"."""
    words = f"{thing.colour} {thing.noun}" if thing.colour else thing.noun
    return f"{article(words)} {words}"


def _how_many(noun: str) -> str:
    return f"How many {plural(noun)} are there?"


def _is_there(noun: str) -> str:
    return f"Is there {article(noun)} {noun}?"


def _link(kind: Sequence[Thing]) -> Link:
    noun = kind[0].noun
    words = a(kind[0]) if len(kind) == 1 else f"{NUMBERS[len(kind)]} {plural(noun)}"
    return Link(f" {words}", tuple(thing.box for thing in kind))


def _related(scene: Scene) -> Iterator[tuple[Thing, str, Thing]]:
    single = [kind[0] for kind in kinds(scene) if len(kind) == 1]
    for one, other in pairwise(single):
        how = relation(one.box, other.box)
        if how:
            yield one, how, other


def _offset(one: Box, other: Box) -> tuple[float, float]:
    across = (one.x1 + one.x2 - other.x1 - other.x2) / 2
    down = (one.y1 + one.y2 - other.y1 - other.y2) / 2
    return across, down


def _could_be(how: str, one: Box, other: Box) -> bool:
    across, down = _offset(one, other)
    past = {RELATIONS[0]: -across, RELATIONS[1]: across, RELATIONS[2]: -down, RELATIONS[3]: down}
    return past[how] > HARDLY
