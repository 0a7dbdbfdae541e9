"""Grounding markup, both ways: text with tags, and the words, phrases and boxes it stands for.

    tags       the literal tags, and where they begin and end in a stream
    events     what reading yields: Text, Entity, Problem
    boxes      locations to one box and its score
    reader     markup to events, piece by piece or whole
    writer     words and boxes to markup
    reference  the extraction of the reference implementation, quirks and all

The grammar is in docs/markup.md.
"""

from kosmos2.markup.events import KINDS, Entity, Event, Parsed, Problem, Text, gather, joined
from kosmos2.markup.reader import Reader, parse
from kosmos2.markup.reference import reference_extract
from kosmos2.markup.tags import (
    CHUNK_END,
    DELIMITER,
    DOC_END,
    FRAME,
    GROUNDING,
    IMAGE,
    IMAGE_END,
    LINE_END,
    OBJECT,
    OBJECT_END,
    PHRASE,
    PHRASE_END,
    SPECIALS,
    TAG,
    TAGS,
    cell_tag,
    location,
)
from kosmos2.markup.writer import object_block, render, with_boxes

__all__ = [
    "CHUNK_END",
    "DELIMITER",
    "DOC_END",
    "FRAME",
    "GROUNDING",
    "IMAGE",
    "IMAGE_END",
    "KINDS",
    "LINE_END",
    "OBJECT",
    "OBJECT_END",
    "PHRASE",
    "PHRASE_END",
    "SPECIALS",
    "TAG",
    "TAGS",
    "Entity",
    "Event",
    "Parsed",
    "Problem",
    "Reader",
    "Text",
    "cell_tag",
    "gather",
    "joined",
    "location",
    "object_block",
    "parse",
    "reference_extract",
    "render",
    "with_boxes",
]
