"""How answers are written: the `grounding` object, and content in words, a dialect, or JSON."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from kosmos2 import dialects
from kosmos2.engine import Token
from kosmos2.errors import InputError
from kosmos2.geometry import Box, cells_of
from kosmos2.grounder import Located, Seen
from kosmos2.markup import GROUNDING, KINDS, Entity
from kosmos2.result import Grounded
from kosmos2.serve.errands import Errand
from kosmos2.serve.failures import Refused
from kosmos2.serve.schemas import Schema, recognise
from kosmos2.tokenizer import Tokenizer

NOTHING = "Nothing was found, and the schema has no room for that."
UNLIKELY = -9999.0  # what the standard says of a token that is as good as impossible

_PROBE = Grounded(text="a", entities=(Entity("a", 0, 1, (Box(0.0, 0.0, 1.0, 1.0, 1.0),)),))


@dataclass(frozen=True, kw_only=True, slots=True)
class Manner:
    """How the answers to one request are written."""

    errand: Errand
    coords: str
    raw: bool = False
    format: str | None = None  # of `dialects.DIALECTS`
    json: bool = False
    schema: Schema | None = None

    @classmethod
    def of(
        cls,
        errand: Errand,
        kind: Literal["text", "json_object", "json_schema"] = "text",
        schema: dict[str, Any] | None = None,
        *,
        param: str = "response_format",
    ) -> Manner:
        """The manner that a request asks for.

        Raises:
            Refused: two manners at once, a schema of something else, or pixels of no picture.
        """
        wish = errand.wish
        if kind != "text" and wish.format is not None:
            raise Refused("unsupported_value", param="grounding.format")
        manner = cls(
            errand=errand,
            coords=wish.coords,
            raw=wish.raw,
            format=errand.format if kind == "text" and errand.format != "text" else None,
            json=kind == "json_object",
            schema=None if schema is None else recognise(schema, wish.coords, param=param),
        )
        if not errand.talk.pictures:
            try:
                dialects.coordinates(_PROBE.entities[0].boxes[0], wish.coords)
                if manner.format is not None:
                    dialects.render(_PROBE, manner.format)
            except InputError:
                raise Refused("unsupported_value", param="grounding.coords") from None
        return manner

    @property
    def plain(self) -> bool:
        """Whether content is the words of the answer, and so can be told word by word."""
        return self.format is None and self.schema is None and not self.json

    def content(self, answer: Grounded) -> str | None:
        """The content of a whole answer; None where the schema has no room for it."""
        if self.schema is not None:
            found = self.schema.write(answer)
            return None if found is None else _json(found)
        if self.json:
            return _json(self.told(answer))
        if self.format is not None:
            try:
                return dialects.render(answer, self.format)
            except InputError:  # a slip of the model's that this dialect cannot write
                return answer.text
        return answer.text

    def head(self, picture: Seen | None) -> dict[str, Any]:
        """What is known of the `grounding` before anything is said."""
        return {
            "coords": self.coords,
            "unit": dialects.unit_of(self.coords),
            "image": None if picture is None else image(picture),
        }

    def tail(self, answer: Grounded, heat: Sequence[Located] = ()) -> dict[str, Any]:
        """What is known of it at the end."""
        tail: dict[str, Any] = {"warnings": self.warnings(answer)}
        if not self.plain:
            tail["text"] = answer.text
        if self.raw:
            tail["markup"] = answer.markup
        if heat:
            tail["heat"] = [
                {"phrase": one.phrase, "presence": one.presence, "heat": one.heat} for one in heat
            ]
        return tail

    def grounding(
        self, answer: Grounded, picture: Seen | None, heat: Sequence[Located] = ()
    ) -> dict[str, Any]:
        """All of it."""
        return {
            **self.head(picture),
            "entities": self.entities(answer),
            **self.tail(answer, heat),
        }

    def told(self, answer: Grounded) -> dict[str, Any]:
        """The answer as an object of its own."""
        return {
            "text": answer.text,
            "coords": self.coords,
            "unit": dialects.unit_of(self.coords),
            "entities": self.entities(answer),
        }

    def entities(self, answer: Grounded) -> list[dict[str, Any]]:
        """Every phrase with its boxes."""
        size = (answer.image.width, answer.image.height) if answer.image else (None, None)
        return [self.entity(at, entity, *size) for at, entity in enumerate(answer.entities)]

    def entity(
        self, index: int, entity: Entity, width_px: int | None, height_px: int | None
    ) -> dict[str, Any]:
        """One phrase with its boxes; clients put the parts of a stream together by `index`."""
        return {
            "index": index,
            "phrase": entity.phrase,
            "start": entity.start,
            "end": entity.end,
            "boxes": [
                {
                    "box": dialects.coordinates(box, self.coords, width_px, height_px),
                    "score": box.score,
                    "cells": list(cells_of(box)),
                }
                for box in entity.boxes
            ],
        }

    def warnings(self, answer: Grounded) -> list[str]:
        """What the asker should know: what was not read, and what the model got wrong."""
        warnings = list(self.errand.warnings)
        if self.schema is not None:
            warnings.append(f"a box in content is {self.schema.unit}")
        elif self.format is not None:
            warnings.append(f"content is written as {self.format}: {dialects.unit_of(self.format)}")
        kinds = dict.fromkeys(problem.kind for problem in answer.problems)
        return [*warnings, *(f"{kind}: {KINDS[kind]}" for kind in kinds)]


def image(picture: Seen) -> dict[str, int]:
    """The size of a picture, upright, and how far it had to be turned for that."""
    rotated: int = getattr(picture.picture, "rotated", 0)
    return {"width": picture.width, "height": picture.height, "rotated": rotated}


class Logprobs:
    """Tokens with their probabilities, as the standard shows them."""

    def __init__(self, tokenizer: Tokenizer, *, bytes_of_locations: bool = False) -> None:
        self._tokenizer = tokenizer
        self._bytes_of_locations = bytes_of_locations

    def __call__(self, tokens: Sequence[Token]) -> list[dict[str, Any]]:
        """All but the end, which is no part of the text."""
        return [
            {
                **self._one(token.id, token.logprob),
                "top_logprobs": [self._one(id, logprob) for id, logprob in token.top],
            }
            for token in tokens
            if token.id != self._tokenizer.eos
        ]

    def _one(self, id: int, logprob: float) -> dict[str, Any]:
        stream = self._tokenizer.stream(skip_special=False)
        stream.push(self._tokenizer.tag(GROUNDING))  # a first token would lose its space
        text = stream.push(id)
        location = id in self._tokenizer.cells and not self._bytes_of_locations
        return {
            "token": text,
            "bytes": None if location else list(text.encode()),
            "logprob": max(logprob, UNLIKELY),
        }


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)
