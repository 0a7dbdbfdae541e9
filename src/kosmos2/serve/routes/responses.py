"""`POST /v1/responses`: one answer as an item with parts, whole or event by event."""

from __future__ import annotations

import secrets
import time
from collections.abc import AsyncIterator
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request, Response
from fastapi.responses import JSONResponse

from kosmos2.engine import Token
from kosmos2.markup import Entity, Text
from kosmos2.options import Options
from kosmos2.result import Grounded
from kosmos2.serve import failures
from kosmos2.serve.conversation import of_responses
from kosmos2.serve.desk import Caller, Desk, caller_of, desk_of, while_connected
from kosmos2.serve.errands import errand
from kosmos2.serve.events import EventStream, event
from kosmos2.serve.failures import Refused
from kosmos2.serve.rendering import NOTHING, Logprobs, Manner
from kosmos2.serve.wire.parts import STREAM, GroundingWish
from kosmos2.serve.wire.responses import JsonSchemaFormat, ResponseReply, ResponseRequest
from kosmos2.serve.work import Work, begin

router = APIRouter(tags=["OpenAI"])

LOGPROBS = "message.output_text.logprobs"  # of `include`


@router.post(
    "/v1/responses",
    responses={200: {"model": ResponseReply, "content": STREAM}},
    response_model=None,
    operation_id="responses",
    summary="Answer about pictures",
)
async def responses(
    body: ResponseRequest,
    request: Request,
    desk: Annotated[Desk, Depends(desk_of)],
    caller: Annotated[Caller, Depends(caller_of)],
) -> Response:
    """Answer the input; boxes are in `output[0].content[0].grounding`."""
    desk.check_model(body.model)
    talk = of_responses(body.input)
    if body.instructions:
        talk = talk.with_instructions()
    job = errand(talk, body.grounding or GroundingWish(), desk.limits)
    wanted = body.text.format if body.text else None
    schema = wanted.schema_ if isinstance(wanted, JsonSchemaFormat) else None
    kind = "text" if wanted is None else wanted.type
    manner = Manner.of(job, kind, schema, param="text.format")
    told = _with_logprobs(body)
    work = await begin(
        desk,
        caller,
        request,
        manner,
        options(body, desk.model.config.text.positions),
        with_tokens=bool(body.stream and told),
    )
    reply = _Reply(body, desk, work, manner)
    if body.stream:
        return EventStream(
            reply.events(),
            within=work.answers,
            failed=reply.failed,
            request_id=caller.request_id,
        )
    await while_connected(request, work.whole())
    return JSONResponse(reply.whole())


def options(body: ResponseRequest, positions: int) -> Options:
    """What generation is to keep to."""
    wish = body.grounding or GroundingWish()
    return Options(
        max_new_tokens=min(body.max_output_tokens or Options().max_new_tokens, positions),
        temperature=body.temperature or 0.0,
        top_p=1.0 if body.top_p is None else body.top_p,
        min_presence=wish.min_presence,
        max_boxes=wish.max_boxes,
        every=wish.every,
        min_score=wish.min_score,
        top_logprobs=body.top_logprobs or 0,
    )


def _with_logprobs(body: ResponseRequest) -> bool:
    return bool(body.top_logprobs) or LOGPROBS in (body.include or ())


