"""From words and boxes to markup: what the model is shown, in the form it writes itself."""

from collections.abc import Iterable, Sequence
from numbers import Real
from typing import cast

from kosmos2.errors import PromptError
from kosmos2.geometry import Box, cells_of
from kosmos2.markup.events import Entity
from kosmos2.markup.tags import (
    DELIMITER,
    OBJECT,
    OBJECT_END,
    PHRASE,
    PHRASE_END,
    TAG,
    cell_tag,
)

OneBox = Box | Sequence[float]
Boxes = OneBox | Sequence[OneBox] | None  # of one phrase


def object_block(boxes: Iterable[OneBox]) -> str:
    """The `<object>` of one phrase: two locations for each box, delimiters between boxes."""
    pairs = (cells_of(Box.checked(box)) for box in boxes)
    written = DELIMITER.join(cell_tag(first) + cell_tag(last) for first, last in pairs)
    if not written:
        raise PromptError(f"an {OBJECT} needs a box; leave it out where there is none")
    return f"{OBJECT}{written}{OBJECT_END}"


def render(text: str, entities: Iterable[Entity]) -> str:
    """Markup for a clean text and its entities: the inverse of `parse`, up to the size of a cell.

    Whitespace before a phrase goes inside its tag, where the model writes it. Scores have no
    markup.

    Raises:
        PromptError: The text contains a tag, spans overlap or miss the text, or a box is missing.
    """
    if tag := TAG.search(text):
        raise PromptError(f"the text has the tag {tag[0]} at character {tag.start()}; take it out")
    written: list[str] = []
    done = 0
    for entity in sorted(entities, key=lambda entity: (entity.start, entity.end)):
        _check(entity, text, done)
        before = text[done : entity.start]
        words = before.rstrip()
        blank = before[len(words) :]
        written.append(words)
        if entity.phrase:
            # The model begins a text with a space too; reading drops it.
            written += [PHRASE, blank if entity.start else " ", entity.phrase, PHRASE_END]
            done = entity.end
        else:
            done = entity.start - len(blank)
        written.append(object_block(entity.boxes))
    written.append(text[done:])
    return "".join(written)


def with_boxes(text: str, boxes: Sequence[Boxes] | None) -> str:
    """Put an `<object>` after each `<phrase>…</phrase>` of a prompt.

    Args:
        text: Markup with phrases.
        boxes: For each phrase a box, a list of boxes, or None. Nothing at all changes nothing.

    Raises:
        PromptError: Not one element for each phrase, a phrase that is empty or has boxes already,
            or numbers that make no box.
    """
    if boxes is None or len(boxes) == 0:
        return text
    ends = _phrase_ends(text)
    if len(ends) != len(boxes):
        raise PromptError(
            f"{len(boxes)} box lists for {len(ends)} phrases; give one list, or None, for each "
            f"{PHRASE}…{PHRASE_END}"
        )
    written: list[str] = []
    done = 0
    for number, ((end, fault), given) in enumerate(zip(ends, boxes), start=1):
        wanted = _box_list(given)
        if not wanted:
            continue
        if fault:
            raise PromptError(f"phrase {number} {fault}; give None for it, or mend the text")
        written += [text[done:end], object_block(wanted)]
        done = end
    return "".join([*written, text[done:]])


def _check(entity: Entity, text: str, done: int) -> None:
    name = f"entity {entity.phrase!r} at {entity.start} to {entity.end}"
    if not 0 <= entity.start <= entity.end <= len(text):
        raise PromptError(f"{name} lies outside the text of {len(text)} characters")
    if text[entity.start : entity.end] != entity.phrase:
        there = text[entity.start : entity.end]
        raise PromptError(f"{name} does not match the text, which has {there!r} there")
    if entity.phrase != entity.phrase.strip():
        raise PromptError(f"{name} begins or ends with whitespace; leave it out of the phrase")
    if entity.start < done:
        raise PromptError(f"{name} overlaps the entity before it; phrases cannot be nested")
    if not entity.boxes:
        raise PromptError(f"{name} has no box; leave the entity out")


def _phrase_ends(text: str) -> list[tuple[int, str]]:
    """For each phrase the place after its end tag, and what is wrong with adding a box there."""
    tags = list(TAG.finditer(text))
    ends: list[tuple[int, str]] = []
    opened: int | None = None
    for index, tag in enumerate(tags):
        if tag[0] == PHRASE:
            opened = tag.end()
        elif tag[0] == PHRASE_END and opened is not None:
            following = tags[index + 1] if index + 1 < len(tags) else None
            fault = "" if text[opened : tag.start()].strip() else "is empty"
            if (
                following
                and following[0] == OBJECT
                and not text[tag.end() : following.start()].strip()
            ):
                fault = f"has an {OBJECT} already"
            ends.append((tag.end(), fault))
            opened = None
    return ends


def _box_list(given: Boxes) -> list[OneBox]:
    """One box or several, as several."""
    if given is None:
        return []
    if isinstance(given, Box) or not isinstance(given, Iterable):
        return [given]
    several = list(given)
    if several and isinstance(several[0], Real):
        return [cast(Sequence[float], given)]
    return cast(list[OneBox], several)
