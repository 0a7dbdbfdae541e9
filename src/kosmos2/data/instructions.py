"""Grounded instructions, from a phrase to its boxes and back, as in table 9 of the paper."""

from __future__ import annotations

from dataclasses import dataclass

from kosmos2 import prompts
from kosmos2.data.lesson import Lesson, Linked, Part, Said
from kosmos2.data.templates import NUMBERS
from kosmos2.geometry import Box
from kosmos2.markup import GROUNDING
from kosmos2.prompts import Markup, Words

_OPENING = frozenset({"a", "an", "the", "some", "several", "many", "this", "that", *NUMBERS})


@dataclass(frozen=True, slots=True)
class Template:
    """One way to ask what stands in a box, and how the answer to it begins."""

    before: str
    pronoun: str
    after: str
    answer: str


TEMPLATES = {  # by their numbers in table 9 of the paper
    1: Template(" What is", " it", "?", " It is"),
    2: Template(" What is", " this", "?", " This is"),
    3: Template(" Describe", " this object", ".", " This object is"),
    4: Template("", " It", " is", ""),
    5: Template("", " This", " is", ""),
    6: Template("", " The object", " is", ""),
}


def find(phrase: str, boxes: tuple[Box, ...], weight: float = 1.0) -> Lesson:
    """From a phrase to its boxes; without boxes to nothing, so that what is absent is not found."""
    prompt = prompts.ground(uncapital(phrase))
    answer: tuple[Part, ...] = (Linked("", boxes),) if boxes else ()
    said = Said(prompt.parts, False), Said(answer, True)
    return Lesson(said, "find" if boxes else "absent", True, weight)


def describe(template: Template, box: Box, expression: str, weight: float = 1.0) -> Lesson:
    """From a box to an expression: the question with the box is read, the answer is learnt."""
    asked: list[Part] = [Markup(GROUNDING)]
    if template.before:
        asked.append(Words(template.before))
    asked += [Linked(template.pronoun, (box,)), Words(template.after)]
    words = uncapital(expression.strip()).rstrip(" .")
    answer = Words(f"{template.answer} {words}.")
    said = Said(tuple(asked), False), Said((answer,), True)
    return Lesson(said, "describe", True, weight)


def uncapital(expression: str) -> str:
    """The beginning of a sentence as it stands in the midst of one: "A dog" is a dog."""
    first = expression.partition(" ")[0]
    small = first.lower()
    return small + expression[len(first) :] if small in _OPENING else expression
