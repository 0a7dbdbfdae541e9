"""What was said and shown, turn by turn, whatever the route that it came by.

Instructions (system and developer messages) are no part of it: the model follows none.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from kosmos2.serve.failures import Refused
from kosmos2.serve.settings import Limits
from kosmos2.serve.wire import chat, responses

MARK = "\N{OBJECT REPLACEMENT CHARACTER}"  # where a picture stands between words


@dataclass(frozen=True, slots=True)
class Shown:
    """A picture as it was sent, and the place in the request where it stands."""

    url: str
    param: str


Said = tuple[str | Shown, ...]


@dataclass(frozen=True, slots=True)
class Turn:
    """What was said and shown, and what was answered; nothing yet, for the last turn."""

    said: Said
    answer: str | None = None

    @property
    def pictures(self) -> tuple[Shown, ...]:
        """Those shown, in order."""
        return tuple(part for part in self.said if isinstance(part, Shown))

    @property
    def words(self) -> str:
        """All that was said, without the pictures."""
        return " ".join(part.replace(MARK, " ") for part in self.said if isinstance(part, str))

    @property
    def placed(self) -> str:
        """The same with a mark for each picture that stands behind words, if there are several.

        One picture goes in front of the words, wherever it was: so the model was taught.
        """
        if len(self.pictures) < 2:
            return self.words
        parts = (MARK if isinstance(p, Shown) else p.replace(MARK, " ") for p in self.said)
        return " ".join(parts).lstrip(f"{MARK} ")


@dataclass(frozen=True, slots=True)
class Conversation:
    """Turns, of which the last is to be answered."""

    turns: tuple[Turn, ...]
    instructed: bool  # whether there were instructions
    param: str  # the field of the request that it came in

    @property
    def pictures(self) -> list[tuple[str, str]]:
        """Every picture's address, with its place in the request."""
        return [(shown.url, shown.param) for turn in self.turns for shown in turn.pictures]

    def with_instructions(self) -> Conversation:
        """The same, with instructions beside it."""
        return replace(self, instructed=True)

    def check(self, limits: Limits) -> None:
        """Refuse what is longer than the server takes.

        Raises:
            Refused: too many turns, words or pictures.
        """
        if len(self.turns) > limits.messages:
            raise Refused("too_many", param=self.param)
        pictures = self.pictures
        if len(pictures) > limits.pictures:
            raise Refused("too_many_images", param=pictures[limits.pictures][1])
        if sum(len(turn.words) + len(turn.answer or "") for turn in self.turns) > limits.characters:
            raise Refused("context_length_exceeded", param=self.param)


def of_chat(messages: Sequence[chat.Message]) -> Conversation:
    """The conversation of chat messages.

    Raises:
        Refused: nothing to be answered.
    """
    return conversation(
        [
            (message.role, _said(message.content, f"messages[{at}].content"))
            for at, message in enumerate(messages)
        ],
        "messages",
    )


def of_responses(given: str | Sequence[responses.InputItem]) -> Conversation:
    """The conversation of what a response is to be made to.

    Raises:
        Refused: nothing to be answered.
    """
    if isinstance(given, str):
        return conversation([("user", (given,))], "input")
    return conversation(
        [(item.role, _said(item.content, f"input[{at}].content")) for at, item in enumerate(given)],
        "input",
    )


def conversation(said: Sequence[tuple[str, Said]], param: str) -> Conversation:
    """Messages, each with the role of who said it, as turns.

    What one side says in several messages is one turn.

    Raises:
        Refused: nothing to be answered.
    """
    turns: list[Turn] = []
    asked: Said | None = None
    for role, parts in said:
        if role == "user":
            asked = (asked or ()) + parts
        elif role == "assistant":
            words = " ".join(part for part in parts if isinstance(part, str))
            if asked is None and turns:
                turns[-1] = replace(turns[-1], answer=f"{turns[-1].answer} {words}")
            else:
                turns.append(Turn(asked or (), words))
            asked = None
    if asked is None:
        raise Refused("invalid_request", param=f"{param}[{len(said) - 1}].role")
    instructed = any(role not in ("user", "assistant") for role, _ in said)
    return Conversation((*turns, Turn(asked)), instructed, param)


def _said(content: str | Sequence[object] | None, place: str) -> Said:
    """The words and pictures of one message."""
    if content is None or isinstance(content, str):
        return () if content is None else (content,)
    said: list[str | Shown] = []
    for at, part in enumerate(content):
        match part:
            case chat.ImagePart():
                said.append(Shown(part.url, f"{place}[{at}]"))
            case responses.InputImage():
                said.append(Shown(part.image_url, f"{place}[{at}]"))
            case chat.RefusalPart():
                said.append(part.refusal)
            case chat.TextPart() | responses.InputText() | responses.OutputText():
                said.append(part.text)
    return tuple(said)
