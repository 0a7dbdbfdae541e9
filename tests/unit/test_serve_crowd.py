"""Who is turned away at once hears what the guard would have said, and nobody else is."""

from __future__ import annotations

import asyncio
import gc
import logging
from typing import Any

import pytest

pytest.importorskip("fastapi", reason="the server is an extra: pip install kosmos2[serve]")

from doorway import House, Line
from kosmos2.serve import crowd as crowds
from kosmos2.serve.crowd import Crowd, TurnedAway
from kosmos2.serve.failures import Refused
from kosmos2.serve.keys import Keys, line_for
from kosmos2.serve.settings import Limits

HEAD = {
    "Host": "127.0.0.1:8000",
    "Content-Type": "application/json",
    "Content-Length": "20",
    "X-Request-Id": "mine",
}
PATH = "/v1/chat/completions"
FULL = {"limits": Limits(running=1, queued=0)}
DATE = [(b"date", b"today")]


@pytest.fixture
def keys(tmp_path) -> Keys:
    path = tmp_path / "keys.txt"
    path.write_text(f"{line_for('anna', 'secret')} rate=2/min\n{line_for('ben', 'b')}\n")
    return Keys.read(path)


def packet(head: dict[str, str], first: str = f"POST {PATH} HTTP/1.1", body: bytes = b"") -> bytes:
    lines = [first, *(f"{name}: {value}" for name, value in head.items()), "", ""]
    return "\r\n".join(lines).encode() + body


def when_full(house: House, work: Any) -> Any:
    """Do something while somebody else is inside."""

    async def inside() -> Any:
        async with house.admission.enter():
            found = work()
            return await found if asyncio.iscoroutine(found) else found

    return asyncio.run(inside())


def turned(house: House, data: bytes) -> TurnedAway | None:
    return when_full(house, lambda: Crowd(house)(data, DATE))  # type: ignore[arg-type]


def test_the_short_way_and_the_long_way_say_the_same() -> None:
    house = House(**FULL)
    short = turned(house, packet(HEAD))
    assert short is not None
    assert short.unheard == 20

    line = Line([b"x" * 20])
    long = when_full(house, lambda: house.hear(line, "POST", PATH, HEAD))
    head, _, body = short.reply.partition(b"\r\n\r\n")
    first, *rest = head.decode().split("\r\n")
    assert first == "HTTP/1.1 429 Too Many Requests"
    assert body == long.body
    said = dict(line.split(": ", 1) for line in rest)
    assert len(said) == len(rest)
    assert said.pop("date") == "today"
    assert said == dict(long.headers)
    assert said["x-request-id"] == "mine"
    assert said["connection"] == "close"
    assert int(said["content-length"]) == len(body)


def test_a_crowd_is_counted_one_by_one() -> None:
    house = House(**FULL)
    for _ in range(3):
        assert turned(house, packet(HEAD)) is not None
    value = house.metrics.registry.get_sample_value
    assert value("kosmos2_requests_refused_total", {"reason": "overloaded"}) == 3
    labels = {"route": "none", "status": "429"}
    assert value("kosmos2_request_duration_seconds_count", labels) == 3


def test_the_log_has_one_line_for_all_who_came_in_a_second(keys, caplog, monkeypatch) -> None:
    monkeypatch.setattr(crowds, "LOGGED_S", 0.01)
    caplog.set_level(logging.INFO, "kosmos2.serve.crowd")
    house = House(keys=keys, key_file="keys.txt", **FULL)

    async def come() -> None:
        crowd = Crowd(house)  # type: ignore[arg-type]
        for keys_of_all in (["secret", "b", "b"], ["b"]):
            for key in keys_of_all:
                asked = packet(HEAD | {"Authorization": f"Bearer {key}"})
                assert crowd(asked, DATE) is not None
            await asyncio.sleep(0.1)

    when_full(house, come)
    assert [record.getMessage() for record in caplog.records] == [
        "turned away within 0.01 s, for want of room: 2 of ben, 1 of anna",
        "turned away within 0.01 s, for want of room: 1 of ben",
    ]


def test_the_crowd_is_heard_of() -> None:
    house, heard = House(**FULL), []
    house.admission._on_crowd = lambda: heard.append(1)
    assert turned(house, packet(HEAD)) is not None
    assert heard == [1]


def test_where_there_is_room_nobody_is_turned_away() -> None:
    house = House(limits=Limits(running=1, queued=1))
    assert turned(house, packet(HEAD)) is None
    value = house.metrics.registry.get_sample_value
    assert value("kosmos2_requests_refused_total", {"reason": "overloaded"}) is None


@pytest.mark.parametrize("sent", [0, 5, 20, 40])
def test_what_is_still_to_come_is_counted(sent) -> None:
    found = turned(House(**FULL), packet(HEAD, body=b"x" * sent))
    assert found is not None
    assert found.unheard == max(20 - sent, 0)


