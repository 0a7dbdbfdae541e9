"""Connections whose clients say nothing, say it slowly, or do not listen: over real sockets."""

from __future__ import annotations

import asyncio
import gc
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

pytest.importorskip("uvicorn", reason="the server is an extra: pip install kosmos2[serve]")

import uvicorn

from kosmos2.serve import protocol as ours
from kosmos2.serve.crowd import TurnedAway
from kosmos2.serve.protocol import protocol

PATIENCE_S = 30.0  # failures only
FREED_S = 5.0  # likewise
GET = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"


async def hello(scope, receive, send):
    """Read the body, then say hello."""
    while (await receive()).get("more_body"):
        pass
    headers = [(b"content-length", b"5")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": b"hello"})


class Listening:
    """A server in a thread, and lines to it."""

    def __init__(self, server: uvicorn.Server, port: int) -> None:
        self.server, self.port = server, port
        self.lines: list[socket.socket] = []

    def line(self, data: bytes = b"") -> socket.socket:
        line = socket.create_connection(("127.0.0.1", self.port), PATIENCE_S)
        self.lines.append(line)
        line.sendall(data)
        return line

    @property
    def connections(self) -> int:
        return len(self.server.server_state.connections)


@contextmanager
def listening(app: Callable = hello, **settings: float) -> Iterator[Listening]:
    kind = protocol(**{"header_s": PATIENCE_S, **settings})
    config = uvicorn.Config(
        app, http=kind, ws="none", lifespan="off", log_config=None, timeout_keep_alive=PATIENCE_S
    )
    server = uvicorn.Server(config)
    listener = socket.create_server(("127.0.0.1", 0))
    thread = threading.Thread(target=server.run, args=([listener],), daemon=True)
    thread.start()
    house = Listening(server, listener.getsockname()[1])
    try:
        yield house
    finally:
        for line in house.lines:
            line.close()
        server.should_exit = True
        thread.join(PATIENCE_S)
        assert not thread.is_alive()


def heard(line: socket.socket) -> bytes:
    """All that comes until the other side hangs up."""
    parts = []
    try:
        while part := line.recv(2**16):
            parts.append(part)
    except ConnectionResetError:
        parts.append(b"<reset>")
    return b"".join(parts)


def hello_from(line: socket.socket) -> bool:
    said = b""
    while not said.endswith(b"hello"):
        part = line.recv(2**16)
        if not part:
            return False
        said += part
    return said.startswith(b"HTTP/1.1 200")


def code_of(said: bytes) -> tuple[int, str]:
    head, _, body = said.partition(b"\r\n\r\n")
    assert b"connection: close" in head.lower()
    return int(head[9:12]), json.loads(body)["error"]["code"]


def test_a_request_is_answered_and_the_line_is_kept():
    with listening() as house:
        line = house.line()
        for _ in range(3):
            line.sendall(GET)
            assert hello_from(line)


@pytest.mark.parametrize("turned", [None, TurnedAway(b"HTTP/1.1 429 No\r\n\r\n", 0)])
def test_a_line_that_is_over_is_freed_without_being_searched_for(turned):
    with listening(turn_away=lambda packet, headers: turned) as house:
        gc.collect()
        gc.disable()
        try:
            before = transports()  # that other tests have left
            for _ in range(3):
                line = house.line(GET)
                assert hello_from(line) if turned is None else heard(line)
                line.close()
            gone_by = time.monotonic() + FREED_S
            while (kept := len(transports() - before)) and time.monotonic() < gone_by:
                time.sleep(0.01)
        finally:
            gc.enable()
    assert not kept


def transports() -> set[asyncio.Transport]:
    return {each for each in gc.get_objects() if issubclass(type(each), asyncio.Transport)}


def test_who_connects_and_says_nothing_is_hung_up_on():
    with listening(header_s=0.1) as house:
        assert heard(house.line()) == b""


@pytest.mark.parametrize(
    "begun", [b"G", b"GET / HTTP/1.1\r\n", b"GET / HTTP/1.1\r\nHost: x\r\nX: "]
)
def test_headers_that_do_not_end_are_408(begun):
    with listening(header_s=0.1) as house:
        assert code_of(heard(house.line(begun))) == (408, "request_timeout")


def test_a_byte_now_and_then_buys_no_time():
    with listening(header_s=0.3) as house:
        line = house.line(b"GET / HTTP/1.1\r\n")
        over = threading.Event()

        def drip() -> None:
            while not over.wait(0.02):
                try:
                    line.sendall(b"X: y\r\n")
                except OSError:
                    return

        dripping = threading.Thread(target=drip, daemon=True)
        dripping.start()
        try:
            assert b"408" in heard(line)[:16]
        except AssertionError:
            # Its last bytes met a closed door, and took the reply with them.
            assert house.connections == 0
        finally:
            over.set()
            dripping.join()


def test_the_second_request_of_a_line_has_the_same_time():
    with listening(header_s=0.1) as house:
        line = house.line(GET)
        assert hello_from(line)
        line.sendall(b"GET / HT")
        assert code_of(heard(line)) == (408, "request_timeout")


def test_an_answer_may_take_longer_than_the_headers():
    inside, go_on = threading.Event(), threading.Event()

    async def slow(scope, receive, send):
        inside.set()
        await asyncio.to_thread(go_on.wait, PATIENCE_S)
        await hello(scope, receive, send)

    with listening(slow, header_s=0.05) as house:
        line = house.line(GET)
        assert inside.wait(PATIENCE_S)
        # Another line that says nothing comes and goes meanwhile.
        assert heard(house.line()) == b""
        go_on.set()
        assert hello_from(line)


def test_one_connection_more_takes_the_place_of_the_longest_silent():
    with listening(connections=3) as house:
        first, second = house.line(GET), house.line(GET)
        assert hello_from(first)
        assert hello_from(second)
        first.sendall(GET)  # and so it has been silent for less long
        assert hello_from(first)
        third = house.line(GET)
        assert hello_from(third)
        fourth = house.line(GET)
        assert hello_from(fourth)
        assert heard(second) in (b"", b"<reset>")
        for line in (first, third, fourth):
            line.sendall(GET)
            assert hello_from(line)


def test_a_crowd_that_says_nothing_keeps_nobody_out():
    with listening(connections=5) as house:
        for _ in range(50):
            house.line()
        line = house.line(GET)
        assert hello_from(line)
        assert house.connections <= 5


def test_who_is_being_answered_is_never_hung_up_on_for_a_newcomer():
    inside, go_on = threading.Semaphore(0), threading.Event()

    async def slow(scope, receive, send):
        inside.release()
        await asyncio.to_thread(go_on.wait, PATIENCE_S)
        await hello(scope, receive, send)

    with listening(slow, connections=2) as house:
        busy = [house.line(GET), house.line(GET)]
        for _ in busy:
            assert inside.acquire(timeout=PATIENCE_S)
        assert heard(house.line()) in (b"", b"<reset>")
        go_on.set()
        assert all(hello_from(line) for line in busy)


@pytest.mark.parametrize(
    "data", [b"\r\n\r\nnoise\r\n\r\n", b"\x16\x03\x01" * 9 + b"\r\n\r\n", b"GET / HTTP/1.1\r\n\r\n"]
)
def test_what_is_no_request_is_told_so_in_the_usual_shape(data):
    with listening() as house:
        assert code_of(heard(house.line(data))) == (400, "invalid_request")


def test_a_head_without_end_is_431():
    with listening() as house:
        line = house.line(b"GET / HTTP/1.1\r\nX: ")
        line.sendall(b"a" * 70_000)
        assert code_of(heard(line)) == (431, "headers_too_large")


def test_noise_within_a_body_ends_that_request_alone():
    with listening() as house:
        head = b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
        assert code_of(heard(house.line(head + b"no number\r\n"))) == (400, "invalid_request")
        line = house.line(GET)
        assert hello_from(line)


def test_noise_after_a_request_does_not_spoil_its_answer():
    with listening() as house:
        said = heard(house.line(GET + b"noise noise noise\r\n\r\n"))
        assert said.startswith(b"HTTP/1.1 200")
        assert b"hello" in said
        assert b"invalid_request" in said


def test_who_does_not_listen_is_hung_up_on(monkeypatch):
    monkeypatch.setattr(ours, "UNREAD_S", 0.1)
    ended = threading.Event()

    async def endless(scope, receive, send):
        await send({"type": "http.response.start", "status": 200, "headers": []})
        for _ in range(1_000):  # more than all buffers between here and there
            await send({"type": "http.response.body", "body": b"x" * 2**16, "more_body": True})
        ended.set()

    with listening(endless) as house:
        line = house.line(GET)
        assert line.recv(1)
        assert ended.wait(PATIENCE_S)


def test_two_servers_do_not_count_each_others_connections():
    assert protocol(header_s=1) is not protocol(header_s=1)
    with listening(connections=1) as one, listening(connections=1) as other:
        lines = [one.line(GET), other.line(GET)]
        assert all(hello_from(line) for line in lines)
        for line in lines:
            line.sendall(GET)
            assert hello_from(line)


NO = b"HTTP/1.1 429 Too Many Requests\r\nconnection: close\r\ncontent-length: 2\r\n\r\nno"


def no_to_posts(unheard: int):
    """Turn away whatever posts, with so many bytes still to come after its first packet."""
    return lambda packet, _: TurnedAway(NO, unheard) if packet.startswith(b"POST") else None


def test_who_is_turned_away_hears_it_and_the_line_ends():
    with listening(turn_away=no_to_posts(0)) as house:
        kept = house.line(GET)
        assert hello_from(kept)
        assert heard(house.line(b"POST / HTTP/1.1\r\n")) == NO
        kept.sendall(b"POST / HTTP/1.1\r\n")  # a later request on a line
        assert heard(kept) == NO
        assert hello_from(house.line(GET))


def test_who_is_turned_away_may_send_it_all_first():
    length, first = 8 * 2**20, b"POST / HTTP/1.1\r\n"
    with listening(turn_away=no_to_posts(length)) as house:
        line = house.line(first)
        line.sendall(b"x" * length)  # more than all buffers on the way
        assert heard(line) == NO


def test_who_is_turned_away_and_does_not_finish_is_hung_up_on(monkeypatch):
    monkeypatch.setattr(ours, "LINGER_S", 0.1)
    with listening(turn_away=no_to_posts(1000)) as house:
        assert heard(house.line(b"POST / HTTP/1.1\r\n")) == NO


def test_what_follows_a_beginning_is_not_taken_for_one():
    with listening(turn_away=no_to_posts(0)) as house:
        line = house.line(b"GET / HTTP/1.1\r\nHost: x\r\nX-Way: ")
        time.sleep(0.1)  # so that it is read by itself
        line.sendall(b"POST / HTTP/1.1\r\n\r\n")
        assert hello_from(line)
