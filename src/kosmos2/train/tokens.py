"""From an example to the tokens that teach it: which ids, which count, and where corners truly lie.

Shapes: T tokens.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from kosmos2.geometry import SIDE, Box, cells_of
from kosmos2.markup import DELIMITER, OBJECT, OBJECT_END, PHRASE, PHRASE_END
from kosmos2.prompts import Markup, Words
from kosmos2.scenes.sentences import Example, Link
from kosmos2.tokenizer import Tokenizer

NOWHERE = (-1.0, -1.0)


@dataclass(slots=True)
class Tokens:
    """One example as ids; the first `asked` of them are the prompt and carry no loss."""

    ids: list[int] = field(default_factory=list)
    corners: list[tuple[float, float]] = field(default_factory=list)  # in cells; NOWHERE for words
    asked: int = 0

    def words(self, ids: Sequence[int]) -> None:
        """Append tokens that are not places."""
        self.ids += ids
        self.corners += [NOWHERE] * len(ids)


def tokens_of(example: Example, tokenizer: Tokenizer) -> Tokens:
    """The prompt as generation would send it, then the answer as it should be given."""
    tokens = Tokens()
    for part in example.prompt.parts:
        if isinstance(part, Words | Markup):
            tokens.words(tokenizer.encode(part.text, markup=isinstance(part, Markup)))
    tokens.asked = len(tokens.ids)
    grounded = example.prompt.markup.startswith("<grounding>")
    for said in example.answer:
        if isinstance(said, str):
            tokens.words(_continue(said, tokenizer))
        else:
            _link(tokens, said, tokenizer, grounded)
    tokens.words([tokenizer.eos])
    return tokens


def _link(tokens: Tokens, link: Link, tokenizer: Tokenizer, grounded: bool) -> None:
    if not grounded:
        tokens.words(_continue(link.words, tokenizer))
        return
    if link.words:
        tag, end = tokenizer.tag(PHRASE), tokenizer.tag(PHRASE_END)
        tokens.words([tag, *_continue(link.words, tokenizer), end])
    tokens.words([tokenizer.tag(OBJECT)])
    for place, box in enumerate(link.boxes):
        if place:
            tokens.words([tokenizer.tag(DELIMITER)])
        _corners(tokens, box, tokenizer)
    tokens.words([tokenizer.tag(OBJECT_END)])


def _corners(tokens: Tokens, box: Box, tokenizer: Tokenizer) -> None:
    upper_left, lower_right = cells_of(box)
    tokens.ids += [tokenizer.cell(upper_left), tokenizer.cell(lower_right)]
    tokens.corners += [(box.x1 * SIDE, box.y1 * SIDE), (box.x2 * SIDE, box.y2 * SIDE)]


def _continue(text: str, tokenizer: Tokenizer) -> list[int]:
    """Encode words that go on from others: no space is put before one that has none."""
    ids = tokenizer.encode(text, markup=False)
    if not text.startswith(" ") and tokenizer.decode(ids[:1]) == "":
        return ids[1:]  # the lone space piece that the tokenizer puts before every word
    return ids
