"""A model on scenes of a seed it was never trained on: does it find, name, tell and answer?

Scenes are drawn at the size people see them, not at the size the network reads, and go through the
same door as anybody's picture. What is asked depends on the world that they are of: colour and size
are asked where they were taught.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from kosmos2.errors import InputError
from kosmos2.evaluate.intervals import auc, f1, figure, share
from kosmos2.evaluate.spoiling import SPOILT
from kosmos2.geometry import Box
from kosmos2.grounder import Kosmos2, Located, Seen, tasks
from kosmos2.grounder.reading import Ask
from kosmos2.markup import Entity
from kosmos2.options import Options
from kosmos2.result import Grounded
from kosmos2.scenes import attributes, choosing, sentences
from kosmos2.scenes.choosing import some
from kosmos2.scenes.colours import COLOURS
from kosmos2.scenes.draw import draw_scene
from kosmos2.scenes.layout import Scene, compose
from kosmos2.scenes.sentences import Example
from kosmos2.scenes.stickers import NOUNS, plural
from kosmos2.scenes.world import SHIPPED, World

SIDE_PX = 448
HIT = 0.5  # overlap (IoU) from which a box counts as the right one
MOST_RELATED = 2  # phrases with a relation, a scene
MOST_QUESTIONS = 3  # a scene
FINDING = ("find", "refer", "attribute", "absent")  # tasks that ask where a phrase is
UNDECIDED = 0.5  # presence from which a phrase is found, where the model has no figure of its own
_AT_ONCE = 64  # scenes in memory

_SINGULAR = {form: noun for noun in NOUNS for form in (noun, plural(noun))}


@dataclass(slots=True)
class _Counts:
    """What was counted on one scene."""

    plain: list[float] = field(default_factory=list)  # overlap of each plain phrase's box
    related: list[float] = field(default_factory=list)
    named: list[bool] = field(default_factory=list)
    answered: list[bool] = field(default_factory=list)
    caption: tuple[int, int, int] = (0, 0, 0)  # hits, found, there
    present: list[float] = field(default_factory=list)  # best score of a thing that is there
    absent: list[float] = field(default_factory=list)
    coloured: list[float] = field(default_factory=list)  # overlaps of phrases with a colour
    sized: list[float] = field(default_factory=list)
    by_kind: dict[str, list[bool]] = field(default_factory=dict)  # of question
    in_colour: list[float] = field(default_factory=list)  # best score of a thing in its colour
    no_such_colour: list[float] = field(default_factory=list)  # of one that is there in another
    spoilt: dict[str, list[float]] = field(default_factory=dict)  # overlaps in spoilt pictures


def evaluate(
    model: Kosmos2,
    *,
    count: int,
    seed: int,
    world: World = SHIPPED,
    closer: bool = False,
    beams: int = 1,
    on_progress: Callable[[int, int], None] | None = None,
) -> dict[str, Any]:
    """Measure a model on the first `count` scenes of a seed.

    Every figure has its 95 % interval beside it. Phrases are those of single things (plain), or
    those where the noun alone would not do (relation); captions are the detailed ones, matched
    box by box to things of the same noun; `absent.auc` is how often a thing that is there gets a
    higher score than one that is not, `absent.nowhere` how often the latter gets no box at all.

    In a world with attributes there are phrases that need a colour or a size as well, questions are
    put so that no answer is much more frequent than another, `absent_colour` sets a thing in its
    colour against the same thing in another, and `robust` asks plain phrases of spoilt pictures.

    With `closer`, phrases are located, boxes described and captions told with a second look, from
    closer; a phrase counts as found from the model's own `min_presence` on (0.5 where it has none),
    and its score is its presence. Questions and spoilt pictures have no such look, and no figure.

    With `beams` captions are searched for instead of written down; the paper's had five.

    Raises:
        InputError: no scenes to measure on.
    """
    if count < 1:
        raise InputError(f"{count} scenes measure nothing; give at least 1")
    counted: list[_Counts] = []
    for first in range(0, count, _AT_ONCE):
        indices = range(first, min(first + _AT_ONCE, count))
        scenes = [compose(seed, index, world) for index in indices]
        counted += (
            _measure_closer(model, scenes, beams) if closer else _measure(model, scenes, beams)
        )
        if on_progress:
            on_progress(len(counted), count)
    how: dict[str, Any] = {"closer": True} if closer else {}
    how |= {"beams": beams} if beams > 1 else {}
    measured = {"count": count, "seed": seed, "model": model.name, **how, **_figures(counted)}
    return {**measured, "world": world.name, **_more(counted)} if world.attributes else measured


def _overlaps(rows: Sequence[Sequence[float]]) -> dict[str, Any]:
    hits = [(sum(iou >= HIT for iou in row), len(row)) for row in rows]
    means = [(sum(row), len(row)) for row in rows]
    return {**figure("acc50", hits, share), **figure("mean_iou", means, share)}


def _nowhere(scores: Sequence[float]) -> tuple[int, int]:
    """How many got no box; how many there are."""
    return sum(score == 0.0 for score in scores), len(scores)


def _figures(counted: Sequence[_Counts]) -> dict[str, Any]:
    def overlaps(name: str) -> dict[str, Any]:
        return _overlaps([getattr(one, name) for one in counted])

    def shares(name: str) -> dict[str, Any]:
        rows = [getattr(one, name) for one in counted]
        return figure("accuracy", [(sum(row), len(row)) for row in rows], share)

    captions = [one.caption for one in counted]
    return {
        "referring": {"plain": overlaps("plain"), "relation": overlaps("related")},
        "naming": shares("named"),
        "caption": {
            **figure("precision", [(hits, found) for hits, found, _ in captions], share),
            **figure("recall", [(hits, there) for hits, _, there in captions], share),
            **figure("f1", captions, f1),
        },
        "questions": shares("answered"),
        "absent": {
            **figure("auc", [(one.present, one.absent) for one in counted], auc),
            **figure("nowhere", [_nowhere(one.absent) for one in counted], share),
        },
    }


def _more(counted: Sequence[_Counts]) -> dict[str, Any]:
    """What only a world with attributes has; the keys of `_figures` stay as they are there."""
    kinds = ("count", "presence", "where", "colour")
    answers = {kind: [one.by_kind.get(kind, []) for one in counted] for kind in kinds}
    return {
        "attributes": {
            "colour": _overlaps([one.coloured for one in counted]),
            "size": _overlaps([one.sized for one in counted]),
        },
        "question_kinds": {
            kind: figure("accuracy", [(sum(row), len(row)) for row in rows], share)
            for kind, rows in answers.items()
        },
        "absent_colour": figure(
            "auc", [(one.in_colour, one.no_such_colour) for one in counted], auc
        ),
        "robust": {
            name: _overlaps([one.spoilt.get(name, []) for one in counted]) for name in SPOILT
        },
    }


def _measure(model: Kosmos2, scenes: Sequence[Scene], beams: int) -> list[_Counts]:
    pictures = [draw_scene(scene, SIDE_PX) for scene in scenes]
    seen = model.see(tuple(pictures))
    counted = [_Counts() for _ in scenes]
    asked = [(i, example) for i, scene in enumerate(scenes) for example in _examples(scene)]
    finding = [(i, e) for i, e in asked if e.task in FINDING]
    telling = [(i, e) for i, e in asked if e.task in ("describe", "ask")]
    for part in (finding, telling):
        answers = model.answer([_ask(seen[i], example) for i, example in part], Options())
        for (i, example), answer in zip(part, answers):
            _count(counted[i], example, answer)
    captions = model.answer(
        [tasks.caption(one, detailed=True, grounded=True) for one in seen], Options(beams=beams)
    )
    for one, scene, answer in zip(counted, scenes, captions):
        one.caption = matched(scene, answer)
    if any(scene.world.rough for scene in scenes):
        plain = [(i, example) for i, example in finding if example.task == "find"]
        for name, spoil in SPOILT.items():
            seen = model.see([spoil(picture) for picture in pictures])
            answers = model.answer([_ask(seen[i], example) for i, example in plain], Options())
            for (i, example), answer in zip(plain, answers):
                counted[i].spoilt.setdefault(name, []).append(_overlap(example, answer))
    return counted


def _measure_closer(model: Kosmos2, scenes: Sequence[Scene], beams: int) -> list[_Counts]:
    """What can be looked at twice."""
    counted = []
    for scene in scenes:
        one, examples = _Counts(), [*_examples(scene)]
        (seen,) = model.see([draw_scene(scene, SIDE_PX)])
        finding = [example for example in examples if example.task in FINDING]
        phrases = [example.asked for example in finding]
        places = model.locate(seen, phrases, best=1, closer=True) if phrases else []
        for example, place in zip(finding, places, strict=True):
            _count(one, example, _as_answer(place, model.min_presence))
        for example in examples:
            if example.task == "describe":
                assert example.region is not None
                _count(one, example, model.describe(seen, example.region, closer=True))
        one.caption = matched(scene, model.caption(seen, detailed=True, closer=True, beams=beams))
        counted.append(one)
    return counted


def _as_answer(place: Located, min_presence: float | None) -> Grounded:
    """Where a phrase is, as an answer whose score says how surely it is there."""
    least = UNDECIDED if min_presence is None else min_presence
    boxes = tuple(replace(box, score=place.presence) for box in place.boxes)
    found = Entity(place.phrase, 0, len(place.phrase), boxes if place.presence >= least else ())
    return Grounded(text=place.phrase, entities=(found,))


def _examples(scene: Scene) -> Iterator[Example]:
    """What is asked about a scene, chosen by the scene's own numbers."""
    rng = np.random.default_rng([scene.seed, scene.index, 2])
    single = [e for e in sentences.find(scene) if len(e.truth) == 1]
    yield from (e for e in single if e.asked.split()[0] in ("a", "an"))
    yield from some(rng, sentences.refer(scene, ambiguous=True), MOST_RELATED)
    away = [e for e in sentences.absent(scene) if e.asked.split()[0] in ("a", "an")]
    yield from some(rng, away, 1)
    yield from sentences.describe(scene)
    if scene.world.attributes:
        yield from _with_attributes(scene, rng)
        return
    nouns = [noun for noun in scene.world.nouns if all(t.noun != noun for t in scene.things)]
    questions = list(sentences.ask(scene))
    questions += sentences.ask_absent(scene, nouns[int(rng.integers(len(nouns)))])
    yield from some(rng, questions, MOST_QUESTIONS)


