"""For programs that speak to Moondream: `/v1/query`, `/v1/detect`, `/v1/point`, and `/v1/caption`.

Its official client is pointed here by `endpoint="http://HOST:PORT/v1"`. Answers are grounded, which
is how the model speaks best, also where the client has no place for boxes.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request

from kosmos2 import dialects
from kosmos2.geometry import Box
from kosmos2.grounder import Seen, tasks
from kosmos2.grounder.reading import Ask
from kosmos2.markup import Text
from kosmos2.options import Options
from kosmos2.result import Grounded
from kosmos2.serve.answering import Answers
from kosmos2.serve.desk import Caller, Desk, caller_of, desk_of, while_connected
from kosmos2.serve.events import EventStream, event
from kosmos2.serve.routes.telling import STREAMED, options, see, stream
from kosmos2.serve.wire import moondream as wire

router = APIRouter(prefix="/v1", tags=["moondream"])

AtDesk = Annotated[Desk, Depends(desk_of)]
Asking = Annotated[Caller, Depends(caller_of)]

LONG = 256  # tokens of a caption that is to be long, if nobody says otherwise


async def caption(body: wire.MoondreamCaption, request: Request, desk: Desk, caller: Caller) -> Any:
    """Say what is in a picture; there is no middle between brief and in detail."""

    def ask(seen: Seen) -> Ask:
        return tasks.caption(seen, detailed=body.length != "short", grounded=True)

    wanted = _options(body, max_new_tokens=LONG if body.length == "long" else None)
    if body.stream:
        return await _streamed(body, request, desk, caller, ask, wanted)
    answer = await while_connected(request, _answer(body, desk, caller, ask, wanted))
    return wire.CaptionText(request_id=caller.request_id, caption=answer.text)


@router.post(
    "/query", response_model=wire.QueryText, response_model_exclude_none=True, responses=STREAMED
)
async def query(body: wire.MoondreamQuery, request: Request, desk: AtDesk, caller: Asking) -> Any:
    """Answer a question; its reasoning is where the answer's phrases are."""

    def ask(seen: Seen) -> Ask:
        return tasks.ask(seen, body.question, None, grounded=True)

    if body.stream:
        return await _streamed(body, request, desk, caller, ask, _options(body))
    answer = await while_connected(request, _answer(body, desk, caller, ask, _options(body)))
    return wire.QueryText(
        request_id=caller.request_id,
        answer=answer.text,
        reasoning=_reasoning(answer) if body.reasoning else None,
    )


@router.post("/detect", response_model=wire.Objects)
async def detect(body: wire.MoondreamFind, request: Request, desk: AtDesk, caller: Asking) -> Any:
    """Find every thing of a kind."""
    boxes = await while_connected(request, _found(body, desk, caller))
    objects = [wire.Region.model_validate(dialects.region(box)) for box in boxes]
    return wire.Objects(request_id=caller.request_id, objects=objects)


@router.post("/point", response_model=wire.Points)
async def point(body: wire.MoondreamFind, request: Request, desk: AtDesk, caller: Asking) -> Any:
    """Point at the middle of every thing of a kind."""
    boxes = await while_connected(request, _found(body, desk, caller))
    points = [wire.Point(x=x, y=y) for x, y in map(_middle, boxes)]
    return wire.Points(request_id=caller.request_id, points=points)


async def _found(body: wire.MoondreamFind, desk: Desk, caller: Caller) -> list[Box]:
    def ask(seen: Seen) -> Ask:
        (one,) = tasks.ground(seen, [body.object])
        return one

    wanted = _options(body, every=True)
    answer = await _answer(body, desk, caller, ask, wanted)
    return [box for entity in answer.entities for box in entity.boxes]


async def _answer(
    body: wire.MoondreamRequest, desk: Desk, caller: Caller, ask: Any, wanted: Options
) -> Grounded:
    async with await _started(body, desk, caller, ask, wanted) as answers:
        (answered,) = await answers.whole()
    return answered.grounded


async def _streamed(
    body: wire.MoondreamRequest,
    request: Request,
    desk: Desk,
    caller: Caller,
    ask: Any,
    wanted: Options,
) -> EventStream:
    answers = await while_connected(request, _started(body, desk, caller, ask, wanted))
    return stream(_chunks(answers), answers, caller)


async def _chunks(answers: Answers) -> AsyncIterator[bytes]:
    """The words as they come, in the client's form."""
    async for _, said in answers:
        if isinstance(said, Text):
            yield event({"chunk": said.text})
    yield event({"completed": True})


async def _started(
    body: wire.MoondreamRequest, desk: Desk, caller: Caller, ask: Any, wanted: Options
) -> Answers:
    seen = await see(desk, caller, body.model, body.image_url, "image_url")
    return await desk.answering.answer([ask(seen)], wanted, caller=caller).start()


def _options(body: wire.MoondreamRequest, **more: Any) -> Options:
    if said := body.settings:  # counts before what we would take otherwise
        told = {
            "max_new_tokens": said.max_tokens,
            "temperature": said.temperature,
            "top_p": said.top_p,
            "max_boxes": said.max_objects,
        }
        more |= {name: value for name, value in told.items() if value is not None}
    return options(**more)


def _reasoning(answer: Grounded) -> wire.Reasoning:
    return wire.Reasoning(
        text=answer.text,
        grounding=[
            wire.Pointed(
                start_idx=entity.start,
                end_idx=entity.end,
                points=[list(_middle(box)) for box in entity.boxes],
            )
            for entity in answer.entities
        ],
    )


def _middle(box: Box) -> tuple[float, float]:
    return (box.x1 + box.x2) / 2, (box.y1 + box.y2) / 2
