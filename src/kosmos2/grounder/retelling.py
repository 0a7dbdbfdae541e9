"""A caption that is looked into from closer: what it says wrongly, twice, or not at all.

In one look the embedded model takes a small thing for another or leaves it out. Four things are
done about it, each in its own function:

    mended      a phrase that is not surely there is named anew, and the rest is written again
    once        of two phrases alike with one place between them, the later has no box
    sharper     boxes are drawn as they are seen from closer
    with_more   what only a closer look at a quarter of the picture shows is told at the end
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Self

from kosmos2.engine.grammar import SAME
from kosmos2.geometry import Box
from kosmos2.grounder import tasks
from kosmos2.grounder.locating import Located
from kosmos2.grounder.part import Part
from kosmos2.grounder.reading import Ask
from kosmos2.grounder.seen import Seen
from kosmos2.markup import GROUNDING, PHRASE, Entity, render
from kosmos2.options import Options
from kosmos2.prompts import Markup, Prompt
from kosmos2.result import Grounded

if TYPE_CHECKING:
    from kosmos2.grounder.kosmos2 import Kosmos2

NAME = "What is [this]?"
# A phrase that is less surely in its part is doubted. On 300 scenes of seed 31337 the embedded
# model was right about 380 of 389 phrases above it, and about 30 of 68 below.
SURE = 0.95
MENDS = 8  # phrases of a caption; each costs the rest of the caption
THERE = 0.5  # presence, in each of the two looks, from which something new is told
ENDS = (".", "!", "?")  # of a sentence, after which another may come
COVERED = 0.5  # of the smaller of two boxes: what shares more is no new thing


def caption(
    model: Kosmos2, seen: Sequence[Seen], *, detailed: bool, options: Options
) -> list[Grounded]:
    """What is in each picture, told after a closer look."""
    asks = [tasks.caption(one, detailed=detailed, grounded=True) for one in seen]
    told = []
    for ask, answer in zip(asks, model.answer(asks, options), strict=True):
        (picture,) = ask.seen
        answer = sharper(model, picture, once(mended(model, ask, answer, options)))
        if detailed:
            answer = with_more(model, picture, answer)
        told.append(_certain(answer, options.min_score))
    return told


def mended(model: Kosmos2, ask: Ask, answer: Grounded, options: Options) -> Grounded:
    """The answer with each phrase that is surer under another name written under that name.

    From there on the model goes on by itself, so that what comes later agrees. Phrases with several
    boxes ("three cups") are left as they are: a part shows one of them.
    """
    place = mends = 0
    while place < len(answer.entities) and mends < MENDS and answer.finish == "stop":
        name = _better_name(model, ask.seen[-1], answer.entities[place])
        if name:
            answer = _written_on(model, ask, answer, place, name, options)
            mends += 1
        place += 1
    return answer


def once(answer: Grounded) -> Grounded:
    """The answer without boxes that an earlier phrase of the same words has; the markup keeps them.

    Only words alike: "a man" and "his suit" may well have one place.
    """
    kept: list[Entity] = []
    for entity in answer.entities:
        if not any(_alike(entity, earlier) for earlier in kept):
            kept.append(entity)
    return replace(answer, entities=tuple(kept))


def sharper(model: Kosmos2, seen: Seen, answer: Grounded) -> Grounded:
    """The answer with each box where its phrase is seen from closer, if that is the same place.

    The markup keeps the cells that the model wrote.
    """

    def drawn(box: Box, phrase: str) -> Box:
        part = Part.around(box, seen.width, seen.height)
        if part is None:
            return box
        nearer = part.outside(model.locate(model.see(part.cut(seen)), phrase, best=1).boxes[0])
        return nearer if nearer.iou(box) >= SAME else box

    return replace(
        answer,
        entities=tuple(
            replace(one, boxes=tuple(drawn(box, one.phrase) for box in one.boxes))
            if one.phrase
            else one
            for one in answer.entities
        ),
    )


def with_more(model: Kosmos2, seen: Seen, answer: Grounded) -> Grounded:
    """The answer with a last sentence of what it left out.

    Each quarter of the picture is told for itself. What is whole in it, and lies where nothing was
    told, is looked at again from closer still: there it gets its name.
    """
    if answer.finish == "length" or not answer.text.endswith(ENDS):
        return answer  # it was cut short; the rest is left out because it was not wanted
    known = [box for entity in answer.entities for box in entity.boxes]
    views = [
        view
        for box in _in_quarters(model, seen)
        if not _covered(box, known) and (view := _View.of(model, seen, box))
    ]
    found = []
    for view in sorted(views, key=lambda view: -view.presence):
        if view.presence >= THERE and view.agrees and not _covered(view.box, known):
            known.append(view.box)
            found.append(view)
    return _added(answer, found) if found else answer


def _certain(answer: Grounded, least: float) -> Grounded:
    """The answer without boxes whose score, as they are seen from closer, is lower."""
    kept = []
    for entity in answer.entities:
        boxes = tuple(box for box in entity.boxes if (box.score or 0.0) >= least)
        if boxes:
            kept.append(replace(entity, boxes=boxes))
    return replace(answer, entities=tuple(kept))


def _better_name(model: Kosmos2, seen: Seen, entity: Entity) -> str | None:
    """Under what name the thing in a phrase's only box is surer to be there, if there is one."""
    if len(entity.boxes) != 1 or not entity.phrase:
        return None
    part = Part.around(entity.boxes[0], seen.width, seen.height)
    if part is None:
        return None
    closely = model.see(part.cut(seen))
    sure = model.locate(closely, entity.phrase, best=1).presence
    if sure >= SURE:
        return None
    name = _name(model, closely, part.inside(entity.boxes[0]))
    if not name or name == entity.phrase:
        return None
    return name if model.locate(closely, name, best=1).presence > sure else None


