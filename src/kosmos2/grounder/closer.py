"""A second look, from closer: the part of a picture around a box, and the way there and back.

The network looks at 16 x 16 patches, however many pixels a picture has. A thing a tenth as long as
the picture has four of them; in a part of which it takes a third it has thirty.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from kosmos2.engine.grammar import SAME
from kosmos2.errors import InputError
from kosmos2.geometry import CELLS, Box, box_of, cells_of
from kosmos2.grounder import tasks
from kosmos2.grounder.locating import Located
from kosmos2.grounder.reading import Ask
from kosmos2.grounder.seen import Seen
from kosmos2.images import Picture
from kosmos2.markup import cell_tag
from kosmos2.options import Options
from kosmos2.prompts import Boxes
from kosmos2.result import Grounded

if TYPE_CHECKING:
    from kosmos2.grounder.kosmos2 import Kosmos2

# Of the part's side, what the box's longer side takes. Of 1,533 boxes in 500 scenes of seed 31337
# the embedded model named 0.949 without, 0.978 at 0.25 and at 0.4, 0.973 at 0.6.
SHARE = 1 / 3
LEAST_PX = 64  # a part is not cut smaller: there is no more to be seen
GLIMPSE = 0.005  # where a phrase is less surely there than this, nobody looks again

_PAIR = re.compile(r"<patch_index_(\d{4})><patch_index_(\d{4})>")


@dataclass(frozen=True, slots=True)
class Part:
    """A part of a picture, in whole pixels of it."""

    left: int
    top: int
    right: int
    bottom: int
    width: int  # of the whole picture
    height: int

    @classmethod
    def around(cls, box: Box, width: int, height: int) -> Part | None:
        """A square with the box in its middle, or as near to it as the picture's edges let it be.

        Where the picture is too narrow for a square, all of its breadth. None if that is no part
        but all of the picture.
        """
        longer = max((box.x2 - box.x1) * width, (box.y2 - box.y1) * height)
        side = max(round(longer / SHARE), LEAST_PX)
        left, right = _span(box.x1 * width, box.x2 * width, side, width)
        top, bottom = _span(box.y1 * height, box.y2 * height, side, height)
        if right - left == width and bottom - top == height:
            return None
        return cls(left, top, right, bottom, width, height)

    def cut(self, seen: Seen) -> Picture:
        """The part as a picture.

        Raises:
            InputError: a picture of which only the look is left.
        """
        picture = seen.picture
        if not isinstance(picture, Picture):
            raise InputError(f"there is nothing of {picture.name} left to look at from closer")
        edges = (self.left, self.top, self.right, self.bottom)
        return Picture(image=picture.image.crop(edges), name=f"a part of {picture.name}")

    def inside(self, box: Box) -> Box:
        """A box of the picture as one of the part."""
        across, down = self.right - self.left, self.bottom - self.top
        return Box(
            _fraction((box.x1 * self.width - self.left) / across),
            _fraction((box.y1 * self.height - self.top) / down),
            _fraction((box.x2 * self.width - self.left) / across),
            _fraction((box.y2 * self.height - self.top) / down),
            box.score,
        )

    def outside(self, box: Box) -> Box:
        """A box of the part as one of the picture."""
        across, down = self.right - self.left, self.bottom - self.top
        return Box(
            (self.left + box.x1 * across) / self.width,
            (self.top + box.y1 * down) / self.height,
            (self.left + box.x2 * across) / self.width,
            (self.top + box.y2 * down) / self.height,
            box.score,
        )


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


def locate(model: Kosmos2, seen: Seen, found: Sequence[Located], *, refine: bool) -> list[Located]:
    """The places of phrases, each looked at again where the phrase may be there at all."""
    parts = [
        Part.around(one.boxes[0], seen.width, seen.height) if one.presence >= GLIMPSE else None
        for one in found
    ]
    cut = iter(model.see([part.cut(seen) for part in parts if part]))
    return [
        _both(one, model.locate(next(cut), one.phrase, best=1, refine=refine), part)
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


def _both(first: Located, second: Located, part: Part) -> Located:
    """Two looks for one phrase as one.

    The second sees the edges better, but not what the phrase may compare the thing with ("the
    largest cup"). So its box counts if it is the first one's, and both have an equal say in
    whether the phrase is there.
    """
    before, now = first.boxes[0], part.outside(second.boxes[0])
    boxes = (now, *first.boxes[1:]) if now.iou(before) >= SAME else first.boxes
    return replace(first, boxes=boxes, presence=(first.presence + second.presence) / 2)


def _span(first: float, last: float, side: int, whole: int) -> tuple[int, int]:
    """So many pixels around the middle of two places, of all there are."""
    side = min(side, whole)
    begin = min(max(round((first + last - side) / 2), 0), whole - side)
    return begin, begin + side


def _fraction(value: float) -> float:
    return min(max(value, 0.0), 1.0)
