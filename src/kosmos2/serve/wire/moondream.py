"""What Moondream's official client sends, and what it reads.

The client posts to its endpoint's `/caption`, `/query`, `/detect` and `/point`. `/v1/caption` is a
native route too: a body with `image_url` is Moondream's, one with `image` is native.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Discriminator, Field, Tag

from kosmos2.serve.wire.native import AnswerReply, CaptionRequest, Exact, Question
from kosmos2.serve.wire.parts import LIMITS, TOKENS, Phrase, Told


class Settings(Exact):
    """How to choose words and how many objects to find."""

    temperature: float = Field(0.0, ge=0, le=2)
    top_p: float = Field(1.0, gt=0, le=1)
    max_tokens: int | None = Field(None, ge=1, le=TOKENS)
    max_objects: int | None = Field(None, ge=1, le=LIMITS.boxes)


class MoondreamRequest(Exact):
    """What every request of the client says."""

    image_url: str = Field(description="A data: URL.")
    model: str | None = None
    settings: Settings | None = None


class MoondreamCaption(MoondreamRequest):
    """Say what is in a picture: briefly (`short`), or in several sentences."""

    length: Literal["short", "normal", "long"] = "normal"
    stream: bool = False


class MoondreamQuery(MoondreamRequest):
    """Answer a question."""

    question: Question
    stream: bool = False
    reasoning: bool = Field(False, description="Tell too where the answer's phrases are.")
    spatial_refs: list[list[float]] | None = Field(None, max_length=0)


class MoondreamFind(MoondreamRequest):
    """Find every thing of a kind."""

    object: Phrase
    spatial_refs: list[list[float]] | None = Field(None, max_length=0)


class CaptionText(Told):
    """A caption."""

    request_id: str
    caption: str


class Pointed(Told):
    """A phrase of a text, `text[start_idx:end_idx]`, and the middles of its boxes."""

    start_idx: int
    end_idx: int
    points: list[list[float]]


class Reasoning(Told):
    """What the answer rests on: here, the answer's own phrases in the picture."""

    text: str
    grounding: list[Pointed]


class QueryText(Told):
    """An answer."""

    request_id: str
    answer: str
    reasoning: Reasoning | None = None


class Region(Told):
    """A box in fractions of the picture; the score is ours."""

    x_min: float
    y_min: float
    x_max: float
    y_max: float
    score: float | None


class Objects(Told):
    """What `/v1/detect` found."""

    request_id: str
    objects: list[Region]


class Point(Told):
    """The middle of a box, in fractions of the picture."""

    x: float
    y: float


class Points(Told):
    """What `/v1/point` found."""

    request_id: str
    points: list[Point]


def _who(body: object) -> str:
    """Whose caption request it is. Only Moondream's has an `image_url`."""
    moondream = isinstance(body, MoondreamCaption) or (
        isinstance(body, dict) and "image_url" in body
    )
    return "=moondream" if moondream else "=native"


AnyCaption = Annotated[
    Annotated[CaptionRequest, Tag("=native")] | Annotated[MoondreamCaption, Tag("=moondream")],
    Discriminator(_who),
]
AnyCaptionReply = AnswerReply | CaptionText
