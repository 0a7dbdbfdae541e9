"""From a lesson to the tokens that teach it: which ids, which count, and where corners truly lie.

Boundaries of phrases lie between tokens, and the words' ids are those of the text without tags,
as in the released loader: what follows a phrase without a space is encoded as going on from it.

Shapes: T tokens.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal

from kosmos2.data.lesson import Lesson, Linked
from kosmos2.geometry import SIDE, Box, cells_of
from kosmos2.markup import DELIMITER, IMAGE, IMAGE_END, OBJECT, OBJECT_END, PHRASE, PHRASE_END
from kosmos2.prompts import Markup, PictureMark, Words
from kosmos2.tokenizer import Tokenizer

NOWHERE = (-1.0, -1.0)
Corners = Literal["reference", "unilm"]  # whose rule says which cells name a box
Cells = Callable[[Box], tuple[int, int]]
_STRANGE = "\ue000"  # a character without meaning, for private use: never part of a piece


@dataclass(slots=True)
class Tokens:
    """One lesson as ids. A list has one element for each token, unless it says otherwise."""

    ids: list[int] = field(default_factory=list)
    corners: list[tuple[float, float]] = field(default_factory=list)  # in cells; NOWHERE for words
    learnt: list[bool] = field(default_factory=list)
    slots: list[bool] = field(default_factory=list)  # places for what is seen of a picture
    ends: list[int] = field(default_factory=list)  # places of answers' last tokens, before a turn
    whole: list[tuple[int, int]] = field(default_factory=list)  # links and pictures: start, end
    task: str = ""
    weight: float = 1.0

    def __len__(self) -> int:
        return len(self.ids)

    def words(self, ids: Sequence[int], learn: bool) -> None:
        """Append tokens that are not places."""
        self.add(ids, [NOWHERE] * len(ids), learn)

    def add(
        self,
        ids: Sequence[int],
        corners: Sequence[tuple[float, float]],
        learn: bool,
        *,
        slots: bool = False,
    ) -> None:
        """Append tokens."""
        self.ids += ids
        self.corners += corners
        self.learnt += [learn] * len(ids)
        self.slots += [slots] * len(ids)

    @property
    def teaches(self) -> bool:
        """Whether anything of it is learnt."""
        return any(self.learnt) or bool(self.ends)

    def cut(self, most: int) -> Tokens:
        """The first tokens, at most so many: a link or a picture goes whole, with what follows.

        A text that was cut has not come to its end, so no `</s>` is learnt there.
        """
        if len(self) <= most:
            return self
        most = min([max(most, 0), *(start for start, end in self.whole if start < most < end)])
        return Tokens(
            self.ids[:most],
            self.corners[:most],
            self.learnt[:most],
            self.slots[:most],
            [end for end in self.ends if end < most],
            [link for link in self.whole if link[1] <= most],
            self.task,
            self.weight,
        )


def encode(
    lesson: Lesson, tokenizer: Tokenizer, *, latents: int = 0, cells: Cells = cells_of
) -> Tokens:
    """What the network reads, what it learns of that, and where corners truly lie.

    Args:
        lesson: what is taught.
        tokenizer: of the model.
        latents: how many places each picture within the lesson takes.
        cells: from a box to the cells that name it.
    """
    tokens = Tokens(task=lesson.task, weight=lesson.weight)
    for number, said in enumerate(lesson.said):
        before = ""  # what this side has said so far
        if not said.learn and number and lesson.said[number - 1].learn:
            tokens.ends.append(len(tokens) - 1)
        for part in said.parts:
            match part:
                case PictureMark():
                    _picture(tokens, tokenizer, latents)
                    before = ""
                case Markup():
                    tokens.words(tokenizer.encode(part.text.strip()), said.learn)
                    before = ""
                case Words() if said.learn:
                    tokens.words(go_on(before, part.text, tokenizer), True)
                    before += part.text
                case Words():
                    tokens.words(tokenizer.encode(part.text.strip(), markup=False), False)
                case Linked() if said.learn and not lesson.grounded:
                    tokens.words(go_on(before, part.words, tokenizer), True)
                    before += part.words
                case Linked():
                    _link(tokens, part, tokenizer, before, said.learn, cells)
                    before += part.words
    tokens.words([tokenizer.eos], True)
    return tokens


def unilm_cells(box: Box) -> tuple[int, int]:
    """The corner rule of the released loader, which rounds both corners down.

    It differs from `cells_of`, the released processor's, for a lower-right edge that lies exactly
    on a grid line: that edge belongs to the cell behind it.
    """
    across, down = (int(min(edge, 0.99999) * SIDE) for edge in (box.x2, box.y2))
    return cells_of(box)[0], down * SIDE + across


CORNERS: dict[Corners, Cells] = {"reference": cells_of, "unilm": unilm_cells}


def go_on(before: str, text: str, tokenizer: Tokenizer) -> list[int]:
    """Encode words that go on from others: no space is put before one that has none."""
    if not text.strip():
        return []
    joined = bool(before) and not before[-1].isspace() and not text[0].isspace()
    if joined:
        tail = before.split()[-1]
        done = tokenizer.encode(tail, markup=False)
        whole = tokenizer.encode(tail + text.rstrip(), markup=False)
        if whole[: len(done)] == done:
            return whole[len(done) :]
        # The boundary lies within a piece: from here on, pieces are chosen anew.
        whole = tokenizer.encode(_STRANGE + text.rstrip(), markup=False)
        if tokenizer.unk in whole[:2] and whole.index(tokenizer.unk) < len(whole) - 1:
            return whole[whole.index(tokenizer.unk) + 1 :]
    ids = tokenizer.encode(text.strip(), markup=False)
    glued = joined or (not before and not text[0].isspace())
    if glued and tokenizer.decode(ids[:1]) == "":
        return ids[1:]  # the lone space piece that the tokenizer puts before every word
    return ids


def _picture(tokens: Tokens, tokenizer: Tokenizer, latents: int) -> None:
    assert latents, "a lesson with pictures in its midst needs to know how many latents each has"
    start = len(tokens)
    tokens.words([tokenizer.tag(IMAGE)], False)
    ids = [tokenizer.first_slot + i for i in range(latents)]
    tokens.add(ids, [NOWHERE] * latents, False, slots=True)
    tokens.words([tokenizer.tag(IMAGE_END)], False)
    tokens.whole.append((start, len(tokens)))


def _link(
    tokens: Tokens, link: Linked, tokenizer: Tokenizer, before: str, learn: bool, cells: Cells
) -> None:
    start = len(tokens)
    if link.words:
        if learn:
            words = go_on(before, link.words, tokenizer)
        else:
            words = tokenizer.encode(link.words.strip(), markup=False)
        tag, end = tokenizer.tag(PHRASE), tokenizer.tag(PHRASE_END)
        tokens.words([tag, *words, end], learn)
    tokens.words([tokenizer.tag(OBJECT)], learn)
    for place, box in enumerate(link.boxes):
        if place:
            tokens.words([tokenizer.tag(DELIMITER)], learn)
        corners = [(box.x1 * SIDE, box.y1 * SIDE), (box.x2 * SIDE, box.y2 * SIDE)]
        tokens.add([tokenizer.cell(cell) for cell in cells(box)], corners, learn)
    tokens.words([tokenizer.tag(OBJECT_END)], learn)
    tokens.whole.append((start, len(tokens)))
