"""Chat completions as OpenAI's clients send and read them; `grounding` is ours.

Fields of the standard that change nothing here (`user`, `metadata`, `store`, `service_tier`, ...)
are passed over like any name that is not listed.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, Tag

from kosmos2.serve.wire.parts import (
    LIMITS,
    MOST_NAME,
    MOST_STOP,
    SEEDS,
    TOKENS,
    Asked,
    GroundingReply,
    GroundingWish,
    Neutral,
    Told,
)

# Request

Text = Annotated[str, Field(max_length=LIMITS.characters)]


def shape(value: Any) -> str:
    """Whether a value that comes as a text or as more is a text; `=` keeps it out of `param`."""
    return "=text" if isinstance(value, str) else "=more"


def named(field: str) -> Discriminator:
    """Tell kinds of objects apart by one of their fields."""

    def kind(value: Any) -> str:
        found = value.get(field) if isinstance(value, dict) else getattr(value, field, None)
        return f"={found}"

    return Discriminator(kind)


class ImageUrl(Asked):
    """Where a picture is; `detail` may come and changes nothing."""

    url: str = Field(min_length=1, max_length=LIMITS.body_bytes, description="A data: URL.")


class TextPart(Asked):
    """Words of a message."""

    type: Literal["text"]
    text: Text


class ImagePart(Asked):
    """A picture of a message."""

    type: Literal["image_url"]
    image_url: Annotated[
        Annotated[str, Field(min_length=1, max_length=LIMITS.body_bytes), Tag("=text")]
        | Annotated[ImageUrl, Tag("=more")],
        Discriminator(shape),
    ]

    @property
    def url(self) -> str:
        """Where the picture is."""
        return self.image_url if isinstance(self.image_url, str) else self.image_url.url


class RefusalPart(Asked):
    """An earlier answer that was none."""

    type: Literal["refusal"]
    refusal: Text


UserPart = Annotated[
    Annotated[TextPart, Tag("=text")] | Annotated[ImagePart, Tag("=image_url")], named("type")
]
AnswerPart = Annotated[
    Annotated[TextPart, Tag("=text")] | Annotated[RefusalPart, Tag("=refusal")], named("type")
]
_Parts = Field(min_length=1, max_length=LIMITS.messages)


class UserMessage(Asked):
    """Words and pictures of somebody who asks."""

    role: Literal["user"]
    content: Annotated[
        Annotated[Text, Tag("=text")] | Annotated[list[UserPart], _Parts, Tag("=more")],
        Discriminator(shape),
    ]


class AssistantMessage(Asked):
    """An earlier answer."""

    role: Literal["assistant"]
    content: Annotated[
        Annotated[Text, Tag("=text")] | Annotated[list[AnswerPart] | None, Tag("=more")],
        Discriminator(shape),
    ] = None
    tool_calls: Annotated[Any, Neutral((None, []))] = None
    function_call: Annotated[Any, Neutral((None,))] = None


class SystemMessage(Asked):
    """Instructions; the model was not taught to follow any, so they are not read."""

    role: Literal["system", "developer"]
    content: Annotated[
        Annotated[Text, Tag("=text")] | Annotated[list[TextPart], _Parts, Tag("=more")],
        Discriminator(shape),
    ]


Message = Annotated[
    Annotated[UserMessage, Tag("=user")]
    | Annotated[AssistantMessage, Tag("=assistant")]
    | Annotated[SystemMessage, Tag("=system")]
    | Annotated[SystemMessage, Tag("=developer")],
    named("role"),
]


class StreamOptions(Asked):
    """What a stream tells besides the answer."""

    include_usage: bool = Field(False, description="A last chunk with the whole usage.")
    continuous_usage_stats: bool = Field(False, description="The usage so far in every chunk.")


class TextFormat(Asked):
    """Plain words."""

    type: Literal["text"]


class JsonObjectFormat(Asked):
    """The `grounding` object as content."""

    type: Literal["json_object"]


class JsonSchema(Asked):
    """A schema by its name."""

    name: str = Field(min_length=1, max_length=64, pattern=r"^[a-zA-Z0-9_-]+$")
    schema_: dict[str, Any] = Field(alias="schema", description="Labels and boxes only.")
    description: str | None = Field(None, max_length=LIMITS.characters)
    strict: bool | None = None


class JsonSchemaFormat(Asked):
    """Boxes and labels in a shape of the caller's."""

    type: Literal["json_schema"]
    json_schema: JsonSchema


