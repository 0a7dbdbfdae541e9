"""What the native routes and the drop-ins share: answers as values, and as events on the way."""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import AsyncIterator, Sequence
from functools import reduce
from operator import add
from typing import Any

from kosmos2 import dialects
from kosmos2.engine import Token
from kosmos2.geometry import Box, cells_of
from kosmos2.grounder import Seen
from kosmos2.markup import Entity
from kosmos2.markup.events import Event
from kosmos2.options import Options
from kosmos2.serve import failures
from kosmos2.serve.answering import Answered, Answers, Usage
from kosmos2.serve.desk import Caller, Desk
from kosmos2.serve.events import EventStream, event
from kosmos2.serve.wire.chat import ChatUsage, PromptTokens
from kosmos2.serve.wire.parts import STREAM, BoxReply, EntityReply

STREAMED: dict[int | str, dict[str, Any]] = {200: {"content": STREAM}}


async def see(desk: Desk, caller: Caller, model: str | None, url: str, param: str) -> Seen:
    """Look at the one picture that a request is about.

    Raises:
        Refused: another model's name, or a picture that cannot be used.
    """
    desk.check_model(model)
    (seen,) = await desk.see([(url, param)], caller)
    return seen


def options(**wanted: Any) -> Options:
    """What was asked for; None leaves a setting as it is."""
    return Options.of(**{name: value for name, value in wanted.items() if value is not None})


def usage_of(answered: Sequence[Answered]) -> ChatUsage:
    """What several answers took together."""
    usage = reduce(add, (one.usage for one in answered), Usage())
    return ChatUsage(
        prompt_tokens=usage.prompt,
        completion_tokens=usage.completion,
        total_tokens=usage.prompt + usage.completion,
        prompt_tokens_details=PromptTokens(cached_tokens=usage.cached, image_tokens=usage.image),
    )


def box_reply(box: Box, coords: str, seen: Seen) -> BoxReply:
    """One place in the picture, in the caller's coordinates."""
    numbers = dialects.coordinates(box, coords, seen.width, seen.height)
    return BoxReply(box=numbers, score=box.score, cells=list(cells_of(box)))


def entity_reply(entity: Entity, index: int, coords: str, seen: Seen) -> EntityReply:
    """A phrase and its places."""
    return EntityReply(
        index=index,
        phrase=entity.phrase,
        start=entity.start,
        end=entity.end,
        boxes=[box_reply(box, coords, seen) for box in entity.boxes],
    )


async def in_turn(answers: Answers) -> AsyncIterator[tuple[int, Event | Token | Answered]]:
    """One answer after the other; what comes before its turn waits."""
    waiting: defaultdict[int, deque[Event | Token | Answered]] = defaultdict(deque)
    now = 0
    async for at, said in answers:
        waiting[at].append(said)
        while waiting[now]:
            first = waiting[now].popleft()
            yield now, first
            now += isinstance(first, Answered)


def stream(
    events: AsyncIterator[bytes], answers: Answers, caller: Caller, *, error_name: str | None = None
) -> EventStream:
    """Events about answers that were started before; what goes wrong now is the last of them."""
    return EventStream(
        events,
        within=answers,
        failed=lambda refused: event(failures.body(refused), error_name),
        request_id=caller.request_id,
    )
