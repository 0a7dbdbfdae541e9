"""The extraction of the reference implementation, for results that must be equal to its own.

`Kosmos2Processor.post_process_generation` of transformers, behaviour for behaviour: any `<…>` on
one line is deleted, a box without a phrase gets its own tags as a name, nothing is checked, and a
span can be (-1, -1). Only time differs: this one is linear. docs/markup.md lists where `parse`
reads otherwise.
"""

import re
from bisect import bisect_right

from kosmos2.errors import MarkupError
from kosmos2.geometry import Corners, box_of
from kosmos2.markup.tags import DELIMITER, IMAGE_END

_Found = tuple[str, tuple[int, int], list[Corners]]

_PAIR = r"<patch_index_\d+><patch_index_\d+>"
_ENTITY = re.compile(
    rf"(?:<phrase>(?P<phrase>[^<]+)</phrase>)?<object>(?P<boxes>(?:{_PAIR}{DELIMITER})*{_PAIR})</object>"
)
# Up to the end of the line where no `>` comes: then no other `<` in between has one either.
_ANGLED = re.compile(r"<[^>\n]*(?P<end>>?)")
_DIGITS = 300  # more do not fit a float


def reference_extract(text: str) -> tuple[str, list[_Found]]:
    """Clean text and entities, of what follows the last image.

    An entity is `(phrase, (start, end), [(x1, y1, x2, y2), …])`.

    Raises:
        MarkupError: A location with hundreds of digits (the reference raises there as well).
    """
    caption = text[text.rfind(IMAGE_END) + len(IMAGE_END) :] if IMAGE_END in text else text
    deleted = [run.span() for run in _ANGLED.finditer(caption) if run["end"]]
    # Characters deleted up to and including each run.
    totals = [0]
    for start, end in deleted:
        totals.append(totals[-1] + end - start)
    ends = [end for _, end in deleted]

    def shifted(place: int) -> int:
        return place - totals[bisect_right(ends, place)]

    clean = _ANGLED.sub(lambda run: "" if run["end"] else run[0], caption)
    margin = len(clean) - len(clean.lstrip())
    entities = []
    for name, (start, end), boxes in _entities(caption):
        left, right = len(name) - len(name.lstrip()), len(name) - len(name.rstrip())
        span = shifted(start) - margin + left, shifted(end) - margin - right
        entities.append((name.strip(), span, boxes))
    return clean.strip(), entities


def _entities(caption: str) -> list[_Found]:
    """Names as they stand, with spans in the caption."""
    found: list[_Found] = []
    for match in _ENTITY.finditer(caption):
        pairs = []
        for pair in match["boxes"].split(DELIMITER):
            numbers = re.findall(r"\d+", pair)
            if max(map(len, numbers)) > _DIGITS:
                raise MarkupError(
                    f"a location of more than {_DIGITS} digits in the object at character "
                    f"{match.start()} of the caption; cells have four",
                    match.start(),
                )
            pairs.append((int(numbers[0]), int(numbers[1])))
        if match["phrase"]:
            boxes = [box_of(*pair).corners for pair in pairs]
            found.append((match["phrase"], match.span("phrase"), boxes))
            continue
        for first, last in pairs:
            name = f"<patch_index_{first}><patch_index_{last}>"
            found.append((name, (match.start(), match.start()), [box_of(first, last).corners]))
    return found
