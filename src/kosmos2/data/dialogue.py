"""A conversation as a lesson: questions are read, answers are learnt.

Earlier turns stand before a question as the server puts them there, so a model is asked as it was
taught. Every answer's end is learnt, whatever follows it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from kosmos2.data.lesson import Lesson, Part, Said
from kosmos2.data.sample import Sample, Turn
from kosmos2.data.spans import parts_of
from kosmos2.markup import GROUNDING
from kosmos2.prompts import PICTURE, Markup

Turns = Literal["question", "plain"]


def dialogue(sample: Sample, turns: Turns) -> Lesson:
    """All turns in one lesson; spans are those to be taught.

    `<grounding>` stands before a question whose answer has boxes, and before no other. As
    "question", a question is put between "Question:" and "Answer:", as `prompts.ask` does; "plain"
    leaves instructions as they are.
    """
    said: list[Said] = []
    first = [PICTURE] * (len(sample.pictures) if unplaced(sample.turns) else 0)
    for number, turn in enumerate(sample.turns):
        own: Sequence[Part] = [*first, *([] if turn.picture is None else [PICTURE])]
        first = []
        if turn.learn:
            said.append(Said((*own, *parts_of(turn.text, turn.spans)), True))
            continue
        answer = sample.turns[number + 1] if number + 1 < len(sample.turns) else None
        opening = GROUNDING if answer is not None and answer.spans else ""
        words = parts_of(turn.text, turn.spans)
        if turns == "question":
            own = [*own, Markup(f"{opening} Question:".strip()), *words, Markup(" Answer:")]
        else:
            own = [*own, *([Markup(opening)] if opening else []), *words]
        said.append(Said(tuple(own), False))
    grounded = any(turn.learn and turn.spans for turn in sample.turns)
    return Lesson(tuple(said), "dialogue", grounded, sample.weight)


def unplaced(turns: Sequence[Turn]) -> bool:
    """Whether no turn says where a picture is shown: then all come first."""
    return all(turn.picture is None for turn in turns)
