"""A row as people can read it: each lesson's tokens, which of them are learnt, and the boxes.

Everything is read from the row itself, which is what the network gets: not from what made it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal

from kosmos2.data.rows import IGNORED, PICTURE, Row
from kosmos2.geometry import box_of
from kosmos2.markup import OBJECT, OBJECT_END, PHRASE, TAGS, Entity
from kosmos2.tokenizer import Tokenizer

# Words that only point ("it"): any others are a better name.
_POINTING = {"", "it", "this", "that", "this object", "that object", "the object"}

Look = Literal["words", "tag", "cell", "picture"]


@dataclass(slots=True)
class Token:
    """One token, or all slots of a picture as one."""

    text: str
    look: Look
    learnt: bool
    place: int | None = None  # which of the row's places it speaks of
    unwritten: bool = False  # is learnt here, but does not stand here: the end of an answer


@dataclass(slots=True)
class Told:
    """One lesson, or the prefix that all share."""

    segment: int
    task: str
    tokens: list[Token] = field(default_factory=list)
    count: int = 0  # of tokens, slots included
    learnt: int = 0
    weight: float = 1.0


@dataclass(slots=True)
class RowTold:
    """All lessons of a row, and the places in its pictures that they speak of."""

    lessons: list[Told]
    places: list[tuple[int, Entity]]  # number of the picture, phrase with its boxes

    def entities(self, picture: int) -> list[Entity]:
        """Places in one of the pictures; the others keep their number, and with it a colour.

        What is one of several ("two dogs") is not named a second time.
        """
        here = [set(entity.boxes) for number, entity in self.places if number == picture]
        found = []
        for number, entity in self.places:
            boxes = entity.boxes if number == picture else ()
            named = not any(set(boxes) < other for other in here)
            found.append(Entity(entity.phrase if named else "", 0, 0, boxes))
        return found

    def summary(self) -> str:
        """How much of it is learnt."""
        lessons = [lesson for lesson in self.lessons if lesson.segment != PICTURE]
        learnt = sum(lesson.learnt for lesson in lessons)
        count = sum(lesson.count for lesson in self.lessons)
        many = f"{len(lessons)} lesson{'s' * (len(lessons) != 1)}"
        return f"{many}, {learnt} of {count} tokens learnt"


def told(row: Row, tokenizer: Tokenizer) -> RowTold:
    """Read a row."""
    places: list[tuple[int, Entity]] = []
    segments = row.segments.tolist()
    parts = sorted(set(segments), key=segments.index)
    lessons = [_lesson(row, segment, tokenizer, places) for segment in parts]
    # What is drawn later lies on top: one of several goes beneath all of them.
    order = sorted(range(len(places)), key=lambda index: len(places[index][1].boxes))
    for token in (token for lesson in lessons for token in lesson.tokens):
        if token.place is not None:
            token.place = order.index(token.place)
    return RowTold(lessons, [places[index] for index in order])


def _lesson(row: Row, segment: int, tokenizer: Tokenizer, places: list[tuple[int, Entity]]) -> Told:
    lesson = Told(segment, row.kinds[segment - 1] if 0 < segment <= len(row.kinds) else "")
    tags = {tokenizer.tag(tag): tag for tag in TAGS}
    pictures = _pictures_before(row, segment)
    corners: list[int] = []
    words: str | None = None  # of the phrase that is open, or was just closed
    begun = 0  # where what speaks of the next place begins
    for i, token in _tokens(row, segment, tokenizer):
        slot = token.look == "picture"
        again = slot and bool(lesson.tokens) and lesson.tokens[-1].look == "picture"
        lesson.count += not token.unwritten
        lesson.learnt += token.learnt
        if again:
            continue  # a picture's slots are told once
        lesson.tokens.append(token)
        pictures += slot
        if row.labels[i] != IGNORED:
            lesson.weight = float(row.weights[i])
        if token.unwritten:
            continue
        tag = tags.get(int(row.ids[i]))
        if tag == PHRASE:
            words, begun = "", len(lesson.tokens) - 1
        elif tag == OBJECT:
            corners, begun = [], len(lesson.tokens) - 1 if words is None else begun
        elif tag == OBJECT_END:
            place = _place(places, max(pictures - 1, 0), (words or "").strip(), corners)
            for one in lesson.tokens[begun:] if place is not None else ():
                one.place = place
            words = None
        elif token.look == "cell":
            corners.append(int(row.ids[i]) - tokenizer.cells.start)
        elif tag is None and words is not None:
            words += token.text
    return lesson


def _tokens(row: Row, segment: int, tokenizer: Tokenizer) -> Iterator[tuple[int, Token]]:
    """Each token of a segment with its place in the row, or with that of the one foretelling it."""
    stream = tokenizer.stream(skip_special=False)
    stream.push(tokenizer.bos)  # the first token loses its space
    here = [i for i, one in enumerate(row.segments.tolist()) if one == segment]
    tags = {tokenizer.tag(tag) for tag in TAGS}
    special = {tokenizer.bos, tokenizer.eos, tokenizer.pad, tokenizer.unk} | tags
    foretold = False  # whether the token before teaches this one
    for i, after in zip(here, [*here[1:], None]):
        id, label = int(row.ids[i]), int(row.labels[i])
        if row.slots[i]:
            yield i, Token("picture", "picture", False)
        else:
            look: Look = "cell" if id in tokenizer.cells else "tag" if id in special else "words"
            text = stream.push(id)
            shown = f"{id - tokenizer.cells.start:04d}" if look == "cell" else text
            yield i, Token(shown, look, foretold)
        follows = after is not None and int(row.ids[after]) == label
        if label != IGNORED and not follows:
            text = tokenizer.stream(skip_special=False).push(label)
            yield i, Token(text, "tag", True, unwritten=True)
        foretold = label != IGNORED and follows


def _pictures_before(row: Row, segment: int) -> int:
    """Pictures that a lesson's own come after: those of the shared prefix."""
    if segment == PICTURE:
        return 0
    shared = [bool(slot) for slot, one in zip(row.slots, row.segments) if one == PICTURE]
    return sum(slot and not before for before, slot in zip([False, *shared], shared))


def _place(
    places: list[tuple[int, Entity]], picture: int, words: str, corners: list[int]
) -> int | None:
    """The place of those cells, the same for all lessons that speak of it."""
    boxes = tuple(box_of(*pair) for pair in zip(corners[::2], corners[1::2]))
    if not boxes:
        return None
    for index, (number, entity) in enumerate(places):
        if number == picture and entity.boxes == boxes:
            if words and entity.phrase.casefold() in _POINTING:
                places[index] = (number, Entity(words, 0, 0, boxes))
            return index
    places.append((picture, Entity(words, 0, 0, boxes)))
    return len(places) - 1
