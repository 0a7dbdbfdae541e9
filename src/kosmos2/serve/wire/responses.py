"""Responses as OpenAI's clients send and read them; `grounding` is ours.

Nothing is kept between requests, so whatever needs an earlier one is refused.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, Tag

from kosmos2.serve.wire.chat import JsonObjectFormat, RefusalPart, Text, TextFormat, named, shape
from kosmos2.serve.wire.parts import (
    LIMITS,
    MOST_NAME,
    TOKENS,
    Asked,
    GroundingReply,
    GroundingWish,
    Neutral,
    Told,
)

# Request


class InputText(Asked):
    """Words of a message."""

    type: Literal["input_text"]
    text: Text


class InputImage(Asked):
    """A picture of a message; `detail` may come and changes nothing."""

    type: Literal["input_image"]
    image_url: str = Field(min_length=1, max_length=LIMITS.body_bytes, description="A data: URL.")


class OutputText(Asked):
    """Words of an earlier answer."""

    type: Literal["output_text"]
    text: Text


InputPart = Annotated[
    Annotated[InputText, Tag("=input_text")] | Annotated[InputImage, Tag("=input_image")],
    named("type"),
]
AnswerPart = Annotated[
    Annotated[InputText, Tag("=input_text")]
    | Annotated[OutputText, Tag("=output_text")]
    | Annotated[RefusalPart, Tag("=refusal")],
    named("type"),
]
_Parts = Field(min_length=1, max_length=LIMITS.messages)


class InputMessage(Asked):
    """Words and pictures of somebody who asks, or instructions, which are not read."""

    type: Literal["message"] = "message"
    role: Literal["user", "system", "developer"]
    content: Annotated[
        Annotated[Text, Tag("=text")] | Annotated[list[InputPart], _Parts, Tag("=more")],
        Discriminator(shape),
    ]


class AnswerItem(Asked):
    """An earlier answer."""

    type: Literal["message"] = "message"
    role: Literal["assistant"]
    content: Annotated[
        Annotated[Text, Tag("=text")] | Annotated[list[AnswerPart], _Parts, Tag("=more")],
        Discriminator(shape),
    ]


InputItem = Annotated[
    Annotated[InputMessage, Tag("=user")]
    | Annotated[InputMessage, Tag("=system")]
    | Annotated[InputMessage, Tag("=developer")]
    | Annotated[AnswerItem, Tag("=assistant")],
    named("role"),
]


class JsonSchemaFormat(Asked):
    """Boxes and labels in a shape of the caller's."""

    type: Literal["json_schema"]
    name: str = Field(min_length=1, max_length=64, pattern=r"^[a-zA-Z0-9_-]+$")
    schema_: dict[str, Any] = Field(alias="schema", description="Labels and boxes only.")
    description: str | None = Field(None, max_length=LIMITS.characters)
    strict: bool | None = None


class TextConfig(Asked):
    """How the words are to be written."""

    format: (
        Annotated[
            Annotated[TextFormat, Tag("=text")]
            | Annotated[JsonObjectFormat, Tag("=json_object")]
            | Annotated[JsonSchemaFormat, Tag("=json_schema")],
            named("type"),
        ]
        | None
    ) = None


Metadata = dict[Annotated[str, Field(max_length=64)], Annotated[str, Field(max_length=512)]]


class ResponseRequest(Asked):
    """Something to be answered."""

    model: str | None = Field(None, max_length=MOST_NAME)
    input: Annotated[
        Annotated[Text, Tag("=text")]
        | Annotated[list[InputItem], Field(min_length=1, max_length=LIMITS.messages), Tag("=more")],
        Discriminator(shape),
    ]
    instructions: str | None = Field(None, max_length=LIMITS.characters, description="Not read.")
    max_output_tokens: int | None = Field(None, ge=1, le=TOKENS)
    temperature: float | None = Field(None, ge=0, le=2, description="0, the default, is certain.")
    top_p: float | None = Field(None, gt=0, le=1)
    top_logprobs: int | None = Field(None, ge=0, le=LIMITS.top_logprobs)
    include: list[str] | None = Field(None, max_length=16)
    stream: bool | None = None
    text: TextConfig | None = None
    metadata: Annotated[Metadata, Field(max_length=16)] | None = None
    parallel_tool_calls: bool | None = None
    grounding: GroundingWish | None = None

    store: Annotated[Any, Neutral((None, False))] = None
    previous_response_id: Annotated[Any, Neutral((None,))] = None
    conversation: Annotated[Any, Neutral((None,))] = None
    background: Annotated[Any, Neutral((None, False))] = None
    prompt: Annotated[Any, Neutral((None,))] = None
    tools: Annotated[Any, Neutral((None, []))] = None
    tool_choice: Annotated[Any, Neutral((None, "none", "auto"))] = None
    truncation: Annotated[Any, Neutral((None, "disabled"))] = None


# Reply


class ResponseTop(Told):
    """One of the likeliest tokens at a place."""

    token: str
    bytes: list[int]
    logprob: float


class ResponseLogprob(ResponseTop):
    """A token that was written."""

    top_logprobs: list[ResponseTop]


class TextReply(Told):
    """The words of the answer, and what they are tied to."""

    type: Literal["output_text"]
    text: str
    annotations: list[Any] = Field(max_length=0)
    logprobs: list[ResponseLogprob]
    grounding: GroundingReply | None = None


class RefusalReply(Told):
    """Why there is no answer of the shape that was wanted."""

    type: Literal["refusal"]
    refusal: str
    grounding: GroundingReply | None = None


class MessageReply(Told):
    """The answer."""

    id: str
    type: Literal["message"]
    role: Literal["assistant"]
    status: Literal["in_progress", "completed", "incomplete"]
    content: list[TextReply | RefusalReply]


class InputTokens(Told):
    """Of the tokens that were read: those copied from earlier requests, and those of pictures."""

    cached_tokens: int
    cache_write_tokens: int
    image_tokens: int


class OutputTokens(Told):
    """Of the tokens that were written: those of thoughts, which are none."""

    reasoning_tokens: int


class ResponseUsage(Told):
    """Tokens as they were counted."""

    input_tokens: int
    input_tokens_details: InputTokens
    output_tokens: int
    output_tokens_details: OutputTokens
    total_tokens: int


class Incomplete(Told):
    """Why an answer is not whole."""

    reason: Literal["max_output_tokens"]


class ResponseReply(Told):
    """A whole reply."""

    id: str
    object: Literal["response"]
    created_at: int
    completed_at: int | None
    status: Literal["in_progress", "completed", "incomplete"]
    background: bool
    error: None
    incomplete_details: Incomplete | None
    instructions: str | None
    max_output_tokens: int | None
    metadata: dict[str, str]
    model: str
    output: list[MessageReply]
    parallel_tool_calls: bool
    previous_response_id: None
    store: bool
    temperature: float
    text: dict[str, Any]
    tool_choice: Literal["none", "auto"]
    tools: list[Any] = Field(max_length=0)
    top_logprobs: int
    top_p: float
    truncation: Literal["disabled"]
    usage: ResponseUsage | None
