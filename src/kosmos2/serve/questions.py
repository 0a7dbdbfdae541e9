"""A question as a prompt: boxes behind its phrases in brackets, pictures in their places."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from kosmos2 import dialects, prompts
from kosmos2.errors import InputError, PromptError
from kosmos2.geometry import Box
from kosmos2.grounder import Seen
from kosmos2.prompts import PICTURE, Part, Prompt, Words
from kosmos2.serve import wordings
from kosmos2.serve.conversation import MARK
from kosmos2.serve.failures import Refused
from kosmos2.serve.wire.parts import Numbers

BOXES = "grounding.boxes"


@dataclass(frozen=True, slots=True)
class Boxes:
    """Reads boxes in the unit of a request, for one picture."""

    coords: str
    picture: Seen | None
    param: str  # where in the request the words are

    def beside(self, given: Sequence[Numbers | list[Numbers]] | None) -> list[list[Box]]:
        """Those given beside the words: for each phrase its boxes.

        Raises:
            Refused: numbers that make no box.
        """
        return [
            [self._box(row, f"{BOXES}[{at}]") for row in _rows(one)]
            for at, one in enumerate(given or ())
        ]

    def question(self, text: str, beside: Sequence[list[Box]] = (), *, grounded: bool) -> Prompt:
        """The prompt of a question.

        A phrase in brackets has the boxes behind it, or the next of those given beside the words.
        Without boxes at all, brackets are just brackets.

        Raises:
            Refused: numbers that make no box, or phrases and boxes that do not fit.
        """
        try:
            brackets = wordings.brackets(text)
        except ValueError:
            raise Refused("box_invalid", param=self.param) from None
        boxes: list[Any] | None = None
        if beside or any(bracket.boxes for bracket in brackets):
            waiting = list(beside)
            boxes = []
            for bracket in brackets:
                if bracket.boxes is not None:
                    boxes.append([self._box(row, self.param) for row in bracket.boxes])
                else:
                    boxes.append(waiting.pop(0) if waiting else [])
            if waiting or not all(boxes):
                raise Refused("prompt_invalid", param=BOXES)
            for bracket in reversed(brackets):
                text = f"{text[: bracket.start]}[{bracket.phrase}]{text[bracket.end :]}"
        try:
            return _placed(prompts.ask(text, boxes=boxes, grounded=grounded))
        except PromptError:
            raise Refused("prompt_invalid", param=self.param) from None

    def _box(self, numbers: Sequence[float], param: str) -> Box:
        size = (self.picture.width, self.picture.height) if self.picture else ()
        try:
            return dialects.box_from(numbers, self.coords, *size)
        except InputError:
            raise Refused("box_invalid", param=param) from None


def _rows(given: Numbers | list[Numbers]) -> list[Numbers]:
    rows = [row for row in given if isinstance(row, list)]
    return rows or [[number for number in given if not isinstance(number, list)]]


def _placed(prompt: Prompt) -> Prompt:
    """The prompt with a picture in the place of each mark among its words."""
    parts: list[Part] = []
    for part in prompt.parts:
        if not isinstance(part, Words) or MARK not in part.text:
            parts.append(part)
            continue
        first, *rest = part.text.split(MARK)
        parts += [Words(first)] if first.strip() else []
        for words in rest:
            parts += [PICTURE, *([Words(words)] if words.strip() else [])]
    return Prompt(tuple(parts))