@pytest.mark.parametrize(
    "data",
    [
        packet(HEAD)[:-1],  # not whole yet
        packet(HEAD, f"GET {PATH} HTTP/1.1"),
        packet(HEAD, "POST /health/live HTTP/1.1"),
        packet(HEAD, "POST /v1/%63hat HTTP/1.1"),
        packet(HEAD, f"POST {PATH}?a=b HTTP/1.1"),
        packet(HEAD, f"POST {PATH} HTTP/1.0"),
        packet(HEAD, f"POST  {PATH} HTTP/1.1"),
        packet(HEAD | {"Transfer-Encoding": "chunked"}),
        packet(HEAD | {"Expect": "100-continue"}),
        packet(HEAD | {"Upgrade": "websocket"}),
        packet(HEAD | {"Content-Length": "+20"}),
        packet(HEAD | {"Content-Length": "20, 20"}),
        packet(HEAD | {"Content-Type": "text/plain"}),
        packet(HEAD | {"Content-Encoding": "gzip"}),
        packet(HEAD | {"Host": "other.example"}),
        packet(HEAD | {"Sec-Fetch-Site": "cross-site"}),
        packet(HEAD | {"X-Odd ": "a"}),
        packet(HEAD | {"X-Odd": "\u00e9"}),
        packet(HEAD | {"X-Odd": "a\x00b"}),
        packet(HEAD).replace(b"\r\nContent-Type", b"\r\n Content-Type"),
        packet(HEAD).replace(b"\r\nContent-Type", b"\nContent-Type"),
        b"\x16\x03\x01" * 9 + b"\r\n\r\n",
    ],
)
def test_whatever_is_odd_takes_the_long_way(data) -> None:
    assert turned(House(**FULL), data) is None


def test_two_lengths_take_the_long_way() -> None:
    data = packet(HEAD).replace(b"\r\nHost", b"\r\nContent-Length: 5\r\nHost")
    assert turned(House(**FULL), data) is None


def test_only_who_has_a_key_hears_that_there_is_a_crowd(keys) -> None:
    house = House(keys=keys, key_file="keys.txt", **FULL)
    assert turned(house, packet(HEAD)) is None
    assert turned(house, packet(HEAD | {"Authorization": "Bearer wrong"})) is None
    assert turned(house, packet(HEAD | {"Authorization": "Bearer b"})) is not None
    assert house.rates.running("ben") == 0


def test_who_is_turned_away_has_asked_all_the_same(keys) -> None:
    house = House(keys=keys, key_file="keys.txt", **FULL)
    asked = packet(HEAD | {"Authorization": "Bearer secret"})
    assert [turned(house, asked) is not None for _ in range(3)] == [True, True, False]
    head = HEAD | {"Authorization": "Bearer secret"}
    said = when_full(house, lambda: house.hear(Line([b"x" * 20]), "POST", PATH, head))
    assert said.code == "rate_limited"


def test_a_newcomer_who_may_come_in_has_not_asked_yet(keys) -> None:
    house = House(keys=keys, key_file="keys.txt", limits=Limits(running=2, queued=1))
    crowd = Crowd(house)  # type: ignore[arg-type]
    asked = packet(HEAD | {"Authorization": "Bearer secret"})

    def come() -> list[bool]:
        return [crowd(asked, DATE, newcomer=who) is not None for who in range(4)]

    assert when_full(house, come) == [False, False, True, True]  # two may, by the key's rate, too
    assert house.rates.running("anna") == 0


def test_a_newcomer_with_a_wrong_key_keeps_no_place(keys) -> None:
    house = House(keys=keys, key_file="keys.txt", limits=Limits(running=2, queued=0))
    crowd = Crowd(house)  # type: ignore[arg-type]

    def come() -> list[bool]:
        packets = [packet(HEAD | {"Authorization": f"Bearer {key}"}) for key in ("x", "b", "b")]
        return [crowd(each, DATE, newcomer=n) is not None for n, each in enumerate(packets)]

    assert when_full(house, come) == [False, False, True]


def test_a_server_that_drains_says_so_the_long_way() -> None:
    house = House(**FULL)

    def work() -> TurnedAway | None:
        house.admission.drain()
        return Crowd(house)(packet(HEAD), DATE)  # type: ignore[arg-type]

    assert when_full(house, work) is None


def test_a_crowd_leaves_nothing_to_be_searched_for() -> None:
    house, line = House(**FULL), Line([b"x" * 20])
    when_full(house, lambda: turned_twice(house))  # what is made once and stays
    gc.collect()
    gc.disable()
    try:
        before = refusals()  # that other tests have left
        when_full(house, lambda: turned_twice(house))
        assert when_full(house, lambda: house.hear(line, "POST", PATH, HEAD)).status == 429
        kept = [each for each in refusals() if not any(each is one for one in before)]
    finally:
        gc.enable()
    assert not kept


def refusals() -> list[Refused]:
    return [each for each in gc.get_objects() if type(each) is Refused]


def turned_twice(house: House) -> None:
    crowd = Crowd(house)  # type: ignore[arg-type]
    for _ in range(2):
        assert crowd(packet(HEAD), DATE) is not None