def _name(model: Kosmos2, seen: Seen, box: Box) -> str:
    return model.ask(seen, NAME, box).text.strip().rstrip(".")


def _written_on(
    model: Kosmos2, ask: Ask, answer: Grounded, place: int, name: str, options: Options
) -> Grounded:
    """The answer up to a phrase, that phrase under another name, and what the model says then."""
    before, wrong = answer.entities[:place], answer.entities[place]
    text = answer.text[: wrong.start] + name
    known = (*before, replace(wrong, phrase=name, end=len(text)))
    beginning = render(text, known)
    if not beginning.startswith(PHRASE):
        beginning = f" {beginning}"
    if ask.with_prompt:  # the prompt's words are the answer's first
        again = replace(ask, prompt=Prompt((Markup(GROUNDING + beginning),)))
    else:
        parts = ask.prompt.parts
        again = replace(
            ask, prompt=Prompt((*parts, Markup(beginning))), with_prompt=True, context=len(parts)
        )
    (rest,) = model.answer([again], options)
    return replace(
        rest,
        entities=(*known, *rest.entities[len(known) :]),  # boxes of a prompt have no scores
        prompt=answer.prompt,
        tokens=answer.tokens + rest.tokens,
        forced=answer.forced + rest.forced,
    )


def _alike(one: Entity, other: Entity) -> bool:
    return (
        one.phrase == other.phrase
        and len(one.boxes) == len(other.boxes) == 1
        and one.boxes[0].iou(other.boxes[0]) >= SAME
    )


def _in_quarters(model: Kosmos2, seen: Seen) -> Iterator[Box]:
    """The boxes, of whole things, in what is told of each quarter."""
    parts = [*Part.quarters(seen.width, seen.height)]
    told = model.caption(model.see([part.cut(seen) for part in parts]), detailed=True)
    for part, answer in zip(parts, told, strict=True):
        for entity in answer.entities:
            yield from (part.outside(box) for box in entity.boxes if part.holds(box))


@dataclass(frozen=True, slots=True)
class _View:
    """Something in a box, seen from closer."""

    name: str
    presence: float  # what both looks grant it, the one at the whole picture and the closer one
    box: Box  # as it is seen from closer
    agrees: bool  # whether that is the box that was looked at

    @classmethod
    def of(cls, model: Kosmos2, seen: Seen, box: Box) -> Self | None:
        """None where there is nothing closer, or nothing to be named."""
        part = Part.around(box, seen.width, seen.height)
        if part is None:
            return None
        closely = model.see(part.cut(seen))
        name = _name(model, closely, part.inside(box))
        if not name:
            return None
        near: Located = model.locate(closely, name, best=1)
        far: Located = model.locate(seen, name, best=1)
        there = part.outside(near.boxes[0])
        return cls(
            name=name,
            presence=min(near.presence, far.presence),
            box=there,
            agrees=there.iou(box) >= SAME,
        )


def _covered(box: Box, known: Sequence[Box]) -> bool:
    """Whether a box shares most of itself, or of another, with that other."""
    return any(box.shared(one) > COVERED * min(box.area, one.area) for one in known)


def _added(answer: Grounded, found: Sequence[_View]) -> Grounded:
    """The answer and a sentence of what else there is."""
    text = f"{answer.text} There {'is' if len(found) == 1 else 'are'} also"
    entities: list[Entity] = []
    for place, view in enumerate(found):
        if place:
            text += " and" if place == len(found) - 1 else ","
        start = len(text) + 1
        text += f" {view.name}"
        entities.append(Entity(view.name, start, len(text), (view.box,)))
    text += "."
    known = len(answer.text)
    sentence = [replace(e, start=e.start - known, end=e.end - known) for e in entities]
    return replace(
        answer,
        text=text,
        entities=(*answer.entities, *entities),
        markup=answer.markup + render(text[known:], sentence),
    )
