"""What reading markup yields: words as they come, entities once complete, problems in between."""

from collections.abc import Iterable
from dataclasses import dataclass

from kosmos2.geometry import Box


@dataclass(frozen=True, slots=True)
class Text:
    """More words. All `Text` of a reading, one after the other, are the clean text."""

    text: str


@dataclass(frozen=True, slots=True)
class Entity:
    """A phrase of the clean text and the boxes it names: `text[start:end] == phrase`.

    Boxes without a phrase have the phrase "", at the end of the words before them.
    """

    phrase: str
    start: int
    end: int
    boxes: tuple[Box, ...] = ()


@dataclass(frozen=True, slots=True)
class Problem:
    """Something that breaks the grammar. Reading goes on after it."""

    kind: str  # one of KINDS
    at: int  # characters of markup before it
    detail: str


Event = Text | Entity | Problem

KINDS = {
    "stray_tag": "a tag where the grammar has no place for it; it is left out",
    "lone_location": "a location outside an object; it is left out",
    "unclosed_phrase": "a phrase with no end; a box that follows still belongs to it",
    "empty_phrase": "a phrase without words; its boxes become an entity without phrase",
    "phrase_without_box": "a phrase with no usable box; its words stay in the text",
    "box_without_phrase": "boxes with no phrase before them; they become an entity without phrase",
    "unclosed_object": "an object with no end; its complete boxes are kept",
    "empty_object": "an object without locations",
    "odd_locations": "other than two locations for one box; no box is read from them",
    "unknown_location": "a location beyond the last cell; no box is read from it",
    "inverted_box": "a lower-right corner left of or above the upper-left one; it is left out",
}


@dataclass(frozen=True, slots=True)
class Parsed:
    """Markup, read to its end."""

    text: str
    entities: tuple[Entity, ...] = ()
    problems: tuple[Problem, ...] = ()


def gather(events: Iterable[Event]) -> Parsed:
    """All events of a reading as one value."""
    words: list[str] = []
    entities: list[Entity] = []
    problems: list[Problem] = []
    for event in events:
        if isinstance(event, Text):
            words.append(event.text)
        elif isinstance(event, Entity):
            entities.append(event)
        else:
            problems.append(event)
    return Parsed("".join(words), tuple(entities), tuple(problems))


def joined(events: Iterable[Event]) -> list[Event]:
    """The same events with neighbouring `Text` made one: what no cut of the stream can change."""
    result: list[Event] = []
    words: list[str] = []
    for event in events:
        if isinstance(event, Text):
            words.append(event.text)
            continue
        if words:
            result.append(Text("".join(words)))
            words.clear()
        result.append(event)
    if words:
        result.append(Text("".join(words)))
    return result