ResponseFormat = Annotated[
    Annotated[TextFormat, Tag("=text")]
    | Annotated[JsonObjectFormat, Tag("=json_object")]
    | Annotated[JsonSchemaFormat, Tag("=json_schema")],
    named("type"),
]
Stop = Annotated[str, Field(min_length=1, max_length=MOST_STOP)]


class ChatRequest(Asked):
    """A conversation to be gone on with."""

    model: str | None = Field(None, max_length=MOST_NAME)
    messages: list[Message] = Field(min_length=1, max_length=LIMITS.messages)
    max_tokens: int | None = Field(None, ge=1, le=TOKENS)
    max_completion_tokens: int | None = Field(None, ge=1, le=TOKENS)
    min_tokens: int | None = Field(None, ge=0, le=TOKENS)
    temperature: float | None = Field(None, ge=0, le=2, description="0, the default, is certain.")
    top_p: float | None = Field(None, gt=0, le=1)
    top_k: int | None = Field(None, ge=-1, le=TOKENS, description="0 and -1 keep all.")
    n: int | None = Field(None, ge=1, le=LIMITS.choices)
    stop: (
        Annotated[
            Annotated[Stop, Tag("=text")]
            | Annotated[Annotated[list[Stop], Field(max_length=LIMITS.stops)] | None, Tag("=more")],
            Discriminator(shape),
        ]
        | None
    ) = None
    seed: int | None = Field(None, ge=-SEEDS, le=SEEDS, description="Choice i takes seed + i.")
    ignore_eos: bool | None = Field(None, description="Write as many tokens as may be written.")
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    logprobs: bool | None = None
    top_logprobs: int | None = Field(None, ge=0, le=LIMITS.top_logprobs)
    response_format: ResponseFormat | None = None
    grounding: GroundingWish | None = None

    tools: Annotated[Any, Neutral((None, []))] = None
    tool_choice: Annotated[Any, Neutral((None, "none", "auto"))] = None
    functions: Annotated[Any, Neutral((None, []))] = None
    function_call: Annotated[Any, Neutral((None, "none", "auto"))] = None
    modalities: Annotated[Any, Neutral((None, ["text"]))] = None
    audio: Annotated[Any, Neutral((None,))] = None
    prediction: Annotated[Any, Neutral((None,))] = None
    web_search_options: Annotated[Any, Neutral((None,))] = None
    logit_bias: Annotated[Any, Neutral((None, {}))] = None
    presence_penalty: Annotated[Any, Neutral((None, 0))] = None
    frequency_penalty: Annotated[Any, Neutral((None, 0))] = None
    repetition_penalty: Annotated[Any, Neutral((None, 1))] = None
    best_of: Annotated[Any, Neutral((None, 1))] = None
    use_beam_search: Annotated[Any, Neutral((None, False))] = None


# Reply


class TopLogprob(Told):
    """One of the likeliest tokens at a place."""

    token: str
    bytes: list[int] | None
    logprob: float


class TokenLogprob(TopLogprob):
    """A token that was written; a location has no bytes."""

    top_logprobs: list[TopLogprob]


class ChoiceLogprobs(Told):
    """Every token that was written, tags and locations too."""

    content: list[TokenLogprob] | None
    refusal: None = None


Finish = Literal["stop", "length"]


class AnswerMessage(Told):
    """The answer: words, and what they are tied to."""

    role: Literal["assistant"]
    content: str | None
    refusal: str | None
    grounding: GroundingReply


class ChatChoice(Told):
    """One of the answers."""

    index: int
    message: AnswerMessage
    logprobs: ChoiceLogprobs | None
    finish_reason: Finish


class PromptTokens(Told):
    """Of a prompt's tokens, those that were not read anew, and those of pictures."""

    cached_tokens: int
    image_tokens: int


class ChatUsage(Told):
    """Tokens as they were counted."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    prompt_tokens_details: PromptTokens


class ChatCompletion(Told):
    """A whole reply."""

    id: str
    object: Literal["chat.completion"]
    created: int
    model: str
    system_fingerprint: str | None
    choices: list[ChatChoice]
    usage: ChatUsage


class ChatDelta(Told):
    """What is new; lists of a part of the `grounding` go on by their `index`."""

    role: Literal["assistant"] | None = None
    content: str | None = None
    refusal: str | None = None
    grounding: dict[str, Any] | None = None


class ChunkChoice(Told):
    """What is new of one answer."""

    index: int
    delta: ChatDelta
    logprobs: ChoiceLogprobs | None
    finish_reason: Finish | None


class ChatChunk(Told):
    """One event of a stream."""

    id: str
    object: Literal["chat.completion.chunk"]
    created: int
    model: str
    system_fingerprint: str | None
    choices: list[ChunkChoice]
    usage: ChatUsage | None = None
