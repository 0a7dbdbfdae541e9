"""A second look, from closer, for what stands in a box and for where a phrase is."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from kosmos2.engine.grammar import SAME
from kosmos2.geometry import CELLS, Box, box_of, cells_of
from kosmos2.grounder import tasks
from kosmos2.grounder.locating import Located, new
from kosmos2.grounder.part import Part
from kosmos2.grounder.reading import Ask
from kosmos2.grounder.seen import Seen
from kosmos2.markup import cell_tag
from kosmos2.options import Options
from kosmos2.prompts import Boxes
from kosmos2.result import Grounded

if TYPE_CHECKING:
    from kosmos2.grounder.kosmos2 import Kosmos2

GLIMPSE = 0.005  # where a phrase is less surely there than this, nobody looks again

_PAIR = re.compile(r"<patch_index_(\d{4})><patch_index_(\d{4})>")


def describe(
    model: Kosmos2,
    seen: Sequence[Seen],
    box: Boxes,
    *,
    grounded: bool,
    options: Options,
) -> list[Grounded]:
    """What stands in a box of each picture, told of the part around it."""
    asks = [tasks.describe(one, box, grounded=grounded) for one in seen]
    given = Box.checked(box)  # type: ignore[arg-type]  # one box: the ask was made of it
    parts = [Part.around(given, one.width, one.height) for one in seen]
    cut = iter(model.see([part.cut(one) for part, one in zip(parts, seen) if part]))
    nearer = [
        tasks.describe(next(cut), part.inside(given), grounded=grounded) if part else ask
        for part, ask in zip(parts, asks)
    ]
    answers = model.answer(nearer, options)
    return [
        _of_the_whole(answer, ask, part) if part else answer
        for answer, ask, part in zip(answers, asks, parts)
    ]


def locate(
    model: Kosmos2, seen: Seen, found: Sequence[Located], *, refine: bool, overlap: float
) -> list[Located]:
    """The places of phrases, each looked at again where the phrase may be there at all."""
    parts = [
        Part.around(one.boxes[0], seen.width, seen.height) if one.presence >= GLIMPSE else None
        for one in found
    ]
    cut = iter(model.see([part.cut(seen) for part in parts if part]))
    return [
        _both(one, model.locate(next(cut), one.phrase, best=1, refine=refine), part, overlap)
        if part
        else one
        for one, part in zip(found, parts)
    ]


def _of_the_whole(answer: Grounded, ask: Ask, part: Part) -> Grounded:
    """What was said of a part, as said of the picture."""
    return replace(
        answer,
        entities=tuple(
            replace(entity, boxes=tuple(map(part.outside, entity.boxes)))
            for entity in answer.entities
        ),
        markup=_PAIR.sub(lambda pair: _moved(pair, part), answer.markup),
        prompt=ask.prompt.markup,
        picture=ask.seen[-1].picture,
        image=None,  # the picture's
    )


def _moved(pair: re.Match[str], part: Part) -> str:
    """Two locations of a part as those of the picture; what is no box stays as it is."""
    first, last = int(pair[1]), int(pair[2])
    box = box_of(first, last)
    if max(first, last) >= CELLS or not box.area:
        return pair[0]
    return "".join(map(cell_tag, cells_of(part.outside(box))))


def _both(first: Located, second: Located, part: Part, overlap: float) -> Located:
    """Two looks for one phrase as one.

    The second sees the edges better, but not what the phrase may compare the thing with ("the
    largest cup"). So its box counts if it is the first one's, and both have an equal say in
    whether the phrase is there.
    """
    before, now = first.boxes[0], part.outside(second.boxes[0])
    boxes = first.boxes
    if now.iou(before) >= SAME:
        boxes = (now, *(box for box in first.boxes[1:] if new(box, [now], overlap)))
    return replace(first, boxes=boxes, presence=(first.presence + second.presence) / 2)
