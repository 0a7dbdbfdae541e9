"""What the bodies of several routes share.

The numbers here are the defaults of `Limits`, since a documented body needs numbers that stand
still; a server with lower limits refuses earlier.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    GetCoreSchemaHandler,
    GetJsonSchemaHandler,
    ValidationInfo,
    model_validator,
)
from pydantic_core import CoreSchema, core_schema

from kosmos2.dialects import COORDINATES, DIALECTS
from kosmos2.serve.failures import Refused
from kosmos2.serve.settings import Limits

LIMITS = Limits()
MOST_PHRASE = 512  # characters
MOST_NAME = 256
MOST_STOP = 256
SEEDS = 2**63  # also as a float, which is how a schema has it
TOKENS = 2**31 - 1


class Asked(BaseModel):
    """Part of a request. Names that are not listed are passed over, as other servers do."""

    model_config = ConfigDict(strict=True, allow_inf_nan=False, extra="ignore")
    wholes: ClassVar[tuple[str, ...]] = ()  # fields that are whole numbers

    @classmethod
    def __pydantic_init_subclass__(cls, **_: Any) -> None:
        fields = cls.model_fields.items()
        cls.wholes = tuple(name for name, field in fields if field.annotation in _WHOLE)

    @model_validator(mode="before")
    @classmethod
    def _as_json_has_it(cls, values: Any) -> Any:
        """JSON has one kind of number: 6.0 is the whole number 6, and some languages write it."""
        if isinstance(values, dict):
            for name in cls.wholes:
                value = values.get(name)
                if isinstance(value, float) and value.is_integer():
                    values = values | {name: int(value)}
        return values


_WHOLE = (int, int | None)


class Told(BaseModel):
    """Part of a reply."""

    model_config = ConfigDict(extra="forbid")


@dataclass(frozen=True, eq=False)  # else `Annotated` takes False and 0 for the same field
class Neutral:
    """A field of the standard that we do not follow: only values that change nothing may come.

    To pass over the others would be to answer another question than the one that was asked.
    """

    values: tuple[Any, ...]

    def __get_pydantic_core_schema__(self, _: Any, __: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.with_info_plain_validator_function(self._check)

    def __get_pydantic_json_schema__(self, _: CoreSchema, __: GetJsonSchemaHandler) -> Any:
        return {"enum": list(self.values), "description": "Anything else is refused."}

    def _check(self, value: Any, info: ValidationInfo) -> Any:
        if not any(type(value) in _KINDS[type(one)] and value == one for one in self.values):
            raise Refused("unsupported_value", param=info.field_name)
        return value


_KINDS: dict[type, tuple[type, ...]] = {
    type(None): (type(None),),
    bool: (bool,),
    int: (int, float),
    float: (int, float),
    str: (str,),
    list: (list,),
    dict: (dict,),
}


@dataclass(frozen=True)
class OneOf:
    """A name from a list that another room keeps."""

    names: tuple[str, ...]

    def __get_pydantic_core_schema__(self, _: Any, __: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.literal_schema(list(self.names))


Coordinates = Annotated[str, OneOf(COORDINATES)]
Dialect = Annotated[str, OneOf(DIALECTS)]


# Something to see. What is a space to Python, pydantic or ECMAScript, whose `\s` differ, is none.
WORDS = r"[^\s\x1c-\x1f\x85\ufeff]"
Phrase = Annotated[str, Field(min_length=1, max_length=MOST_PHRASE, pattern=WORDS)]
Numbers = Annotated[list[float], Field(min_length=2, max_length=4)]
Several = Annotated[list[Numbers], Field(min_length=1, max_length=LIMITS.boxes)]
Task = Literal["auto", "caption", "detailed", "ground", "describe", "ask", "complete"]


class GroundingWish(Asked):
    """What of KOSMOS-2 a request wants; without one, everything is guessed from its words."""

    model_config = ConfigDict(extra="forbid")

    task: Task = Field(
        default="auto", description="What to do; auto goes by the words and the boxes."
    )
    enabled: bool = Field(default=True, description="Whether the answer names boxes.")
    phrases: Annotated[list[Phrase], Field(min_length=1, max_length=LIMITS.phrases)] | None = Field(
        default=None, description="What to find."
    )
    boxes: (
        Annotated[list[Numbers | Several], Field(min_length=1, max_length=LIMITS.boxes)] | None
    ) = Field(
        default=None,
        description="What is asked about: for each [phrase] in brackets a box, or several.",
    )
    coords: Coordinates = Field(default="norm01", description="The unit of every box, in and out.")
    min_score: float = Field(
        default=0.0, ge=0, le=1, description="Boxes of a lower score are left out."
    )
    min_presence: float | None = Field(
        default=None, ge=0, le=1, description="With phrases: point from this presence on."
    )
    max_boxes: int | None = Field(
        default=None, ge=1, le=LIMITS.boxes, description="Most boxes of a phrase."
    )
    every: bool = Field(default=False, description="Box every thing that a phrase could mean.")
    heatmap: bool = Field(default=False, description="With phrases: a map of where each may be.")
    raw: bool = Field(
        default=False, description="Tags in the words are tags, and the reply has markup."
    )
    format: Dialect | None = Field(
        default=None, description="Write content as another model would."
    )


class ImageSize(Told):
    """The picture that boxes are in."""

    width: int = Field(description="Pixels across, upright.")
    height: int = Field(description="Pixels down, upright.")
    rotated: int = Field(description="Degrees that the file asked to be turned by.")


class BoxReply(Told):
    """One place in the picture."""

    box: list[float] = Field(description="In the unit that stands beside the entities.")
    score: float | None = Field(description="0 to 1; null for a box that the request gave.")
    cells: list[int] = Field(description="First and last cell of 32 x 32, counted row by row.")


class EntityReply(Told):
    """A phrase and its places; `start` and `end` count characters of the text."""

    index: int
    phrase: str
    start: int
    end: int
    boxes: list[BoxReply]


class HeatReply(Told):
    """Where a phrase may be: for each cell, row by row, the probability that its box covers it."""

    phrase: str
    presence: float = Field(description="How surely the model ties the phrase to a box at all.")
    heat: list[list[float]]


class GroundingReply(Told):
    """What the words of an answer are tied to."""

    coords: str
    unit: str = Field(description="The meaning of the numbers of a box, in words.")
    image: ImageSize | None = None
    entities: list[EntityReply]
    warnings: list[str]
    text: str | None = Field(None, description="The words, where content is something else.")
    markup: str | None = None
    heat: list[HeatReply] | None = None


# How a reply that is a stream is documented, beside the model of one that is not.
# Before OpenAPI 3.2 the schema of a stream is that of each event.
_EVENT: dict[str, Any] = {
    "type": "object",
    "description": "One event of a stream; its data is JSON, but for a last [DONE] of a chat.",
    "required": ["data"],
    "properties": {"event": {"type": "string"}, "data": {"type": "string"}},
}
STREAM: dict[str, Any] = {"text/event-stream": {"schema": _EVENT}}
