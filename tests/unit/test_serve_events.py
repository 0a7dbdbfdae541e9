"""The writer of server-sent events: what is ready goes out, and who leaves ends it."""

from __future__ import annotations

import asyncio
import math
from typing import Any

import pytest

pytest.importorskip("fastapi", reason="the server needs the serve extra")

from kosmos2.serve.events import EventStream, event
from kosmos2.serve.failures import Refused


class Held:
    """What a stream holds while it runs."""

    def __init__(self) -> None:
        self.left = False

    async def __aenter__(self) -> Held:
        return self

    async def __aexit__(self, *_: object) -> None:
        self.left = True


async def never() -> dict[str, Any]:
    await asyncio.Event().wait()
    raise AssertionError


def sent_by(source: Any, receive: Any = never, wait: Any = None) -> tuple[list[Any], Held]:
    """What a stream of these events sends."""
    held, sent = Held(), []

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)
        if wait is not None:
            wait.set()

    async def run() -> None:
        stream = EventStream(
            source(),
            within=held,
            failed=lambda refused: event({"error": {"code": refused.code}}),
            request_id="r",
        )
        await stream({"type": "http"}, receive, send)

    asyncio.run(asyncio.wait_for(run(), 30))
    return sent, held


def test_what_is_ready_goes_out_in_one_piece():
    async def source():
        for at in range(3):
            yield event(at)
        await asyncio.sleep(0.01)
        yield event(3)

    (_, *bodies), held = sent_by(source)
    pieces = [message["body"] for message in bodies]
    assert pieces == [b"data: 0\n\ndata: 1\n\ndata: 2\n\n", b"data: 3\n\n", b""]
    assert [message["more_body"] for message in bodies] == [True, True, False]
    assert held.left


def test_what_goes_wrong_on_the_way_is_told_and_ends_the_stream():
    for error, code in (
        (Refused("deadline_exceeded"), "deadline_exceeded"),
        (KeyError("x"), "internal"),
    ):

        async def source(error: Exception = error):
            yield event(0)
            raise error

        (_, *bodies), held = sent_by(source)
        text = b"".join(message["body"] for message in bodies).decode()
        assert text == f'data: 0\n\ndata: {{"error":{{"code":"{code}"}}}}\n\n'
        assert held.left


def test_a_client_that_leaves_ends_the_work():
    gone = asyncio.Event()
    ended = []

    async def source():
        try:
            yield event(0)
            await asyncio.Event().wait()
        finally:
            ended.append(True)

    async def leave() -> dict[str, Any]:
        await gone.wait()
        return {"type": "http.disconnect"}

    sent, held = sent_by(source, leave, gone)
    assert held.left
    assert ended
    assert not any(message.get("more_body") is False for message in sent)


def test_text_of_any_language_is_sent_as_it_is():
    assert event({"a": "雪だるま"}) == 'data: {"a":"雪だるま"}\n\n'.encode()
    assert event(math.pi, "number").startswith(b"event: number\ndata: 3.14")
