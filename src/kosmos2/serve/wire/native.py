"""What the native routes read and write: the tasks by name, with typed values.

A box in a request is in the coordinates that `coords` names, as the boxes of the reply are; the
reply says in words what they mean.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import ConfigDict, Discriminator, Field, Tag, field_validator, model_validator

from kosmos2.serve.wire.chat import ChatUsage, shape
from kosmos2.serve.wire.parts import (
    LIMITS,
    SEEDS,
    TOKENS,
    Asked,
    BoxReply,
    Coordinates,
    Dialect,
    EntityReply,
    HeatReply,
    ImageSize,
    Numbers,
    Phrase,
    Told,
)

Phrases = Annotated[list[Phrase], Field(min_length=1, max_length=LIMITS.phrases)]
Question = Annotated[str, Field(min_length=1, max_length=LIMITS.characters, pattern=r"\S")]
Several = Annotated[list[Numbers], Field(min_length=1, max_length=LIMITS.boxes)]


class Exact(Asked):
    """A request of which nothing is passed over: a field that is not listed is refused."""

    model_config = ConfigDict(extra="forbid")

    @field_validator("*", mode="before")
    @classmethod
    def _whole(cls, value: Any) -> Any:
        """To JSON, 5.0 is a whole number too."""
        return int(value) if isinstance(value, float) and value.is_integer() else value


class Address(Exact):
    """A picture by its address, as chat requests write it."""

    url: str
    detail: Literal["auto", "low", "high", "original"] = "auto"  # changes nothing here


Image = Annotated[
    Annotated[str, Tag("=text")] | Annotated[Address, Tag("=more")], Discriminator(shape)
]


class PictureRequest(Exact):
    """What every native request says."""

    image: Image = Field(description="A data: URL, or an object with a `url`.")
    model: str | None = None
    coords: Coordinates = Field("norm01", description="The unit of every box, in and out.")

    @property
    def address(self) -> tuple[str, str]:
        """Where the picture is, and where the request says so."""
        if isinstance(self.image, str):
            return self.image, "image"
        return self.image.url, "image.url"


class AnswerRequest(PictureRequest):
    """What is said of every written answer."""

    max_tokens: int | None = Field(None, ge=1, le=TOKENS)
    temperature: float = Field(0.0, ge=0, le=2)
    top_p: float = Field(1.0, gt=0, le=1)
    seed: int | None = Field(None, ge=0, le=SEEDS)
    min_score: float = Field(0.0, ge=0, le=1, description="Boxes of a lower score are left out.")
    max_boxes: int | None = Field(
        None, ge=1, le=LIMITS.boxes, description="Most boxes of a phrase."
    )
    every: bool = Field(False, description="Box every thing that a phrase could mean.")
    raw: bool = Field(False, description="Tell the markup too.")
    format: Dialect | None = Field(None, description="Tell the answer as another model would, too.")
    stream: bool = False

    @property
    def settings(self) -> dict[str, Any]:
        """What generation is to keep to, under the names of `Options`."""
        return {
            "max_new_tokens": self.max_tokens,
            "temperature": self.temperature,
            "top_p": self.top_p,
            "seed": self.seed,
            "min_score": self.min_score,
            "max_boxes": self.max_boxes,
            "every": self.every,
        }


class CaptionRequest(AnswerRequest):
    """Say what is in a picture."""

    detailed: bool = False
    grounded: bool = True


class GroundRequest(AnswerRequest):
    """Find what phrases name."""

    phrases: Phrases
    min_presence: float | None = Field(
        None, ge=0, le=1, description="Point from this presence on; null leaves it to the model."
    )
    heatmap: bool = Field(False, description="Tell also where else each phrase may be.")

    @property
    def settings(self) -> dict[str, Any]:
        """Those of every answer, and from when on to point."""
        return {**super().settings, "min_presence": self.min_presence}


class DescribeRequest(AnswerRequest):
    """Say what stands in a box, or in each of several."""

    model_config = ConfigDict(
        json_schema_extra={"oneOf": [{"required": ["box"]}, {"required": ["boxes"]}]}
    )

    box: Numbers = Field(default_factory=list)
    boxes: Several = Field(default_factory=list)
    grounded: bool = True

    @model_validator(mode="after")
    def _one_of_them(self) -> Self:
        _just_one(self, "box", "boxes")
        return self


class AskRequest(AnswerRequest):
    """Answer a question; phrases in [brackets] may be tied to boxes."""

    question: Question
    boxes: list[Numbers | Several] | None = Field(
        None,
        max_length=LIMITS.boxes,
        description="For each phrase in brackets its box, or its boxes.",
    )
    grounded: bool = True


class LocateRequest(PictureRequest):
    """Weigh all places where a phrase may be, or each of several."""

    model_config = ConfigDict(
        json_schema_extra={"oneOf": [{"required": ["phrase"]}, {"required": ["phrases"]}]}
    )

    phrase: Phrase = ""
    phrases: Phrases = Field(default_factory=list)
    best: int = Field(5, ge=1, le=LIMITS.boxes, description="Most boxes for each phrase.")
    refine: bool = Field(True, description="Move each edge within its cell.")
    overlap: float = Field(
        0.5, ge=0, le=1, description="Boxes that overlap a better one by more are left out."
    )
    heatmap: bool = False

    @model_validator(mode="after")
    def _one_of_them(self) -> Self:
        _just_one(self, "phrase", "phrases")
        return self


class Said(Told):
    """One answer."""

    text: str
    entities: list[EntityReply]
    finish: Literal["stop", "length"] = Field(description="`length`: it was cut short.")
    warnings: list[str]
    markup: str | None = Field(None, description="With `raw`: the text with its tags.")
    content: str | None = Field(None, description="With `format`: the answer in that dialect.")


class Reply(Told):
    """What every native reply says."""

    request_id: str
    model: str
    coords: Coordinates
    unit: str = Field(description="The meaning of the numbers of a box, in words.")
    image: ImageSize


class AnswerReply(Said, Reply):
    """One answer about a picture."""

    usage: ChatUsage


class GroundReply(AnswerReply):
    """What phrases name; each is an entity, also one that was found nowhere."""

    heat: list[HeatReply] | None = Field(None, description="With `heatmap`: one for each phrase.")


class Description(Said):
    """What stands in one box."""

    box: list[float] = Field(description="As the request gave it.")


class DescribeReply(Reply):
    """What stands in each box, in the order they were asked about."""

    descriptions: list[Description]
    usage: ChatUsage


class Place(Told):
    """Where one phrase may be."""

    phrase: str
    presence: float = Field(description="How surely the model ties the phrase to a box at all.")
    boxes: list[BoxReply] = Field(description="The likeliest first.")
    heat: list[list[float]] | None = Field(
        None, description="With `heatmap`: for each cell the probability that a box covers it."
    )


class LocateReply(Reply):
    """Where each phrase may be, in the order they were asked about."""

    places: list[Place]


def _just_one(request: Exact, one: str, other: str) -> None:
    if len({one, other} & request.model_fields_set) != 1:
        raise ValueError(f"give {one} or {other}")