class _Reply:
    """One reply, whole or as events with numbers."""

    def __init__(self, body: ResponseRequest, desk: Desk, work: Work, manner: Manner) -> None:
        self._body = body
        self._work = work
        self._manner = manner
        self._logprobs = None
        if _with_logprobs(body):
            self._logprobs = Logprobs(desk.model.tokenizer, bytes_of_locations=True)
        self._item_id = f"msg_{secrets.token_hex(12)}"
        self._number = 0  # of the next event
        self._fixed: dict[str, Any] = {
            "id": f"resp_{secrets.token_hex(12)}",
            "object": "response",
            "created_at": int(time.time()),
            "background": False,
            "error": None,
            "instructions": body.instructions,
            "max_output_tokens": body.max_output_tokens,
            "metadata": body.metadata or {},
            "model": desk.model_id,
            "parallel_tool_calls": body.parallel_tool_calls is not False,
            "previous_response_id": None,
            "store": False,
            "temperature": body.temperature or 0.0,
            "text": {"format": {"type": "text"}} if body.text is None else _echo(body.text),
            "tool_choice": body.tool_choice or "auto",
            "tools": [],
            "top_logprobs": body.top_logprobs or 0,
            "top_p": 1.0 if body.top_p is None else body.top_p,
            "truncation": "disabled",
        }

    def whole(self) -> dict[str, Any]:
        """The reply, once everything is said."""
        answer = self._work.speeches[0].whole()
        return self._response(answer, [self._item(answer, [self._part(answer)])])

    async def events(self) -> AsyncIterator[bytes]:
        """Everything as it comes; what is new, and at the end of each part the part."""
        speech = self._work.speeches[0]
        place = {"item_id": self._item_id, "output_index": 0, "content_index": 0}
        picture = self._work.picture
        size = (picture.width, picture.height) if picture else (None, None)
        yield self._event("response.created", response=self._response(None, []))
        yield self._event("response.in_progress", response=self._response(None, []))
        yield self._event("response.output_item.added", output_index=0, item=self._item(None, []))
        # Which part it is going to be is known at the end, where content is no plain words.
        opening = self._text("", [])
        if self._manner.plain:
            yield self._event("response.content_part.added", **place, part=opening)
        untold: list[Token] = []
        entities = 0
        async for _, told in self._work.told():
            match told:
                case Token():
                    untold.append(told)
                case Text() if self._manner.plain:
                    yield self._delta(place, told.text, untold)
                    untold = []
                case Entity():
                    row = self._manner.entity(entities, told, *size)
                    entities += 1
                    head = self._manner.head(picture) if entities == 1 else {}
                    delta = {**head, "entities": [row]}
                    yield self._event("response.grounding.delta", **place, delta=delta)
        answer = speech.whole()
        part = self._part(answer)
        if not self._manner.plain:
            empty = opening if part["type"] == "output_text" else {**part, "refusal": ""}
            yield self._event("response.content_part.added", **place, part=empty)
        if part["type"] == "output_text":
            if not self._manner.plain:
                yield self._delta(place, part["text"], untold)
            probabilities = part["logprobs"]
            done = {"text": part["text"], "logprobs": probabilities}
            yield self._event("response.output_text.done", **place, **done)
        else:
            yield self._event("response.refusal.delta", **place, delta=NOTHING)
            yield self._event("response.refusal.done", **place, refusal=NOTHING)
        yield self._event("response.content_part.done", **place, part=part)
        item = self._item(answer, [part])
        yield self._event("response.output_item.done", output_index=0, item=item)
        response = self._response(answer, [item])
        yield self._event(f"response.{response['status']}", response=response)

    def failed(self, refused: Refused) -> bytes:
        """The last event, when something goes wrong on the way.

        It has the shape of the standard, and `error` beside it, by which clients notice.
        """
        error = failures.body(refused)["error"]
        plain = {name: error[name] for name in ("code", "message", "param")}
        return self._event("error", **plain, error=error)

    def _delta(self, place: dict[str, Any], text: str, tokens: list[Token]) -> bytes:
        probabilities = self._probabilities(tokens)
        return self._event(
            "response.output_text.delta", **place, delta=text, logprobs=probabilities
        )

    def _event(self, type: str, **values: Any) -> bytes:
        number, self._number = self._number, self._number + 1
        return event({"type": type, "sequence_number": number, **values}, type)

    def _part(self, answer: Grounded) -> dict[str, Any]:
        content = self._manner.content(answer)
        if content is None:
            part: dict[str, Any] = {"type": "refusal", "refusal": NOTHING}
        else:
            part = self._text(content, self._probabilities(self._work.speeches[0].tokens))
        grounding = self._manner.grounding(answer, self._work.picture, self._work.heat)
        return {**part, "grounding": grounding}

    def _text(self, text: str, logprobs: list[dict[str, Any]]) -> dict[str, Any]:
        return {"type": "output_text", "text": text, "annotations": [], "logprobs": logprobs}

    def _probabilities(self, tokens: list[Token]) -> list[dict[str, Any]]:
        return [] if self._logprobs is None else self._logprobs(tokens)

    def _item(self, answer: Grounded | None, parts: list[dict[str, Any]]) -> dict[str, Any]:
        return {
            "id": self._item_id,
            "type": "message",
            "role": "assistant",
            "status": _status(answer),
            "content": parts,
        }

    def _response(self, answer: Grounded | None, output: list[dict[str, Any]]) -> dict[str, Any]:
        status = _status(answer)
        whole = status == "completed"
        return {
            **self._fixed,
            "status": status,
            "completed_at": int(time.time()) if whole else None,
            "incomplete_details": {"reason": "max_output_tokens"} if status == _CUT else None,
            "output": output,
            "usage": None if answer is None else self._usage(),
        }

    def _usage(self) -> dict[str, Any]:
        usage = self._work.usage
        return {
            "input_tokens": usage.prompt,
            "input_tokens_details": {
                "cached_tokens": usage.cached,
                "cache_write_tokens": 0,
                "image_tokens": usage.image,
            },
            "output_tokens": usage.completion,
            "output_tokens_details": {"reasoning_tokens": 0},
            "total_tokens": usage.prompt + usage.completion,
        }


_CUT = "incomplete"


def _status(answer: Grounded | None) -> str:
    if answer is None:
        return "in_progress"
    return _CUT if answer.finish == "length" else "completed"


def _echo(text: Any) -> dict[str, Any]:
    kind = text.format or None
    plain: dict[str, Any] = {"type": "text"}
    if kind is not None:
        plain = kind.model_dump(by_alias=True, exclude_none=True)
    return {"format": plain}
