"""`POST /v1/chat/completions`: what most clients speak, with boxes beside the words."""

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
from kosmos2.serve import failures
from kosmos2.serve.answers import Usage
from kosmos2.serve.conversation import of_chat
from kosmos2.serve.desk import Caller, Desk, caller_of, desk_of, while_connected
from kosmos2.serve.errands import errand
from kosmos2.serve.events import DONE, EventStream, event
from kosmos2.serve.failures import Refused
from kosmos2.serve.rendering import NOTHING, Logprobs, Manner
from kosmos2.serve.wire.chat import ChatCompletion, ChatRequest, JsonSchemaFormat
from kosmos2.serve.wire.parts import STREAM, GroundingWish
from kosmos2.serve.work import SEEDS, Work, begin

router = APIRouter(tags=["OpenAI"])


@router.post(
    "/v1/chat/completions",
    responses={200: {"model": ChatCompletion, "content": STREAM}},
    response_model=None,
    operation_id="chat_completions",
    summary="Go on with a conversation about pictures",
)
async def chat_completions(
    body: ChatRequest,
    request: Request,
    desk: Annotated[Desk, Depends(desk_of)],
    caller: Annotated[Caller, Depends(caller_of)],
) -> Response:
    """Answer the last message; boxes are in `message.grounding`."""
    desk.check_model(body.model)
    job = errand(of_chat(body.messages), body.grounding or GroundingWish(), desk.limits)
    wanted = body.response_format
    schema = wanted.json_schema.schema_ if isinstance(wanted, JsonSchemaFormat) else None
    manner = Manner.of(job, "text" if wanted is None else wanted.type, schema)
    usage = body.stream_options.continuous_usage_stats if body.stream_options else False
    work = await begin(
        desk,
        caller,
        request,
        manner,
        options(body, desk.model.config.text.positions),
        choices=body.n or 1,
        with_tokens=bool(body.stream and (body.logprobs or usage)),
    )
    reply = _Reply(body, desk, work)
    if body.stream:
        return EventStream(
            reply.chunks(),
            within=work.answers,
            failed=lambda refused: event(failures.body(refused)),
            request_id=caller.request_id,
        )
    await while_connected(request, work.whole())
    return JSONResponse(reply.completion())


def options(body: ChatRequest, positions: int) -> Options:
    """What generation is to keep to.

    Raises:
        Refused: values that contradict each other.
    """
    if body.top_logprobs and not body.logprobs:
        raise Refused("invalid_request", param="top_logprobs")
    wish = body.grounding or GroundingWish()
    most = min(body.max_completion_tokens or body.max_tokens or Options().max_new_tokens, positions)
    least = most if body.ignore_eos else body.min_tokens or 0
    if least > most:
        raise Refused("invalid_request", param="min_tokens")
    stop = [body.stop] if isinstance(body.stop, str) else body.stop or ()
    return Options(
        max_new_tokens=most,
        min_new_tokens=least,
        temperature=body.temperature or 0.0,
        top_p=1.0 if body.top_p is None else body.top_p,
        top_k=max(body.top_k or 0, 0),
        seed=None if body.seed is None else body.seed % SEEDS,
        stop=tuple(stop),
        min_presence=wish.min_presence,
        max_boxes=wish.max_boxes,
        every=wish.every,
        min_score=wish.min_score,
        top_logprobs=body.top_logprobs or 0,
    )


class _Reply:
    """One reply, whole or in chunks."""

    def __init__(self, body: ChatRequest, desk: Desk, work: Work) -> None:
        self._body = body
        self._work = work
        self._manner = work.manner
        self._logprobs = Logprobs(desk.model.tokenizer) if body.logprobs else None
        self._head = {
            "id": f"chatcmpl-{secrets.token_hex(12)}",
            "object": "chat.completion",
            "created": int(time.time()),
            "model": desk.model_id,
            "system_fingerprint": desk.model_id,
        }

    def completion(self) -> dict[str, Any]:
        """All of it."""
        return {
            **self._head,
            "choices": [self._choice(at) for at in range(len(self._work.speeches))],
            "usage": usage_of(self._work.usage),
        }

    def _choice(self, at: int) -> dict[str, Any]:
        speech = self._work.speeches[at]
        answer = speech.whole()
        content = self._manner.content(answer)
        return {
            "index": at,
            "message": {
                "role": "assistant",
                "content": content,
                "refusal": NOTHING if content is None else None,
                "grounding": self._manner.grounding(answer, self._work.picture, self._work.heat),
            },
            "logprobs": self._probabilities(speech.tokens),
            "finish_reason": answer.finish,
        }

    async def chunks(self) -> AsyncIterator[bytes]:
        """What is new, as it comes."""
        work, asked = self._work, self._body.stream_options
        self._head["object"] = "chat.completion.chunk"
        continuous = asked is not None and asked.continuous_usage_stats
        count = 0  # of tokens so far, in all choices

        def chunk(at: int, delta: Any, tokens: list[Token], finish: str | None = None) -> bytes:
            choice = {
                "index": at,
                "delta": delta,
                "logprobs": self._probabilities(tokens),
                "finish_reason": finish,
            }
            whole: dict[str, Any] = {**self._head, "choices": [choice]}
            if continuous:
                whole["usage"] = usage_of(work.usage_so_far(count))
            elif asked is not None and asked.include_usage:
                whole["usage"] = None
            return event(whole)

        head = self._manner.head(work.picture)
        for at in range(len(work.speeches)):
            yield chunk(at, {"role": "assistant", "content": "", "grounding": head}, [])
        size = (work.picture.width, work.picture.height) if work.picture else (None, None)
        untold: list[list[Token]] = [[] for _ in work.speeches]  # tokens that no chunk told yet
        entities = [0] * len(work.speeches)
        async for at, told in work.told():
            tokens = untold[at]
            match told:
                case Token():
                    tokens.append(told)
                    count += 1
                    continue
                case Text():
                    if not self._manner.plain:
                        continue
                    delta: dict[str, Any] = {"content": told.text}
                case Entity():
                    row = self._manner.entity(entities[at], told, *size)
                    delta = {"grounding": {"entities": [row]}}
                    entities[at] += 1
                case None:
                    speech = work.speeches[at]
                    answer = speech.whole()
                    if not self._manner.plain:
                        content = self._manner.content(answer)
                        delta = {"refusal": NOTHING} if content is None else {"content": content}
                        yield chunk(at, delta, tokens)
                        tokens = []
                    delta = {"grounding": self._manner.tail(answer, work.heat)}
                    yield chunk(at, delta, tokens, answer.finish)
                    continue
            untold[at] = []
            yield chunk(at, delta, tokens)
        if asked is not None and (asked.include_usage or continuous):
            yield event({**self._head, "choices": [], "usage": usage_of(work.usage)})
        yield DONE

    def _probabilities(self, tokens: list[Token]) -> dict[str, Any] | None:
        if self._logprobs is None:
            return None
        return {"content": self._logprobs(tokens), "refusal": None}


def usage_of(usage: Usage) -> dict[str, Any]:
    """Tokens as this route tells them."""
    return {
        "prompt_tokens": usage.prompt,
        "completion_tokens": usage.completion,
        "total_tokens": usage.prompt + usage.completion,
        "prompt_tokens_details": {"cached_tokens": usage.cached, "image_tokens": usage.image},
    }
