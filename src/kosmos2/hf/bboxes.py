"""Boxes put into a prompt by the reference's rules, which are strict about types and nothing else.

Each `<phrase>…</phrase>` has one element: None, a box, or a list of boxes. A box is a tuple, of two
`int` (cells) or of four `float` (fractions of the picture). What is no such thing is refused here
as it is there; what makes no place in the picture, a cell 2000 or a corner at 1.2, is written as
the reference writes it, after a notice. `markup.with_boxes` is kinder to types and clamps corners.
"""

from __future__ import annotations

import math
from typing import Any

from kosmos2.errors import PromptError
from kosmos2.geometry import CELLS, SIDE
from kosmos2.hf.notices import once
from kosmos2.markup import DELIMITER, OBJECT, OBJECT_END, PHRASE, PHRASE_END

Cells = tuple[int, int]
Corners = tuple[float, float, float, float]
BoxesOfPhrase = Cells | Corners | list[Cells | Corners] | None
BoxesOfText = list[BoxesOfPhrase] | None


def insert_boxes(text: str, bboxes: Any, place: str = "bboxes") -> str:
    """Write an `<object>` after each phrase that has boxes.

    Args:
        text: a prompt with phrases.
        bboxes: one element for each phrase. None and [] mean no boxes, whatever the text.
        place: what messages call `bboxes`.

    Raises:
        PromptError: another number of elements than of phrases, or an element that is no box.
    """
    wanted = [
        _boxes(element, f"{place}[{at}]") for at, element in enumerate(_listed(bboxes, place))
    ]
    if not wanted:
        return text
    ends = phrase_ends(text)
    if len(ends) != len(wanted):
        raise PromptError(
            f"{place} has {len(wanted)} elements for {len(ends)} phrases; give one for each "
            f"{PHRASE}…{PHRASE_END} (a box, a list of boxes, or None)"
        )
    written: list[str] = []
    done = 0
    for end, boxes in zip(ends, wanted):
        pairs = [" ".join(map(_tag, cells)) for cells in boxes]
        block = f"{OBJECT} {f' {DELIMITER} '.join(pairs)} {OBJECT_END}" if pairs else ""
        written += [text[done:end], block]
        done = end
    return "".join([*written, text[done:]])


def phrase_ends(text: str) -> list[int]:
    """The place after each `<phrase>…</phrase>` with something between the tags, on one line."""
    ends: list[int] = []
    start = 0
    for line in text.split("\n"):
        at = 0
        while (opened := line.find(PHRASE, at)) >= 0:
            closed = line.find(PHRASE_END, opened + len(PHRASE) + 1)
            if closed < 0:
                break
            at = closed + len(PHRASE_END)
            ends.append(start + at)
        start += len(line) + 1
    return ends


def _listed(bboxes: Any, place: str) -> list[Any]:
    if bboxes is None:
        return []
    if not isinstance(bboxes, list):
        raise PromptError(
            f"{place} is a {type(bboxes).__name__}; give a list with one element for each phrase, "
            "as in bboxes=[(44, 863)], or None"
        )
    return bboxes


def _boxes(element: Any, place: str) -> list[Cells]:
    """The pairs of cells of one phrase."""
    if element is None:
        return []
    if isinstance(element, list):
        return [_cells(box, f"{place}[{at}]") for at, box in enumerate(element)]
    return [_cells(element, place)]


def _cells(box: Any, place: str) -> Cells:
    if isinstance(box, tuple) and len(box) == 2 and all(isinstance(cell, int) for cell in box):
        first, last = box
    elif isinstance(box, tuple) and len(box) == 4 and all(isinstance(x, float) for x in box):
        first, last = _cells_of_corners(box, place)
    else:
        raise PromptError(f"{place} is {_brief(box)}; {_way_out(box)}")
    if not all(type(cell) is int and 0 <= cell < CELLS for cell in (first, last)):
        once(
            f"bboxes has a box outside the picture: its cells are not among 0 to {CELLS - 1}, "
            "so the model reads another place, or words instead of one; "
            "clamp corners to 0 and 1, give cells from the picture"
        )
    return first, last


def _cells_of_corners(box: Corners, place: str) -> Cells:
    x1, y1, x2, y2 = box
    if not (x2 > x1 and y2 > y1 and all(math.isfinite(x * SIDE) for x in box)):
        raise PromptError(
            f"{place} is {_brief(box)}; give (x1, y1, x2, y2) with x2 > x1 and y2 > y1, "
            "as fractions of the picture from its top left"
        )
    if min(x1, y1) < 0 or max(x2, y2) > 1:
        once(
            "bboxes has a corner outside 0 to 1, which spills into another row of cells; corners "
            "are fractions of the picture: divide pixels by its width and height, and clamp"
        )
    left, top = math.floor(x1 * SIDE), math.floor(y1 * SIDE)
    right, bottom = math.ceil(x2 * SIDE - 1), math.ceil(y2 * SIDE - 1)
    return top * SIDE + left, bottom * SIDE + right


def _tag(cell: int) -> str:
    """A location tag, also of what is no cell: unlike `markup.cell_tag`."""
    return f"<patch_index_{str(cell).zfill(4)}>"


def _way_out(box: Any) -> str:
    """What was probably meant, written so that it is accepted."""
    if isinstance(box, list | tuple) and len(box) in (2, 4):
        kind = "int" if len(box) == 2 else "float"
        try:
            meant = tuple(map(int if len(box) == 2 else float, box))
        except (TypeError, ValueError, OverflowError):
            pass
        else:
            return f"write it as a tuple of {kind}: {meant}"
    return (
        "give a tuple of two int (cells), a tuple of four float (fractions of the picture), a list "
        "of such tuples, or None. One text takes one list, several texts a list of such lists"
    )


def _brief(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."
