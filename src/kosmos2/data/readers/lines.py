"""JSON Lines: our own format, one row a line.

A picture and what is said about it, with the words that are tied to boxes:

    {"picture": "a.jpg", "text": "a dog and a cat",
     "spans": [{"phrase": "a dog", "boxes": [[0.1, 0.2, 0.5, 0.9]]},
               {"start": 10, "end": 15, "boxes": [[0.5, 0.2, 0.9, 0.9]], "score": 0.8}]}

A phrase has to stand in the text; the second span that says the same means its second occurrence.
Boxes are x1 y1 x2 y2 as fractions of the picture; with `"coords": "px"` (and "width" and "height")
or `"coords": "norm1000"` beside them, in those. A list of classes instead of words:

    {"picture": "a.jpg", "objects": {"dog": [[0.1, 0.2, 0.5, 0.9]]}}

A dialogue (turns alternate: read, learnt; "picture" is shown first, spans as above):

    {"picture": "a.jpg", "turns": [{"text": "What is it?"}, {"text": "A dog.", "spans": [...]}]}

A document, and words alone:

    {"pieces": [{"text": "First"}, {"picture": "a.jpg"}, {"text": "then", "spans": [...]}]}
    {"text": "Just words."}

Every row may have a "weight". Paths are seen from the file's folder, or from `pictures`.

Two other kinds of rows are taken as they are: GRIT's (caption, noun_chunks, ref_exps, and a picture
or its id) and conversations as LLaVA wrote them (image, conversations of human and gpt).
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from kosmos2.data.readers.boxes import TieRow, box_of, class_turns, tied
from kosmos2.data.readers.files import files_of, has, head
from kosmos2.data.readers.gallery import Gallery
from kosmos2.data.readers.offsets import Lines
from kosmos2.data.readers.pairs import pair
from kosmos2.data.readers.reader import FileReader, text_of
from kosmos2.data.sample import Picture, Sample, Span, Turn
from kosmos2.errors import DataError
from kosmos2.geometry import Box

ENDINGS = (".jsonl", ".ndjson")
PICTURE = ("picture", "image", "file_name", "image_path")
Row = Mapping[str, Any]


class JsonLines(FileReader):
    """Rows of .jsonl files."""

    format = "jsonl"
    says = 'our JSON Lines: {"picture": path, "text": ..., "spans": [...]} and the like'

    def __init__(self, path: Path, *, pictures: Path | None = None, split: str | None = None):
        super().__init__(path, pictures=pictures, split=split)
        self.lines = Lines(files_of(path, *ENDINGS, split=split), self.within)
        folders = dict.fromkeys(file.parent for file in self.lines.files)
        self.gallery = Gallery(pictures, *folders, *(folder / "images" for folder in folders))

    @classmethod
    def recognises(cls, path: Path) -> bool:
        """By the ending and the brace."""
        first = next(path.glob("*.jsonl"), path) if has(path, "*.jsonl") else path
        return first.suffix in ENDINGS and head(first).lstrip().startswith("{")

    def __len__(self) -> int:
        return len(self.lines)

    def name_of(self, row: int) -> str:
        """File and line, from 1."""
        return self.lines.name_of(row)

    def sample(self, row: int, name: str) -> Sample:
        """Whatever the line holds."""
        given = json.loads(self.lines.text(row))
        if not isinstance(given, dict):
            raise DataError("the line is no JSON object")
        weight = float(given.get("weight", 1.0))
        if "pieces" in given:
            turns, pictures = self._pieces(given["pieces"], given)
            return Sample(name, "interleaved", turns, pictures, weight)
        if "noun_chunks" in given or "ref_exps" in given:
            return pair(name, given, self._picture(given))
        if "objects" in given:
            turns = _objects(given["objects"], given)
            return Sample(name, "objects", turns, (self._picture(given),), weight)
        pictures = (self._picture(given),) if any(key in given for key in PICTURE) else ()
        if "turns" in given:
            turns = _dialogue(given["turns"], given, bool(pictures))
            return Sample(name, "dialogue", turns, pictures, weight)
        if "conversations" in given:
            turns = _conversation(given["conversations"], bool(pictures))
            return Sample(name, "dialogue", turns, pictures, weight)
        text = text_of(given, "text", "caption")
        turn = Turn(text, spans(given.get("spans", ()), text, given))
        return Sample(name, "pair" if pictures else "text", (turn,), pictures, weight)

    def _picture(self, row: Row) -> Picture:
        for key in PICTURE:
            if key in row:
                return self.gallery.find(text_of(row, key))
        keys = [str(row[key]) for key in ("key", "id") if row.get(key) is not None]
        return self.gallery.find_stem(*keys)

    def _pieces(
        self, pieces: Sequence[Row], row: Row
    ) -> tuple[tuple[Turn, ...], tuple[Picture, ...]]:
        turns: list[Turn] = []
        pictures: list[Picture] = []
        for piece in pieces:
            if any(key in piece for key in PICTURE):
                turns.append(Turn("", picture=len(pictures)))
                pictures.append(self._picture(piece))
                if "text" not in piece:
                    continue
            text = text_of(piece, "text")
            tied_here = spans(piece.get("spans", ()), text, row)
            if turns and not turns[-1].text:
                turns[-1] = Turn(text, tied_here, picture=turns[-1].picture)
            else:
                turns.append(Turn(text, tied_here))
        return tuple(turns), tuple(pictures)


def spans(given: Sequence[Row], text: str, row: Row) -> tuple[Span, ...]:
    """Spans as our format writes them; those of the same characters become one."""
    ties: list[TieRow] = []
    for span in given:
        start, end = _place(span, text, {(first, last) for first, last, _ in ties})
        if not span["boxes"]:
            raise DataError(f"no box for {text[start:end]!r}; leave the span out")
        score = span.get("score")
        ties += [(start, end, _box(corners, row, score)) for corners in span["boxes"]]
    return tied(ties)


def _place(span: Row, text: str, taken: set[tuple[int, int]]) -> tuple[int, int]:
    """Where the words of a span stand."""
    if "phrase" not in span:
        return span["start"], span["end"]
    phrase = text_of(span, "phrase")
    start = text.find(phrase) if phrase else -1
    # Another span has said the same words: then these are the next such words, if there are any.
    while start >= 0 and (start, start + len(phrase)) in taken:
        further = text.find(phrase, start + 1)
        if further < 0:
            break
        start = further
    if start < 0:
        raise DataError(f"the phrase {phrase!r} is not in the text {text!r}")
    return start, start + len(phrase)


def _box(corners: Sequence[float], row: Row, score: float | None = None) -> Box:
    coords, width_px, height_px = row.get("coords", "norm01"), row.get("width"), row.get("height")
    return box_of(corners, coords, width_px, height_px, score)


def _objects(given: Mapping[str, Sequence[Sequence[float]]], row: Row) -> tuple[Turn, ...]:
    return class_turns(
        (name, _box(corners, row)) for name, boxes in given.items() for corners in boxes
    )


def _dialogue(given: Sequence[Row], row: Row, picture: bool) -> tuple[Turn, ...]:
    turns = []
    for number, turn in enumerate(given):
        text = text_of(turn, "text")
        shown = 0 if picture and number == 0 else None
        turns.append(Turn(text, spans(turn.get("spans", ()), text, row), bool(number % 2), shown))
    return tuple(turns)


def _conversation(given: Sequence[Row], picture: bool) -> tuple[Turn, ...]:
    """LLaVA's: `<image>` stands in the first question, and always means before it."""
    turns = []
    for number, turn in enumerate(given):
        text = text_of(turn, "value").replace("<image>", "").strip()
        shown = 0 if picture and number == 0 else None
        turns.append(Turn(text, (), turn["from"] in ("gpt", "assistant"), shown))
    return tuple(turns)
