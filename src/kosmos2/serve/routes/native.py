"""The tasks by their names: `/v1/caption`, `/v1/ground`, `/v1/describe`, `/v1/ask`, `/v1/locate`.

With `stream`, a reply comes as events: `text` and `entity` as they become certain, and `done` with
all of what would have been the reply, or `error`.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Any

from fastapi import APIRouter, Body, Depends, Request

from kosmos2 import dialects
from kosmos2.errors import InputError
from kosmos2.geometry import Box
from kosmos2.grounder import Seen, tasks
from kosmos2.grounder.reading import Ask
from kosmos2.markup import KINDS, Entity, Text
from kosmos2.result import Grounded
from kosmos2.serve.answering import Answered, Answers
from kosmos2.serve.desk import Caller, Desk, caller_of, desk_of, while_connected
from kosmos2.serve.events import event
from kosmos2.serve.failures import Refused
from kosmos2.serve.rendering import image
from kosmos2.serve.routes import moondream
from kosmos2.serve.routes.telling import (
    STREAMED,
    box_reply,
    entity_reply,
    in_turn,
    options,
    see,
    stream,
    usage_of,
)
from kosmos2.serve.wire import native as wire
from kosmos2.serve.wire.moondream import AnyCaption, AnyCaptionReply, MoondreamCaption
from kosmos2.serve.wire.parts import HeatReply, ImageSize

router = APIRouter(prefix="/v1", tags=["native"])

AtDesk = Annotated[Desk, Depends(desk_of)]
Asking = Annotated[Caller, Depends(caller_of)]


@router.post("/caption", response_model=AnyCaptionReply, responses=STREAMED)
async def caption(
    body: Annotated[AnyCaption, Body()], request: Request, desk: AtDesk, caller: Asking
) -> Any:
    """Say what is in a picture. A body with `image_url` is answered as Moondream would."""
    if isinstance(body, MoondreamCaption):
        return await moondream.caption(body, request, desk, caller)

    def asks(seen: Seen) -> list[Ask]:
        return [tasks.caption(seen, detailed=body.detailed, grounded=body.grounded)]

    return await _Verb(body, request, desk, caller).answered(asks, _one)


@router.post("/ground", response_model=wire.GroundReply, responses=STREAMED)
async def ground(body: wire.GroundRequest, request: Request, desk: AtDesk, caller: Asking) -> Any:
    """Find what phrases name; each is an entity of the reply, also one that was found nowhere."""

    def asks(seen: Seen) -> list[Ask]:
        return tasks.ground(seen, body.phrases)

    async def reply(verb: _Verb, seen: Seen, answered: Sequence[Answered]) -> wire.GroundReply:
        named = [
            tasks.found(one.grounded, phrase)
            for one, phrase in zip(answered, body.phrases, strict=True)
        ]
        heat = None
        if body.heatmap:
            places = await desk.answering.locate(seen, body.phrases, best=1)
            heat = [
                HeatReply(phrase=p.phrase, presence=p.presence, heat=[list(row) for row in p.heat])
                for p in places
            ]
        return wire.GroundReply(
            **verb.facts(seen, answered), **verb.said(tasks.together(named), seen), heat=heat
        )

    return await _Verb(body, request, desk, caller).answered(asks, reply, phrases=body.phrases)


@router.post("/describe", response_model=wire.DescribeReply, responses=STREAMED)
async def describe(
    body: wire.DescribeRequest, request: Request, desk: AtDesk, caller: Asking
) -> Any:
    """Say what stands in a box, or in each of several; the events of a stream say in which."""
    alone = not body.boxes
    given = [body.box] if alone else body.boxes

    def asks(seen: Seen) -> list[Ask]:
        boxes = [
            _box(numbers, body.coords, seen, "box" if alone else f"boxes[{at}]")
            for at, numbers in enumerate(given)
        ]
        return [tasks.describe(seen, box, grounded=body.grounded) for box in boxes]

    async def reply(verb: _Verb, seen: Seen, answered: Sequence[Answered]) -> wire.DescribeReply:
        descriptions = [
            wire.Description(box=numbers, **verb.said(one.grounded, seen))
            for numbers, one in zip(given, answered, strict=True)
        ]
        return wire.DescribeReply(**verb.facts(seen, answered), descriptions=descriptions)

    return await _Verb(body, request, desk, caller).answered(asks, reply)


@router.post("/ask", response_model=wire.AnswerReply, responses=STREAMED)
async def ask(body: wire.AskRequest, request: Request, desk: AtDesk, caller: Asking) -> Any:
    """Answer a question, of which phrases in [brackets] may be tied to boxes."""

    def asks(seen: Seen) -> list[Ask]:
        boxes: Any = None
        if body.boxes is not None:
            boxes = [
                _boxes(given, body.coords, seen, f"boxes[{at}]")
                for at, given in enumerate(body.boxes)
            ]
        try:
            return [tasks.ask(seen, body.question, boxes, grounded=body.grounded)]
        except InputError:
            raise Refused("prompt_invalid", param="question") from None

    return await _Verb(body, request, desk, caller).answered(asks, _one)


@router.post("/locate", response_model=wire.LocateReply)
async def locate(body: wire.LocateRequest, request: Request, desk: AtDesk, caller: Asking) -> Any:
    """Weigh all places where a phrase may be: several boxes, and how surely it is there."""
    phrases = body.phrases or [body.phrase]

    async def work() -> wire.LocateReply:
        seen = await see(desk, caller, body.model, *body.address)
        places = await desk.answering.locate(
            seen, phrases, best=body.best, refine=body.refine, overlap=body.overlap
        )
        return wire.LocateReply(
            **_facts(body, seen, desk, caller),
            places=[
                wire.Place(
                    phrase=place.phrase,
                    presence=place.presence,
                    boxes=[box_reply(box, body.coords, seen) for box in place.boxes],
                    heat=[list(row) for row in place.heat] if body.heatmap else None,
                )
                for place in places
            ],
        )

    return await while_connected(request, work())


@dataclass(frozen=True, slots=True)
class _Verb:
    """One request that is answered in words."""

    body: wire.AnswerRequest
    request: Request
    desk: Desk
    caller: Caller

    async def answered(
        self, asks: Callable[[Seen], list[Ask]], reply: _Replying, phrases: Sequence[str] = ()
    ) -> Any:
        """The reply, or the stream that ends with it."""
        if self.body.stream:
            seen, answers = await while_connected(self.request, self._started(asks))
            events = self._events(seen, answers, reply, phrases)
            return stream(events, answers, self.caller, error_name="error")

        async def work() -> Any:
            seen, answers = await self._started(asks)
            async with answers:
                return await reply(self, seen, await answers.whole())

        return await while_connected(self.request, work())

    def facts(self, seen: Seen, answered: Sequence[Answered]) -> dict[str, Any]:
        """What every reply says."""
        facts = _facts(self.body, seen, self.desk, self.caller)
        return {**facts, "usage": usage_of(answered)}

    def said(self, answer: Grounded, seen: Seen) -> dict[str, Any]:
        """What one answer says."""
        body, content = self.body, None
        if body.format is not None:
            try:
                content = dialects.render(answer, body.format)
            except InputError:  # a slip of the model's that this dialect cannot write
                content = answer.text
        kinds = dict.fromkeys(problem.kind for problem in answer.problems)
        return {
            "text": answer.text,
            "entities": [
                entity_reply(entity, index, body.coords, seen)
                for index, entity in enumerate(answer.entities)
            ],
            "finish": answer.finish,
            "warnings": [f"{kind}: {KINDS[kind]}" for kind in kinds],
            "markup": answer.markup if body.raw else None,
            "content": content,
        }

    async def _started(self, asks: Callable[[Seen], list[Ask]]) -> tuple[Seen, Answers]:
        """Everything that can be refused is refused in here, before a stream begins."""
        body = self.body
        seen = await see(self.desk, self.caller, body.model, *body.address)
        wanted = options(**body.settings)
        answers = self.desk.answering.answer(asks(seen), wanted, caller=self.caller)
        return seen, await answers.start()

    async def _events(
        self, seen: Seen, answers: Answers, reply: _Replying, phrases: Sequence[str]
    ) -> AsyncIterator[bytes]:
        """Words and entities as they come. Phrases are parts of one text, other answers are not."""
        count = [0] * len(answers.asked)  # entities told of each answer
        offset = 0  # characters of the phrases before

        def entity(found: Entity, at: int) -> bytes:
            shifted = replace(found, start=found.start + offset, end=found.end + offset)
            at = 0 if phrases else at
            told = entity_reply(shifted, count[at], self.body.coords, seen)
            count[at] += 1
            return event({"answer": at, "entity": told.model_dump()}, "entity")

        whole: list[Answered] = []
        async for at, said in in_turn(answers):
            if isinstance(said, Answered):
                whole.append(said)
                if phrases:
                    # One that was found nowhere is an entity too, so they are told at the end.
                    named = tasks.found(said.grounded, phrases[at])
                    for found in named.entities:
                        yield entity(found, at)
                    if at + 1 < len(phrases):
                        yield event({"answer": 0, "text": tasks.BETWEEN}, "text")
                        offset += len(named.text) + len(tasks.BETWEEN)
            elif isinstance(said, Text):
                yield event({"answer": 0 if phrases else at, "text": said.text}, "text")
            elif isinstance(said, Entity) and not phrases:
                yield entity(said, at)
        done = await reply(self, seen, whole)
        yield event(done.model_dump(), "done")


_Replying = Callable[[_Verb, Seen, Sequence[Answered]], Awaitable[wire.Reply]]


async def _one(verb: _Verb, seen: Seen, answered: Sequence[Answered]) -> wire.AnswerReply:
    return wire.AnswerReply(**verb.facts(seen, answered), **verb.said(answered[0].grounded, seen))


def _facts(body: wire.PictureRequest, seen: Seen, desk: Desk, caller: Caller) -> dict[str, Any]:
    return {
        "request_id": caller.request_id,
        "model": desk.model_id,
        "coords": body.coords,
        "unit": dialects.unit_of(body.coords),
        "image": ImageSize(**image(seen)),
    }


def _box(numbers: Sequence[float], coords: str, seen: Seen, param: str) -> Box:
    try:
        return dialects.box_from(numbers, coords, seen.width, seen.height)
    except InputError:
        raise Refused("box_invalid", param=param) from None


def _boxes(given: Sequence[Any], coords: str, seen: Seen, param: str) -> Any:
    """One box, or the several that belong to one phrase."""
    if not isinstance(given[0], list):
        return _box(given, coords, seen, param)
    return [_box(one, coords, seen, f"{param}[{at}]") for at, one in enumerate(given)]
