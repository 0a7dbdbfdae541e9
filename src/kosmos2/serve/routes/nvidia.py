"""For clients of NVIDIA's hosted KOSMOS-2: `/v1/vlm/microsoft/kosmos-2`.

They put pictures among the words, as `<img src="data:..." />`; nowhere else is a tag read as one.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request

from kosmos2.grounder import tasks
from kosmos2.markup import Entity, Text
from kosmos2.serve.answering import Answered, Answers
from kosmos2.serve.conversation import Conversation, Said, Shown, conversation
from kosmos2.serve.desk import Caller, Desk, caller_of, desk_of, while_connected
from kosmos2.serve.errands import errand
from kosmos2.serve.events import DONE, event
from kosmos2.serve.failures import Refused
from kosmos2.serve.routes.telling import STREAMED, in_turn, options, stream, usage_of
from kosmos2.serve.wire import nvidia as wire
from kosmos2.serve.wire.parts import GroundingWish

router = APIRouter(tags=["nvidia"])


@router.post("/v1/vlm/microsoft/kosmos-2", response_model=wire.NvidiaReply, responses=STREAMED)
async def kosmos2(
    body: wire.NvidiaRequest,
    request: Request,
    desk: Annotated[Desk, Depends(desk_of)],
    caller: Annotated[Caller, Depends(caller_of)],
) -> Any:
    """Answer a message with words and the boxes of their phrases."""
    head = {"id": f"chatcmpl-{caller.request_id}"}
    if body.stream:
        answers = await while_connected(request, _started(body, desk, caller))
        return stream(_chunks(answers, head), answers, caller)

    async def work() -> wire.NvidiaReply:
        async with await _started(body, desk, caller) as answers:
            answered = await answers.whole()
        answer = tasks.together([one.grounded for one in answered])
        message = wire.NvidiaMessage(
            role="assistant",
            content=answer.text,
            entities=[_entity(entity) for entity in answer.entities],
        )
        choice = wire.NvidiaChoice(index=0, message=message, finish_reason=answer.finish)
        return wire.NvidiaReply(**head, choices=[choice], usage=usage_of(answered))

    return await while_connected(request, work())


async def _started(body: wire.NvidiaRequest, desk: Desk, caller: Caller) -> Answers:
    """Everything that can be refused is refused in here, before a stream begins."""
    desk.check_model(body.model)
    task = errand(_conversation(body), GroundingWish.model_validate({}), desk.limits)
    wanted = options(
        max_new_tokens=body.max_tokens,
        temperature=body.temperature,
        top_p=body.top_p,
        seed=body.seed,
    )
    seen = await desk.see(task.talk.pictures, caller)
    return await desk.answering.answer(task.asks(seen), wanted, caller=caller).start()


def _conversation(body: wire.NvidiaRequest) -> Conversation:
    said = []
    for at, message in enumerate(body.messages):
        param = f"messages[{at}].content"
        own = words_and_pictures(message.content, param=param)
        said.append((message.role, own if message.role == "user" else (message.content,)))
    return conversation(said, "messages")


async def _chunks(answers: Answers, head: dict[str, Any]) -> AsyncIterator[bytes]:
    """Words, and entities as soon as they are complete."""

    def chunk(delta: dict[str, Any], finish: str | None = None, **more: Any) -> bytes:
        choice = {"index": 0, "delta": delta, "finish_reason": finish}
        return event({**head, "choices": [choice], **more})

    yield chunk({"role": "assistant", "content": ""})
    whole: list[Answered] = []
    async for _, said in in_turn(answers):
        if isinstance(said, Text):
            yield chunk({"content": said.text})
        elif isinstance(said, Entity):
            yield chunk({"content": "", "entities": [_entity(said).model_dump()]})
        elif isinstance(said, Answered):
            whole.append(said)
            if len(whole) < len(answers.asked):
                yield chunk({"content": tasks.BETWEEN})
    answer = tasks.together([one.grounded for one in whole])
    yield chunk({"content": ""}, answer.finish, usage=usage_of(whole).model_dump())
    yield DONE


def _entity(entity: Entity) -> wire.NvidiaEntity:
    return wire.NvidiaEntity(
        phrase=entity.phrase,
        bboxes=[list(box.corners) for box in entity.boxes],
        scores=[box.score for box in entity.boxes],
    )


_TAG = re.compile(r"<img(?=[\s/>])", re.IGNORECASE)
_BEFORE_VALUE = re.compile(r"\s{1,8}([a-zA-Z]{1,16})\s{0,8}=\s{0,8}([\"'])")
_CLOSE = re.compile(r"\s{0,8}/?>")
_NAMES = ("src", "alt")


def words_and_pictures(content: str, *, param: str) -> Said:
    """What a message says and shows, in its order; every character is looked at once.

    Raises:
        Refused: a tag that is not `<img src="..." />`, or one that shows an upload.
    """
    parts: list[str | Shown] = []
    done = 0
    while tag := _TAG.search(content, done):
        parts.append(content[done : tag.start()])
        shown, done = _picture(content, tag.end(), param)
        parts.append(shown)
    parts.append(content[done:])
    return tuple(part for part in parts if part)


def _picture(content: str, at: int, param: str) -> tuple[Shown, int]:
    """The picture of a tag whose attributes begin at `at`, and where the words go on."""
    told: dict[str, str] = {}
    while opening := _BEFORE_VALUE.match(content, at):
        name = opening[1].lower()
        end = content.find(opening[2], opening.end())
        if name not in _NAMES or name in told or end < 0:
            raise Refused("image_url_invalid", param=param)
        told[name] = content[opening.end() : end]
        at = end + 1
    close = _CLOSE.match(content, at)
    if close is None or "src" not in told:
        raise Refused("image_url_invalid", param=param)
    if told["src"].partition(",")[0].lower().endswith(";asset_id"):
        raise Refused("asset_not_supported", param=param)
    return Shown(told["src"].strip(), param), close.end()