def _with_attributes(scene: Scene, rng: np.random.Generator) -> Iterator[Example]:
    """Colour and size, and a question of each kind."""
    yield from some(rng, attributes.by_colour(scene, ambiguous=True), MOST_RELATED)
    yield from some(rng, attributes.by_size(scene), MOST_RELATED)
    yield from some(rng, attributes.not_in_that_colour(scene), 1)
    yield choosing.count(scene, rng)
    yield choosing.presence(scene, rng)
    yield from choosing.where(scene, rng)
    yield from choosing.colour(scene, rng)


def _ask(seen: Seen, example: Example) -> Ask:
    if example.task == "describe":
        assert example.region is not None
        return tasks.describe(seen, example.region, grounded=True)
    if example.task == "ask":
        return tasks.ask(seen, example.asked, None, grounded=True)
    return tasks.ground(seen, [example.asked])[0]


def _count(counts: _Counts, example: Example, answer: Grounded) -> None:
    boxes = [box for entity in answer.entities for box in entity.boxes]
    coloured = any(word in COLOURS for word in _words(example.asked))
    match example.task:
        case "absent":
            (counts.no_such_colour if coloured else counts.absent).append(_best(boxes))
        case "describe":
            noun = next((word for word in _words(example.text) if word in _SINGULAR), None)
            said = next((word for word in _words(answer.text) if word in _SINGULAR), None)
            counts.named.append(said == noun)
        case "ask":
            right = _words(answer.text) == _words(example.text)
            counts.answered.append(right)
            counts.by_kind.setdefault(example.kind, []).append(right)
        case "find":
            counts.plain.append(_overlap(example, answer))
            counts.present.append(_best(boxes))
        case "refer":
            counts.related.append(_overlap(example, answer))
        case "attribute" if coloured:
            counts.coloured.append(_overlap(example, answer))
            counts.in_colour.append(_best(boxes))
        case "attribute":
            counts.sized.append(_overlap(example, answer))


def _overlap(example: Example, answer: Grounded) -> float:
    """Of the first box that was found with the true one."""
    boxes = [box for entity in answer.entities for box in entity.boxes]
    return boxes[0].iou(example.truth[0]) if boxes else 0.0


def matched(scene: Scene, answer: Grounded) -> tuple[int, int, int]:
    """Pair the caption's boxes with things of their noun; returns hits, boxes, things."""
    left = list(scene.things)
    hits = found = 0
    for entity in answer.entities:
        noun = next((_SINGULAR[w] for w in _words(entity.phrase) if w in _SINGULAR), None)
        for box in entity.boxes:
            found += 1
            rivals = [thing for thing in left if thing.noun == noun]
            best = max(rivals, key=lambda thing: box.iou(thing.box), default=None)
            if best is not None and box.iou(best.box) >= HIT:
                left.remove(best)
                hits += 1
    return hits, found, len(scene.things)


def _best(boxes: Sequence[Box]) -> float:
    return max((box.score or 0.0 for box in boxes), default=0.0)


def _words(text: str) -> list[str]:
    return re.findall(r"[a-z]+", text.lower())
