"""Who is turned away before there is a connection: over real sockets, beside who is let in."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

pytest.importorskip("fastapi", reason="the server's libraries are an extra")

from kosmos2.serve import doorstep
from kosmos2.serve.crowd import TurnedAway
from kosmos2.serve.doorstep import Doorstep

PATIENCE_S = 30.0  # failures only
MANY = 2 * doorstep.A_ROUND  # who come together
NO = b"HTTP/1.1 429 No\r\nConnection: close\r\n\r\nno"
ASKED = b"POST / HTTP/1.1\r\n\r\n"
LARGE = b"x" * 1_000_000


class Echo(asyncio.Protocol):
    """Says what it hears, once."""

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.transport.write(b"heard " + data)
        self.transport.close()


class House:
    """A doorstep in front of echoes, and what is to be seen of it."""

    def __init__(self, step: Doorstep) -> None:
        self.step = step
        self.crowd = True
        self.unheard = 0
        self.made = 0
        self.newcomers: list[object] = []
        self.server: asyncio.Server

    def protocol(self) -> Echo:
        self.made += 1
        return Echo()

    def turn_away(self, packet: bytes, who: object) -> TurnedAway | None:
        self.newcomers.append(who)
        if not self.crowd or not packet.startswith(ASKED):
            return None
        return TurnedAway(NO, max(self.unheard - (len(packet) - len(ASKED)), 0))

    async def let_in(self, line: socket.socket) -> None:
        await asyncio.get_running_loop().connect_accepted_socket(self.protocol, line)

    async def comes(self, says: bytes = b"") -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        reader, writer = await asyncio.open_connection(*self.step.getsockname())
        writer.write(says)
        return reader, writer

    async def hears(self, says: bytes) -> bytes:
        reader, writer = await self.comes(says)
        heard = await reader.read()
        writer.close()
        return heard


def run(work: Callable[[House], Awaitable[None]]) -> House:
    async def alone() -> House:
        step = Doorstep(socket.AF_INET)
        step.bind(("127.0.0.1", 0))
        house = House(step)
        step.guard(house.turn_away, lambda: house.crowd, house.let_in)
        house.server = server = await asyncio.get_running_loop().create_server(
            house.protocol, sock=step, backlog=MANY
        )
        try:
            async with asyncio.timeout(PATIENCE_S):
                await work(house)
        finally:
            server.close()
            step.close()
        assert not step._patience
        assert not step._unheard
        return house

    return asyncio.run(alone())


def said_before_taken(house: House, packets: list[bytes]) -> list[socket.socket]:
    """Lines whose first packet is there before the loop comes to take them."""
    lines = []
    for packet in packets:
        line = socket.create_connection(house.step.getsockname())
        line.sendall(packet)
        line.setblocking(False)
        lines.append(line)
    return lines


async def all_of(line: socket.socket) -> bytes:
    heard = b""
    while part := await asyncio.get_running_loop().sock_recv(line, 2**16):
        heard += part
    line.close()
    return heard


def test_who_comes_in_a_crowd_is_told_and_never_becomes_a_connection() -> None:
    async def work(house: House) -> None:
        lines = said_before_taken(house, [ASKED] * MANY)
        assert [await all_of(line) for line in lines] == [NO] * len(lines)

    house = run(work)
    assert house.made == 0
    assert len(set(house.newcomers)) == MANY
    assert all(host == "127.0.0.1" and port > 0 for host, port in house.newcomers)  # type: ignore[misc]


def test_who_was_silent_at_first_is_told_when_he_speaks() -> None:
    async def work(house: House) -> None:
        reader, writer = await house.comes()
        while not house.step._patience:
            await asyncio.sleep(0.001)
        writer.write(ASKED)
        assert await reader.read() == NO
        writer.close()

    assert run(work).made == 0


def test_who_may_come_in_is_heard_from_the_first_byte() -> None:
    async def work(house: House) -> None:
        (line,) = said_before_taken(house, [b"GET /"])
        assert await all_of(line) == b"heard GET /"
        reader, writer = await house.comes()
        while not house.step._patience:
            await asyncio.sleep(0.001)
        writer.write(b"GET /late")
        assert await reader.read() == b"heard GET /late"
        writer.close()

    assert run(work).made == 2


def test_where_there_is_no_crowd_nobody_is_looked_at() -> None:
    async def work(house: House) -> None:
        house.crowd = False
        assert await house.hears(ASKED) == b"heard " + ASKED

    house = run(work)
    assert (house.made, house.newcomers) == (1, [])


def test_who_stays_silent_becomes_a_connection_like_any_other(monkeypatch) -> None:
    monkeypatch.setattr(doorstep, "SILENT_S", 0.05)

    async def work(house: House) -> None:
        reader, writer = await house.comes()
        while not house.made:
            await asyncio.sleep(0.01)
        assert not house.step._patience
        writer.write(ASKED)
        assert await reader.read() == b"heard " + ASKED  # what is said there is another's matter
        writer.close()

    run(work)


def test_who_says_nothing_and_leaves_is_forgotten() -> None:
    async def work(house: House) -> None:
        _, writer = await house.comes()
        while not house.step._patience:
            await asyncio.sleep(0.001)
        writer.close()
        while house.step._patience:
            await asyncio.sleep(0.001)

    assert run(work).newcomers == []


def test_the_reply_reaches_who_is_still_sending() -> None:
    async def work(house: House) -> None:
        house.unheard = len(LARGE)
        reader, writer = await house.comes(ASKED)
        assert await reader.readexactly(len(NO)) == NO  # before the body has come
        writer.write(LARGE)
        await writer.drain()
        assert await reader.read() == b""
        writer.close()

    run(work)


def test_who_does_not_end_is_hung_up_on(monkeypatch) -> None:
    monkeypatch.setattr(doorstep, "LINGER_S", 0.05)

    async def work(house: House) -> None:
        house.unheard = len(LARGE)
        assert await house.hears(ASKED) == NO

    run(work)


def test_only_so_many_wait_on_the_doorstep(monkeypatch) -> None:
    monkeypatch.setattr(doorstep, "WAITING", 2)

    async def work(house: House) -> None:
        waiting = [await house.comes() for _ in range(2)]
        while len(house.step._patience) < 2:
            await asyncio.sleep(0.001)
        assert await house.hears(ASKED) == b"heard " + ASKED
        for _, writer in waiting:
            writer.close()

    assert run(work).made >= 1


def test_who_waits_when_the_house_closes_is_hung_up_on() -> None:
    async def work(house: House) -> None:
        reader, writer = await house.comes()
        while not house.step._patience:
            await asyncio.sleep(0.001)
        house.server.close()
        assert await reader.read() == b""
        writer.close()

    run(work)
