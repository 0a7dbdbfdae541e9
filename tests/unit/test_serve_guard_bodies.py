"""What the door does with heads and bodies, and in which order it lets requests in."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import pytest

pytest.importorskip("fastapi", reason="the server is an extra: pip install kosmos2[serve]")

from doorway import JSON, LIMITS, House, Line, Said, echo
from kosmos2.serve import bodies, guard


@pytest.mark.parametrize(
    "headers",
    [
        [("x", "a" * 40_000)],
        [("a" * 40_000, "x")],
        [(f"x-{number}", "y") for number in range(101)],
        [(f"x-{number}", "y" * 4_000) for number in range(9)],
    ],
)
def test_a_head_without_measure_is_431(headers):
    assert House().ask(headers=headers).code == "headers_too_large"
    assert House().ask("GET", "/" + "a" * 40_000).status == 431


def test_the_app_reads_the_very_bytes_that_came():
    body = '{"a": [1, 2.50, "é\\n"],\n"b": null}'.encode()
    assert House().post(body).body == body


def test_a_body_in_parts_is_put_together():
    parts = [b'{"a"', b"", b": ", b"1}"]
    said = asyncio.run(House().hear(Line(parts), "POST", "/v1/x", {**JSON, "content-length": "8"}))
    assert said.body == b'{"a": 1}'


@pytest.mark.parametrize(
    "kind",
    [
        "application/json",
        "Application/JSON; charset=utf-8",
        'application/json;charset="UTF-8"',
        "application/json ",
    ],
)
def test_json_is_taken(kind):
    assert House().post(b"{}", headers={"content-type": kind}).status == 200


@pytest.mark.parametrize(
    "kind",
    [
        "text/plain",
        "application/x-www-form-urlencoded",
        "",
        "json",
        "multipart/form-data; boundary=x",
        "application/json; charset=utf-16",
        "text/plain, application/json",
        "application/jsonp",
        "application/json; charset=utf-8; x=y",
    ],
)
def test_other_types_are_415(kind):
    assert House().post(b"{}", headers={"content-type": kind}).code == "unsupported_media_type"


def test_a_body_without_a_type_or_with_two_is_415():
    house = House()
    assert house.ask("POST", "/v1/x", {}, b"{}").status == 415
    twice = [("content-type", "application/json")] * 2
    assert house.ask("POST", "/v1/x", twice, b"{}").status == 415


@pytest.mark.parametrize("packing", ["gzip", "br", "deflate", "identity, gzip", "x"])
def test_packed_bodies_are_415(packing):
    said = House().post(b"{}", headers={"content-encoding": packing})
    assert (said.status, said.code) == (415, "unsupported_encoding")


def test_a_length_over_the_limit_is_413_before_any_of_it_is_read():
    async def story() -> tuple[Said, int]:
        line = Line([b" " * 10] * 1000)
        line.left.set()
        said = await House().hear(line, "POST", "/v1/x", {**JSON, "content-length": "1001"})
        return said, line.taken

    said, _ = asyncio.run(story())
    assert (said.status, said.code) == (413, "body_too_large")
    assert said.header("connection") == "close"


def test_a_body_without_end_is_413_and_is_not_kept(monkeypatch):
    """The reply is out while more still comes, and what comes is heard out only so far."""
    monkeypatch.setattr(bodies, "LINGER_BYTES", 5000)

    async def story() -> None:
        house = House()
        line = Line([b" " * 100] * 1000, whole=False)
        said = await house.hear(line, "POST", "/v1/x", {**JSON, "transfer-encoding": "chunked"})
        assert (said.status, said.code) == (413, "body_too_large")
        assert said.parts == 2, "the reply waited for the end of the body"
        assert line.taken == 11 + 50
        assert house.guard._bodies.bytes == 0

    asyncio.run(story())


def test_the_limit_itself_is_let_in_and_one_byte_more_is_not():
    pad = b" " * (LIMITS.body_bytes - 2)
    assert House().post(b"{}" + pad).status == 200
    assert House().post(b"{}" + pad + b" ").status == 413
    for size, status in ((LIMITS.body_bytes, 200), (LIMITS.body_bytes + 1, 413)):
        line = Line([b"{}", b" " * (size - 2)])
        headers = {**JSON, "transfer-encoding": "chunked"}
        assert asyncio.run(House().hear(line, "POST", "/v1/x", headers)).status == status


def test_a_body_that_does_not_come_is_408():
    async def story() -> Said:
        house = House(limits=replace(LIMITS, body_s=0.01))
        line = Line([b"{"], whole=False)
        asyncio.get_running_loop().call_later(0.1, line.left.set)
        return await house.hear(line, "POST", "/v1/x", {**JSON, "content-length": "100"})

    said = asyncio.run(story())
    assert (said.status, said.code) == (408, "request_timeout")


def test_a_client_that_leaves_within_its_body_is_told_nothing():
    async def story() -> None:
        house, line = House(), Line([b"{"], whole=False)
        line.left.set()
        said = await house.hear(line, "POST", "/v1/x", {**JSON, "content-length": "100"})
        assert (said.status, said.parts) == (0, 0)
        assert (house.guard._bodies.bytes, house.inside()) == (0, 0)

    asyncio.run(story())


@pytest.mark.parametrize(
    "headers",
    [
        [("content-length", "2"), ("transfer-encoding", "chunked")],
        [("content-length", "2"), ("content-length", "2")],
        [("content-length", "-2")],
        [("content-length", "2x")],
        [("content-length", "9" * 30)],
        [("content-length", "")],
    ],
)
def test_a_length_that_is_none_or_is_told_twice_is_400(headers):
    said = House().ask("POST", "/v1/x", [("content-type", "application/json"), *headers], b"{}")
    assert (said.status, said.code) == (400, "invalid_request")


def test_bodies_of_all_requests_together_have_a_limit(monkeypatch):
    monkeypatch.setattr(bodies, "BODIES", 2)

    async def story() -> None:
        inside, go_on = asyncio.Semaphore(0), asyncio.Event()

        async def slow(scope, receive, send):
            inside.release()
            await go_on.wait()
            await echo(scope, receive, send)

        house = House(slow)
        headers = {**JSON, "content-length": "900"}
        body = b"{}" + b" " * 898
        held = [
            asyncio.create_task(house.hear(Line([body]), "POST", "/v1/x", headers)) for _ in "ab"
        ]
        for _ in held:
            await inside.acquire()
        third = await house.hear(Line([body]), "POST", "/v1/x", headers)
        assert (third.status, third.code) == (429, "overloaded")
        go_on.set()
        assert [(await one).status for one in held] == [200, 200]
        assert (await house.hear(Line([body]), "POST", "/v1/x", headers)).status == 200

    asyncio.run(story())


def test_a_refused_body_takes_no_room_while_it_is_heard_out():
    async def story() -> None:
        house = House()
        line = Line([b" " * 600] * 2, whole=False)
        headers = {**JSON, "transfer-encoding": "chunked"}
        task = asyncio.create_task(house.hear(line, "POST", "/v1/x", headers))
        await settle()
        assert line.said.status == 413
        assert not task.done(), "it is still heard out"
        assert house.guard._bodies.bytes == 0
        line.left.set()
        await task

    asyncio.run(story())


def test_get_and_empty_posts_need_no_type():
    assert House().ask("GET").status == 200
    assert House().ask("POST", "/v1/x", {"content-length": "0"}).status == 200


# Admission


class Slow:
    """An app that keeps each request inside until it may go on."""

    def __init__(self) -> None:
        self.inside, self.go_on = asyncio.Semaphore(0), asyncio.Event()

    async def __call__(self, scope, receive, send):
        self.inside.release()
        await self.go_on.wait()
        await echo(scope, receive, send)


async def settle() -> None:
    """Let everything that can go on do so."""
    for _ in range(20):
        await asyncio.sleep(0)


def test_a_crowd_is_told_to_come_later_before_its_bodies_are_read():
    headers = {**JSON, "content-length": "2"}

    async def story() -> None:
        app = Slow()
        house = House(app, limits=replace(LIMITS, running=1, queued=1))
        tasks = [
            asyncio.create_task(house.hear(Line([b"{}"]), "POST", "/v1/x", headers)) for _ in "ab"
        ]
        await app.inside.acquire()
        await settle()
        assert (house.admission.running, house.admission.waiting) == (1, 1)
        line = Line([b"{}"] * 3)
        line.left.set()
        refused = await house.hear(line, "POST", "/v1/x", headers)
        assert (refused.status, refused.code) == (429, "overloaded")
        assert 1 <= int(refused.header("retry-after")) <= 60
        app.go_on.set()
        assert [(await task).status for task in tasks] == [200, 200]
        assert house.inside() == 0

    asyncio.run(story())


def test_who_sends_slowly_takes_no_place_in_the_line():
    async def story() -> None:
        house = House(limits=replace(LIMITS, running=1, queued=0))
        slow = Line([b"{"], whole=False)
        headers = {**JSON, "content-length": "2"}
        task = asyncio.create_task(house.hear(slow, "POST", "/v1/x", headers))
        await settle()
        assert house.inside() == 0
        assert (await house.hear(Line([b"{}"]), "POST", "/v1/x", headers)).status == 200
        slow.left.set()
        await task

    asyncio.run(story())


class Later(Line):
    """A client whose body comes when it is told to."""

    def __init__(self, parts: list[bytes]) -> None:
        super().__init__(parts)
        self.go_on = asyncio.Event()

    async def receive(self) -> dict[str, Any]:
        await self.go_on.wait()
        return await super().receive()


def test_who_finds_no_place_any_more_is_told_before_his_body_is_looked_at():
    async def story() -> None:
        app = Slow()
        house = House(app, limits=replace(LIMITS, running=1, queued=0))
        headers = {**JSON, "content-length": "2"}
        late = Later([b"no"])
        refused = asyncio.create_task(house.hear(late, "POST", "/v1/x", headers))
        await settle()
        first = asyncio.create_task(house.hear(Line([b"{}"]), "POST", "/v1/x", headers))
        await app.inside.acquire()
        late.go_on.set()
        assert (await refused).code == "overloaded"
        app.go_on.set()
        assert (await first).status == 200
        assert house.inside() == 0

    asyncio.run(story())


def test_of_many_bodies_one_is_looked_at_in_each_round_of_the_loop(monkeypatch):
    looked: list[int] = []

    async def story() -> list[int]:
        rounds = 0
        monkeypatch.setattr(guard, "check_json", lambda data: looked.append(rounds))
        house = House()
        headers = {**JSON, "content-length": "2"}
        tasks = [
            asyncio.create_task(house.hear(Line([b"{}"]), "POST", "/v1/x", headers))
            for _ in range(6)
        ]
        while not all(task.done() for task in tasks):
            await asyncio.sleep(0)
            rounds += 1
        return [task.result().status for task in tasks]

    assert asyncio.run(story()) == [200] * 6
    assert len(looked) == len(set(looked)) == 6


def test_who_leaves_while_waiting_gives_the_place_back():
    async def story() -> None:
        app = Slow()
        house = House(app, limits=replace(LIMITS, running=1, queued=1))
        headers = {**JSON, "content-length": "2"}
        first = asyncio.create_task(house.hear(Line([b"{}"]), "POST", "/v1/x", headers))
        await app.inside.acquire()
        leaver = Line([b"{}"])
        second = asyncio.create_task(house.hear(leaver, "POST", "/v1/x", headers))
        await settle()
        assert house.inside() == 2
        leaver.left.set()
        await second
        assert (leaver.said.status, house.inside()) == (0, 1)
        third = asyncio.create_task(house.hear(Line([b"{}"]), "POST", "/v1/x", headers))
        await settle()
        app.go_on.set()
        assert ((await first).status, (await third).status) == (200, 200)
        assert (house.inside(), house.admission.running) == (0, 0)

    asyncio.run(story())


def test_the_app_feels_its_client_leave():
    async def story() -> str:
        felt = []

        async def app(scope, receive, send):
            await receive()
            felt.append((await receive())["type"])

        line = Line([b"{}"])
        task = asyncio.create_task(
            House(app).hear(line, "POST", "/v1/x", {**JSON, "content-length": "2"})
        )
        await settle()
        assert not felt
        line.left.set()
        await task
        return felt[0]

    assert asyncio.run(story()) == "http.disconnect"


def test_no_task_is_left_behind():
    async def story() -> int:
        house = House()
        for body in (b"{}", b"{", b"[NaN]"):
            headers = {**JSON, "content-length": str(len(body))}
            await house.hear(Line([body]), "POST", "/v1/x", headers)
        await settle()
        return len(asyncio.all_tasks())

    assert asyncio.run(story()) == 1
