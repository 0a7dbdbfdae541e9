"""An example about a scene as a lesson, for whoever trains on lessons."""

from __future__ import annotations

from kosmos2.data.lesson import Lesson, Linked, Said
from kosmos2.prompts import Words
from kosmos2.scenes.sentences import Example, Link

# Where a whole lesson hangs on one token of the answer, that token counts more.
WEIGHTS = {"count": 4.0, "presence": 3.0, "colour": 3.0}


def lesson_of(example: Example) -> Lesson:
    """What is asked is read, what is answered is learnt."""
    answer = tuple(
        Linked(part.words, part.boxes) if isinstance(part, Link) else Words(part)
        for part in example.answer
    )
    return Lesson(
        (Said(example.prompt.parts, learn=False), Said(answer, learn=True)),
        task=example.task,
        grounded=example.prompt.markup.startswith("<grounding>"),
        weight=WEIGHTS.get(example.kind, 1.0),
    )
