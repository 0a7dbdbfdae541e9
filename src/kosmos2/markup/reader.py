"""From markup to words, entities and problems, piece by piece.

The model writes the markup, so nothing here raises: what breaks the grammar is recorded as a
`Problem`, what can be read is read, and every word and every location ends up in the text, in an
entity or in a problem.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

from kosmos2.errors import MarkupError
from kosmos2.geometry import Box
from kosmos2.markup.boxes import Location, box_in
from kosmos2.markup.events import Entity, Event, Parsed, Problem, Text, gather
from kosmos2.markup.tags import (
    DELIMITER,
    FRAME,
    OBJECT,
    OBJECT_END,
    PHRASE,
    PHRASE_END,
    Lexeme,
    Scanner,
    location,
)

_SHOWN = 40  # characters of a phrase that a problem quotes


@dataclass(slots=True)
class _Phrase:
    at: int
    start: int = 0
    words: list[str] = field(default_factory=list)
    closed: bool = False  # from then on it waits for its object


@dataclass(slots=True)
class _Object:
    at: int
    phrase: _Phrase | None
    groups: list[list[Location]] = field(default_factory=lambda: [[]])  # one for each box


def parse(markup: str, *, strict: bool = False) -> Parsed:
    """Read a whole markup text.

    Raises:
        MarkupError: Only when strict: the first thing that breaks the grammar.
    """
    reader = Reader()
    parsed = gather([*reader.feed(markup), *reader.close()])
    if strict and parsed.problems:
        first = parsed.problems[0]
        raise MarkupError(
            f"{first.kind} at character {first.at} of the markup: {first.detail}; "
            "mend it there, or read with strict=False to keep what can be read",
            first.at,
        )
    return parsed


class Reader:
    """Reads a stream of markup, the same however it is cut.

    `feed` gives the events that are now certain: words at once (whitespace when a word follows it),
    an entity as soon as its `</object>` arrives. `close` gives the rest.
    """

    def __init__(self) -> None:
        self._scanner = Scanner()
        self._closed = False
        self._events: list[Event] = []
        self._words: list[str] = []  # of the Text being put together
        self._length = 0  # of the clean text, without whitespace that waits
        self._blanks: list[str] = []  # whitespace that waits: at the end of the text it is dropped
        self._kept = 0  # how many of them stood before the object, or the place for one
        self._phrase: _Phrase | None = None
        self._object: _Object | None = None

    def feed(self, piece: str, logprob: float | None = None) -> list[Event]:
        """Read on.

        Args:
            piece: Any part of the markup, cut anywhere.
            logprob: Where the piece is exactly one location tag, its log-probability among the
                locations. A box has a score when both its locations came with one.
        """
        if self._closed:
            raise MarkupError(
                "this reader is closed; begin another text with a new Reader()", self._scanner.at
            )
        for lexeme in self._scanner.feed(piece):
            self._read(lexeme, logprob if lexeme.text == piece else None)
        return self._take()

    def close(self) -> list[Event]:
        """Nothing more comes: what is still open has no end."""
        for lexeme in self._scanner.close():
            self._read(lexeme, None)
        self._settle()
        self._closed = True
        return self._take()

    def _read(self, lexeme: Lexeme, logprob: float | None) -> None:
        if not lexeme.is_tag:
            self._write(lexeme.text)
        elif (cell := location(lexeme.text)) is not None:
            self._locate(Location(lexeme.at, cell, logprob))
        elif action := _ACTIONS.get(lexeme.text):
            action(self, lexeme.at)
        elif lexeme.text not in FRAME or self._phrase_is_open or self._object:
            self._stray(lexeme.at, lexeme.text)

    # Words

    def _write(self, text: str) -> None:
        words = text.rstrip()
        if words:
            if not self._phrase_is_open:
                self._settle()  # no words in an object, nor between a phrase and its object
            shown = "".join((*self._blanks, words))
            self._blanks.clear()
            if not self._length:
                shown = shown.lstrip()
            if self._phrase is not None:
                if not self._phrase.words:
                    self._phrase.start = self._length + len(shown) - len(shown.lstrip())
                self._phrase.words.append(shown)
            self._words.append(shown)
            self._length += len(shown)
        if len(words) < len(text):
            self._blanks.append(text[len(words) :])

    def _skip_blanks(self) -> None:
        """Between the tags of one entity whitespace means nothing."""
        del self._blanks[self._kept :]

    # Phrases

    @property
    def _phrase_is_open(self) -> bool:
        return self._phrase is not None and not self._phrase.closed

    def _open_phrase(self, at: int) -> None:
        self._settle()
        self._phrase = _Phrase(at)

    def _close_phrase(self, at: int) -> None:
        if self._phrase is None or self._phrase.closed:
            self._stray(at, PHRASE_END)
            return
        self._phrase.closed = True
        self._kept = len(self._blanks)
        if not self._phrase.words:
            self._report(
                "empty_phrase", self._phrase.at, f"nothing between {PHRASE} and {PHRASE_END}"
            )

    # Objects

    def _open_object(self, at: int) -> None:
        if self._object:
            self._settle()
        phrase, self._phrase = self._phrase, None
        if phrase is not None and phrase.closed:
            self._skip_blanks()
        else:
            self._kept = len(self._blanks)
        if phrase is not None and not phrase.closed:
            self._report("unclosed_phrase", phrase.at, f"{OBJECT} comes before {PHRASE_END}")
        self._object = _Object(at, phrase)

    def _locate(self, found: Location) -> None:
        if self._object is None:
            self._report("lone_location", found.at, f"location {found.cell} is in no {OBJECT}")
            return
        self._skip_blanks()
        self._object.groups[-1].append(found)

    def _delimit(self, at: int) -> None:
        if self._object is None:
            self._stray(at, DELIMITER)
            return
        self._skip_blanks()
        self._object.groups.append([])

    def _close_object(self, at: int) -> None:
        if self._object is None:
            self._stray(at, OBJECT_END)
            return
        self._skip_blanks()
        if self._object.groups == [[]]:
            self._report("empty_object", self._object.at, f"nothing in {OBJECT}")
        self._finish(self._object)

    def _finish(self, done: _Object) -> None:
        """An object is over, properly or not: keep the boxes that are whole."""
        self._object = None
        phrase = done.phrase
        boxes: list[Box] = []
        for group in done.groups if done.groups != [[]] else []:
            match box_in(group, done.at):
                case Box() as box:
                    boxes.append(box)
                case problems:
                    for problem in problems:
                        self._emit(problem)
        if not boxes:
            if phrase is not None:
                self._unboxed(phrase)
            return
        if phrase is None:
            self._report("box_without_phrase", done.at, f"no {PHRASE} before this {OBJECT}")
        if phrase is None or not phrase.words:
            self._emit(Entity("", self._length, self._length, tuple(boxes)))
        else:
            self._emit(Entity(_words(phrase), phrase.start, self._length, tuple(boxes)))

    # What goes wrong

    def _settle(self) -> None:
        """End whatever is open without its end tag."""
        if self._object is not None:
            self._report("unclosed_object", self._object.at, f"no {OBJECT_END} after its locations")
            self._finish(self._object)
        phrase, self._phrase = self._phrase, None
        if phrase is not None and phrase.closed:
            self._unboxed(phrase)
        elif phrase is not None:
            self._report("unclosed_phrase", phrase.at, f"no {PHRASE_END} after {_quoted(phrase)}")

    def _unboxed(self, phrase: _Phrase) -> None:
        if phrase.words:
            self._report("phrase_without_box", phrase.at, f"no box for {_quoted(phrase)}")

    def _stray(self, at: int, tag: str) -> None:
        self._report("stray_tag", at, f"{tag} has no meaning here")

    def _report(self, kind: str, at: int, detail: str) -> None:
        self._emit(Problem(kind, at, detail))

    # Events

    def _emit(self, event: Event) -> None:
        if self._words:
            self._events.append(Text("".join(self._words)))
            self._words.clear()
        self._events.append(event)

    def _take(self) -> list[Event]:
        if self._words:
            self._events.append(Text("".join(self._words)))
            self._words.clear()
        events, self._events = self._events, []
        return events


_ACTIONS: dict[str, Callable[[Reader, int], None]] = {
    PHRASE: Reader._open_phrase,
    PHRASE_END: Reader._close_phrase,
    OBJECT: Reader._open_object,
    DELIMITER: Reader._delimit,
    OBJECT_END: Reader._close_object,
}


def _words(phrase: _Phrase) -> str:
    return "".join(phrase.words).lstrip()


def _quoted(phrase: _Phrase) -> str:
    words = _words(phrase)
    return repr(words if len(words) <= _SHOWN else words[:_SHOWN] + "…")
