"""Answers on a terminal: words with their phrases in colour, a table of boxes, the model's slips.

Colours are those of the boxes in a drawing. They are left out where nobody sees them: in a file or
a pipe, with NO_COLOR set, on a terminal without colours.
"""

from __future__ import annotations

import os
import shutil
import sys
import unicodedata
from collections.abc import Iterator, Sequence
from typing import TextIO

from kosmos2.geometry import Box
from kosmos2.markup import Entity
from kosmos2.palette import paint
from kosmos2.result import Grounded

_DIGITS = {"norm01": 3, "px": 0, "norm1000": 0}  # more would claim more than a cell can say
_LONGEST = 40  # columns for a phrase in the table
_SLIPS = 5  # of one answer, at most


def complain(message: str) -> None:
    """One line on standard error, whatever the message holds."""
    note(f"kosmos2: {' '.join(message.split())}")


def note(line: str) -> None:
    """Say something beside the answer."""
    if sys.stderr is not None:
        print(clean(line), file=sys.stderr, flush=True)


def show(line: str) -> None:
    """Write a line of the answer, at once."""
    print(line, flush=True)


def is_terminal(stream: TextIO | None) -> bool:
    """Whether somebody is looking."""
    return stream is not None and stream.isatty()


def has_colours(stream: TextIO | None) -> bool:
    """Whether they want to see colours (see no-color.org)."""
    wanted = not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
    return wanted and is_terminal(stream)


def clean(text: str) -> str:
    """Words of a model or a user must not steer a terminal."""
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)


def dim(text: str, *, colours: bool) -> str:
    """Less important."""
    return f"\x1b[2m{text}\x1b[0m" if colours else text


def sentence(answer: Grounded, *, colours: bool) -> str:
    """The text, each phrase that has a box on its colour."""
    written, done = [], 0
    for index, entity in enumerate(answer.entities):
        if not colours or not entity.boxes or entity.start < done:
            continue
        written.append(clean(answer.text[done : entity.start]))
        written.append(paint(answer.text[entity.start : entity.end], index))
        done = entity.end
    written.append(clean(answer.text[done:]))
    return "".join(written)


def table(answer: Grounded, coords: str, *, colours: bool) -> list[str]:
    """Phrases, boxes and scores in columns."""
    rows = list(_rows(answer, coords))
    if not rows:
        return []
    head = ("", ("x1", "y1", "x2", "y2"), "score")
    widest = max(_width(phrase) for _, phrase, _, _ in rows)
    number = max(len(cell) for _, _, corners, _ in (*rows, (0, *head)) for cell in corners)
    lines = [dim(_line(" " * widest, head[1], head[2], number), colours=colours)]
    for index, phrase, corners, score in rows:
        blank = " " * (widest - _width(phrase))
        shown = paint(phrase, index) if colours and phrase and corners else phrase
        lines.append(_line(shown + blank, corners, score, number))
    return lines


def remarks(answer: Grounded) -> list[str]:
    """What is wrong with the answer."""
    lines = [clean(f"{slip.kind}: {slip.detail}") for slip in answer.problems[:_SLIPS]]
    if len(answer.problems) > _SLIPS:
        lines.append(f"and {len(answer.problems) - _SLIPS} more; --json has them all")
    if answer.finish == "length":
        lines.append(f"cut off after {answer.tokens} tokens; --max-new-tokens allows more")
    return lines


class Live:
    """Words on a terminal as they come; a phrase gets its colour once its boxes are known.

    Lines are broken here and not by the terminal, so that it is known where a phrase stands.
    """

    def __init__(self, stream: TextIO, *, colours: bool) -> None:
        self._stream = stream
        self._colours = colours
        size = shutil.get_terminal_size()
        # The last column is left free: terminals disagree on where the cursor is after it.
        self._columns, self._lines = max(2, size.columns - 1), size.lines
        self._text = ""
        self._places: list[tuple[int, int]] = []  # line and column of each character
        self._line = self._column = 0

    def write(self, text: str) -> None:
        """Go on."""
        written = []
        for character in clean(text):
            wide = _width(character)
            if self._column + wide > self._columns:
                written.append("\n")
                self._line, self._column = self._line + 1, 0
            self._places.append((self._line, self._column))
            self._column += wide
            written.append(character)
            self._text += character
        self._stream.write("".join(written))
        self._stream.flush()

    def paint(self, start: int, end: int, index: int) -> None:
        """Colour the words from `start` to the last one written, in place."""
        if not self._colours or not 0 <= start < end == len(self._text):
            return
        line, column = self._places[start]
        up = self._line - line
        if up >= self._lines - 1:
            return  # scrolled away
        self._stream.write(f"\x1b[{up}A" * bool(up) + "\r" + f"\x1b[{column}C" * bool(column))
        parts: dict[int, str] = {}
        for character, (there, _) in zip(self._text[start:], self._places[start:]):
            parts[there] = parts.get(there, "") + character
        self._stream.write("\n".join(paint(part, index) for part in parts.values()))
        self._stream.flush()

    def end(self) -> None:
        """Leave the cursor on a line of its own."""
        if self._text:
            self._stream.write("\n")
            self._stream.flush()


def _rows(answer: Grounded, coords: str) -> Iterator[tuple[int, str, Sequence[str], str]]:
    size = (answer.image.width, answer.image.height) if answer.image else (None, None)
    for index, entity in enumerate(answer.entities):
        phrase = _short(entity)
        if not entity.boxes:
            yield index, phrase, (), "not found"
        for box in entity.boxes:
            corners = [f"{value:.{_DIGITS[coords]}f}" for value in box.scaled(coords, *size)]
            yield index, phrase, corners, _score(box)
            phrase = ""  # several boxes of one phrase stand below each other


def _line(phrase: str, corners: Sequence[str], score: str, number: int) -> str:
    cells = "  ".join(f"{cell:>{number}}" for cell in corners)
    return f"  {phrase}  {cells}  {score}".rstrip() if corners else f"  {phrase}  {score}"


def _score(box: Box) -> str:
    return "-" if box.score is None else f"{box.score:.2f}"


def _short(entity: Entity) -> str:
    phrase = clean(entity.phrase) or "(no phrase)"
    return phrase if len(phrase) <= _LONGEST else phrase[: _LONGEST - 1] + "…"


def _width(text: str) -> int:
    """Columns that a terminal gives to a text."""
    return sum(
        0 if unicodedata.combining(c) else 2 if unicodedata.east_asian_width(c) in "WF" else 1
        for c in text
    )
