"""The tasks in words: what the network is shown for each thing one may ask of it.

The wordings are those the released weights were trained and published with. Words of a user are
kept apart from markup: a `<phrase>` that somebody typed stays words and never becomes a tag. Parts
meet at whitespace or at a tag only, so encoding each part alone is encoding the whole.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from kosmos2.errors import PromptError
from kosmos2.geometry import Box
from kosmos2.markup import GROUNDING, IMAGE, IMAGE_END, PHRASE, PHRASE_END, TAG, object_block

Boxes = Box | Sequence[float] | Sequence["Box | Sequence[float]"]

_BRACKETS = re.compile(r"\[([^\[\]]*)\]")
_WORD_JOINER = "\N{WORD JOINER}"


@dataclass(frozen=True, slots=True)
class Words:
    """Text to be read as words, whatever it looks like."""

    text: str

    def __post_init__(self) -> None:
        _check_text(self.text)


@dataclass(frozen=True, slots=True)
class Markup:
    """Text in which tags are tags."""

    text: str

    def __post_init__(self) -> None:
        _check_text(self.text)


@dataclass(frozen=True, slots=True)
class PictureMark:
    """The place of a picture between words; `PICTURE` is the one to use."""


PICTURE = PictureMark()

Part = Words | Markup | PictureMark


@dataclass(frozen=True, slots=True)
class Prompt:
    """What the network is shown. Pictures without a mark of their own come first."""

    parts: tuple[Part, ...]

    def __post_init__(self) -> None:
        parts = tuple(self.parts)
        object.__setattr__(self, "parts", parts)
        for part in parts:
            if not isinstance(part, (Words, Markup, PictureMark)):
                raise PromptError(
                    f"a prompt is made of Words, Markup and PICTURE, not {type(part).__name__}"
                )
        if not any(isinstance(part, PictureMark) or part.text.strip() for part in parts):
            raise PromptError("the prompt is empty; give it some words")

    @property
    def markup(self) -> str:
        """The prompt as one text, to be shown and read back.

        A tag among `Words` gets an invisible word joiner after its `<`, so that reading this text
        finds the tags that were meant and no others.
        """
        return "".join(_shown(part) for part in self.parts)

    @property
    def images(self) -> int:
        """How many pictures have a place of their own."""
        return sum(isinstance(part, PictureMark) for part in self.parts)


def caption(*, grounded: bool = True, detailed: bool = False) -> Prompt:
    """Say what is in the picture, in a few words or in detail."""
    wording = "Describe this image in detail:" if detailed else "An image of"
    return Prompt((_opening(wording, grounded),))


def ground(phrase: str) -> Prompt:
    """Find what a phrase names: a thing, or a thing by its relation to another."""
    return Prompt((Markup(GROUNDING), *_phrase(_needed(phrase, "phrase"), blank=" ")))


def describe(box: Box | Sequence[float], *, grounded: bool = True) -> Prompt:
    """Say what stands in a box."""
    opening = GROUNDING if grounded else ""
    block = object_block([Box.checked(box)])
    return Prompt((Markup(f"{opening}{PHRASE} It{PHRASE_END}{block} is"),))


def ask(
    question: str,
    *,
    boxes: Mapping[str, Boxes] | Boxes | None = None,
    grounded: bool = True,
) -> Prompt:
    """Answer a question, of which some phrases may be tied to boxes.

    Args:
        question: The question. With a list of boxes, the phrases they belong to stand in brackets:
            "What is [this character]?".
        boxes: One box or a list of boxes for each phrase in brackets, in order; or a mapping from a
            phrase of the question to its box or boxes. Without boxes, brackets are just brackets.
        grounded: Whether the answer names boxes too.

    Raises:
        PromptError: No question, a phrase that is not in it, or not one box list for each bracket.
    """
    question = _needed(question, "question")
    if boxes is None:
        found: list[_Found] = []
    elif isinstance(boxes, Mapping):
        found = _named(question, boxes)
    else:
        found = _bracketed(question, boxes)
    parts: list[Part] = [_opening("Question:", grounded)]
    done, before = 0, " "
    for start, end, phrase, block in sorted(found):
        words = before + question[done:start]
        kept = words.rstrip()
        # Whitespace before a phrase goes inside its tag, where the model writes it.
        parts += [Words(kept), *_phrase(phrase, blank=words[len(kept) :]), Markup(block)]
        done, before = end, ""
    parts += [Words(before + question[done:]), Markup(" Answer:")]
    return Prompt(tuple(part for part in parts if isinstance(part, PictureMark) or part.text))


def complete(text: str) -> Prompt:
    """Go on from markup written by hand; `markup.with_boxes` adds boxes to it."""
    return Prompt((Markup(_needed(text, "prompt")),))


_Found = tuple[int, int, str, str]  # start and end in the question, the phrase, its object block


def _bracketed(question: str, boxes: Boxes) -> list[_Found]:
    """The phrases in brackets with the boxes given for them in order."""
    brackets = list(_BRACKETS.finditer(question))
    several = _several(boxes)
    if len(several) != len(brackets):
        raise PromptError(
            f"{len(several)} box lists for {len(brackets)} phrases in brackets; ask like "
            "'What is [this character]?' and give one box, or list of boxes, for each bracket"
        )
    return [
        (bracket.start(), bracket.end(), _needed(bracket[1], "phrase in brackets"), _block(given))
        for bracket, given in zip(brackets, several)
    ]


def _named(question: str, boxes: Mapping[str, Boxes]) -> list[_Found]:
    """The phrases of the question that the mapping names."""
    found: list[_Found] = []
    for phrase, given in boxes.items():
        phrase = _needed(phrase, "phrase")
        exact = re.escape(phrase)
        # Whole words first: "a cat" is not in "a category". But not all scripts part words.
        places = list(re.finditer(rf"(?<!\w){exact}(?!\w)", question))
        places = places or list(re.finditer(exact, question))
        if len(places) != 1:
            times = f"{len(places)} times in" if places else "not in"
            raise PromptError(
                f"the phrase {phrase!r} is {times} the question {question!r}; use words that stand "
                "there once, or put the phrase in brackets and give the boxes as a list"
            )
        found.append((*places[0].span(), phrase, _block(given)))
    found.sort()
    for one, other in pairwise(found):
        if other[0] < one[1]:
            raise PromptError(
                f"the phrases {one[2]!r} and {other[2]!r} overlap in the question; "
                "phrases cannot be nested"
            )
    return found


def _block(boxes: Boxes) -> str:
    return object_block(_several(boxes))


def _several(boxes: Boxes) -> list[Any]:
    """One box or several, as several: numbers make a box, rows of numbers make boxes."""
    if isinstance(boxes, Box):
        return [boxes]
    if isinstance(boxes, str) or not isinstance(boxes, Iterable):
        raise PromptError(f"boxes are {boxes!r}; give x1, y1, x2, y2, or a list of such boxes")
    rows = list(boxes)
    one_box = any(not isinstance(row, Box) and not hasattr(row, "__len__") for row in rows)
    return [rows] if one_box else rows


def _phrase(phrase: str, *, blank: str) -> tuple[Part, ...]:
    return Markup(PHRASE), Words(blank + phrase), Markup(PHRASE_END)


def _opening(wording: str, grounded: bool) -> Markup:
    return Markup(f"{GROUNDING} {wording}" if grounded else wording)


def _needed(text: str, what: str) -> str:
    _check_text(text)
    if not text.strip():
        raise PromptError(f"the {what} is empty; give it some words")
    return text.strip()


def _check_text(text: str) -> None:
    if not isinstance(text, str):
        raise PromptError(f"a text was expected, not {type(text).__name__}: {text!r}")
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise PromptError(
            f"character {error.start} of the text {text[:40]!r} is half a character "
            f"(U+{ord(text[error.start]):04X}); the text was decoded wrongly, as UTF-8 perhaps"
        ) from error


def _shown(part: Part) -> str:
    if isinstance(part, PictureMark):
        return IMAGE + IMAGE_END
    if isinstance(part, Words):
        return TAG.sub(lambda tag: f"<{_WORD_JOINER}{tag[0][1:]}", part.text)
    return part.text
