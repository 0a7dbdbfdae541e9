"""What clients of NVIDIA's hosted KOSMOS-2 send and read."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from kosmos2.serve.wire.chat import ChatUsage
from kosmos2.serve.wire.native import Exact
from kosmos2.serve.wire.parts import LIMITS, SEEDS, TOKENS, Told


class Message(Exact):
    """One turn. Pictures stand in the words, as `<img src="data:..." />`."""

    role: Literal["user", "assistant"]
    content: str


class NvidiaRequest(Exact):
    """A conversation that ends with a turn of the user."""

    messages: list[Message] = Field(min_length=1, max_length=LIMITS.messages)
    model: str | None = None
    max_tokens: int | None = Field(None, ge=1, le=TOKENS)
    temperature: float = Field(0.0, ge=0, le=2)
    top_p: float = Field(1.0, gt=0, le=1)
    seed: int | None = Field(None, ge=0, le=SEEDS)
    stream: bool = False


class NvidiaEntity(Told):
    """A phrase and its boxes: x1, y1, x2, y2 as fractions of the picture."""

    phrase: str
    bboxes: list[list[float]]
    scores: list[float | None]


class NvidiaMessage(Told):
    """The answer."""

    role: Literal["assistant"] = "assistant"
    content: str
    entities: list[NvidiaEntity]


class NvidiaChoice(Told):
    """The one answer there is."""

    index: int = 0
    message: NvidiaMessage
    finish_reason: Literal["stop", "length"]


class NvidiaReply(Told):
    """A whole answer."""

    id: str
    choices: list[NvidiaChoice]
    usage: ChatUsage


class NvidiaDelta(Told):
    """What is new of the answer."""

    role: Literal["assistant"] | None = None
    content: str | None = None
    entities: list[NvidiaEntity] | None = None
