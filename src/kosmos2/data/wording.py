"""How samples are put into words: which lessons a picture gives, and what each of them says.

caption    what is said of the picture; with boxes for half of the pairs, as the paper has it
find       from a phrase to its boxes; and, of a labelling export, from what is absent to none
describe   from a box to what stands in it
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches
from itertools import chain, zip_longest
from typing import Any, Literal, get_args

import numpy as np

from kosmos2.data import objects
from kosmos2.data.dialogue import Turns, dialogue, unplaced
from kosmos2.data.encoding import Corners
from kosmos2.data.instructions import TEMPLATES, Template, describe, find
from kosmos2.data.lesson import Lesson, Part, Said
from kosmos2.data.sample import Sample
from kosmos2.data.spans import Mode, kept, parts_of
from kosmos2.data.templates import OF_MANY, OF_ONE, fault_of
from kosmos2.data.transforms import Transform
from kosmos2.errors import RecipeError
from kosmos2.markup import GROUNDING
from kosmos2.prompts import PICTURE, Markup

Task = Literal["caption", "find", "describe"]
Pool = list[tuple[Lesson, ...]]  # what one task could teach; lessons in a tuple stay together

_USUAL: dict[str, tuple[Task, ...]] = {
    "pair": ("caption",),
    "objects": ("caption", "find", "describe"),
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Wording:
    """How the samples of one source are taught."""

    lessons: tuple[Task, ...] = ()  # none named: captions of pairs, and all of objects
    most_lessons: int = 8  # about one picture
    most_tokens: int = 512  # of all lessons about one picture; a longer one is cut
    mode: Mode = "expression"  # what GRIT's boxes are tied to: the whole expression, or the noun
    boxes_share: float = 0.5  # of the captions with boxes that are taught with them
    least_score: float = 0.65  # of a box, where the data has scores
    contained: bool = False  # of phrases within one another the inner is kept, not the outer
    learn_grounding: bool = True  # `<grounding>` itself is foretold, as in the released loader
    corners: Corners = "reference"  # the corner rule: the released processor's, or its loader's
    turns: Turns = "question"  # of dialogues: between "Question:" and "Answer:", or plain
    describe_by: tuple[int, ...] = (1, 2, 3, 4, 5, 6)  # templates, by their numbers in table 9
    of_one: tuple[str, ...] = OF_ONE  # phrases for a class that is there once
    of_many: tuple[str, ...] = OF_MANY  # and for one that is there several times
    negatives: float = 0.25  # of the phrases asked for, those that are not there (objects)
    most_boxes: int = 20  # a class that is there more often is not asked for
    transform: Transform = "squash"
    flip: float = 0.0  # share of the pictures that are mirrored, if their text allows it
    flip_words: bool = False  # swap left and right in the text, where they forbid it otherwise

    def __post_init__(self) -> None:
        for name in ("boxes_share", "least_score", "negatives", "flip"):
            if not 0 <= getattr(self, name) <= 1:
                raise RecipeError(f"{name} is {getattr(self, name)}; give 0 to 1")
        if self.negatives == 1:
            raise RecipeError("negatives is 1, so nothing would ever be found; give less")
        for name in ("most_lessons", "most_tokens", "most_boxes"):
            if getattr(self, name) < 1:
                raise RecipeError(f"{name} is {getattr(self, name)}; give 1 or more")
        for name, kind in (
            ("mode", Mode),
            ("corners", Corners),
            ("turns", Turns),
            ("transform", Transform),
        ):
            _check_choice(name, getattr(self, name), kind)
        if not self.describe_by or not set(self.describe_by) <= set(TEMPLATES):
            raise RecipeError(f"describe_by is {list(self.describe_by)}; give some of 1 to 6")
        for lesson in self.lessons:
            _check_choice("lessons", lesson, Task)
        for name in ("of_one", "of_many"):
            _check_templates(name, getattr(self, name))

    def template(self, rng: np.random.Generator) -> Template:
        """One to ask by what stands in a box."""
        return TEMPLATES[self.describe_by[rng.integers(len(self.describe_by))]]


def lessons_of(
    sample: Sample, wording: Wording, rng: np.random.Generator, *, classes: Sequence[str] = ()
) -> list[Lesson]:
    """What a sample teaches; maybe nothing.

    Args:
        sample: with its boxes where the picture has them as it is seen.
        wording: how it is taught.
        rng: decides by lot.
        classes: what may be asked for although it is nowhere in the picture.
    """
    if sample.kind in ("interleaved", "text"):
        return [_document(_with_kept(sample, wording), wording, rng)]
    if sample.kind == "dialogue":
        return [dialogue(_with_kept(sample, wording), wording.turns)]
    if sample.kind == "pair":
        pools = _pair(_with_kept(sample, wording), wording, rng)
    else:
        pools = objects.pools(sample, wording, rng, classes)
    wanted = wording.lessons or _USUAL[sample.kind]
    # One of each task, then another of each, so that none crowds out the others.
    shuffled = [
        [pools[task][i] for i in rng.permutation(len(pools[task]))]
        for task in pools
        if task in wanted
    ]
    in_turn = chain.from_iterable(zip_longest(*shuffled, fillvalue=()))
    return list(chain.from_iterable(in_turn))[: wording.most_lessons]


def shown(sample: Sample) -> list[int]:
    """The numbers of the pictures in the order in which the lessons show them."""
    if unplaced(sample.turns):
        return list(range(len(sample.pictures)))
    return [turn.picture for turn in sample.turns if turn.picture is not None]


def _pair(sample: Sample, wording: Wording, rng: np.random.Generator) -> dict[str, Pool]:
    """The caption; what its expressions are tied to; what stands in their boxes."""
    turn, weight = sample.turns[0], sample.weight
    grounded = bool(turn.spans) and bool(rng.random() < wording.boxes_share)
    text = Said(parts_of(turn.text, turn.spans), True)
    switch = Said((Markup(GROUNDING),), wording.learn_grounding)
    caption = Lesson((switch, text) if grounded else (text,), "caption", grounded, weight)
    phrases = [(turn.text[span.start : span.end], span.boxes) for span in turn.spans]
    return {
        "caption": [(caption,)],
        "find": [(find(phrase, boxes, weight),) for phrase, boxes in phrases],
        "describe": [
            (describe(wording.template(rng), boxes[0], phrase, weight),)
            for phrase, boxes in phrases
            if len(boxes) == 1
        ],
    }


def _document(sample: Sample, wording: Wording, rng: np.random.Generator) -> Lesson:
    """Pieces of text and pictures in their order, all text learnt that is to be."""
    boxes = any(turn.spans for turn in sample.turns)
    grounded = boxes and bool(rng.random() < wording.boxes_share)
    said: list[Said] = []
    switch = grounded
    for turn in sample.turns:
        before: list[Part] = [] if turn.picture is None else [PICTURE]
        if said == [] and unplaced(sample.turns):
            before = [PICTURE] * len(sample.pictures)
        words = parts_of(turn.text, turn.spans)
        if switch and turn.spans:  # what comes before the first boxes is text without them
            said.append(Said((*before, Markup(GROUNDING)), turn.learn and wording.learn_grounding))
            before, switch = [], False
        said.append(Said((*before, *words), turn.learn))
    return Lesson(tuple(said), sample.kind, grounded, sample.weight)


def _with_kept(sample: Sample, wording: Wording) -> Sample:
    """The same with those spans alone that are taught."""
    turns = (
        replace(
            turn,
            spans=kept(
                turn.text,
                turn.spans,
                mode=wording.mode,
                least_score=wording.least_score,
                contained=wording.contained,
            ),
        )
        for turn in sample.turns
    )
    return replace(sample, turns=tuple(turns))


def _check_choice(name: str, given: str, kind: Any) -> None:
    known = get_args(kind)
    if given not in known:
        near = get_close_matches(str(given), known, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"give {' or '.join(map(repr, known))}"
        raise RecipeError(f"{name} is {given!r}; {hint}")


def _check_templates(name: str, templates: Sequence[str]) -> None:
    if not templates:
        raise RecipeError(f"{name} is empty; give at least one template")
    for template in templates:
        if fault := fault_of(template):
            raise RecipeError(f"{name}: {fault}")
