"""A server process from its first line to its exit code, in a crowd and under signals."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("fastapi", reason="the server's libraries are an extra")
pytest.importorskip("httpx", reason="the tests ask with httpx")

import httpx

from doors import data_url, example
from kosmos2 import Kosmos2
from serving import Server, serving

PICTURE = data_url(example(), "jpeg")
CHAT = "/v1/chat/completions"
WAIT_S = 60.0


def chat(tokens: int = 200, **more: Any) -> dict[str, Any]:
    """A caption of exactly so many tokens."""
    parts = [
        {"type": "image_url", "image_url": {"url": PICTURE}},
        {"type": "text", "text": "Describe this image in detail:"},
    ]
    messages = [{"role": "user", "content": parts}]
    return {"messages": messages, "max_tokens": tokens, "ignore_eos": True, **more}


def figures(server: Server) -> dict[str, float]:
    lines = server.client.get("/metrics").text.splitlines()
    pairs = [line.rsplit(" ", 1) for line in lines if line and not line.startswith("#")]
    return {name.removeprefix("kosmos2_"): float(value) for name, value in pairs}


def until(what: Any) -> None:
    """Wait until something is so; that it takes a minute is a failure."""
    end = time.monotonic() + WAIT_S
    while not what():
        assert time.monotonic() < end, "it never came about"
        time.sleep(0.02)


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with serving() as server:
        yield server


def test_the_answer_is_that_of_the_object(server: Server) -> None:
    body = chat()
    body.pop("ignore_eos")
    message = server.client.post(CHAT, json=body).json()["choices"][0]["message"]
    answer = Kosmos2.load().caption(example(), detailed=True, max_new_tokens=200)
    assert message["content"].strip() == answer.text.strip()
    found = [entity["phrase"] for entity in message["grounding"]["entities"]]
    assert found == [entity.phrase for entity in answer.entities]


def test_what_the_server_is_made_of_stays_out_of_its_replies(server: Server) -> None:
    headers = server.client.get("/health/live").headers
    assert "server" not in headers
    assert headers["cache-control"] == "no-store"


@pytest.mark.parametrize("stream", [False, True])
def test_when_the_client_goes_its_slot_is_free(server: Server, stream: bool) -> None:
    before = figures(server)["requests_cancelled_total"]
    line = HTTPConnection(server.url.removeprefix("http://"), timeout=WAIT_S)
    body = json.dumps(chat(400, n=4, stream=stream))
    line.request("POST", CHAT, body, {"Content-Type": "application/json"})
    until(lambda: figures(server)["engine_running"] == 4)
    line.close()
    until(lambda: figures(server)["requests_cancelled_total"] == before + 1)
    until(lambda: figures(server)["engine_running"] == figures(server)["requests_running"] == 0)


def test_in_a_crowd_everybody_is_answered_or_told_to_come_again() -> None:
    """Ten times as many as there is room for, all at once."""
    with serving("--running", "2", "--queued", "6") as server:

        async def crowd() -> list[Any]:
            limits = httpx.Limits(max_connections=None)
            async with httpx.AsyncClient(
                base_url=server.url, timeout=WAIT_S, limits=limits
            ) as client:
                asks = (client.post(CHAT, json=chat(30)) for _ in range(80))
                return await asyncio.gather(*asks)

        server.client.post(CHAT, json=chat(2))
        replies = asyncio.run(crowd())
        count = Counter(reply.status_code for reply in replies)
        assert set(count) == {200, 429}
        assert count[200] >= 8
        for reply in replies:
            if reply.status_code == 429:
                assert reply.json()["error"]["code"] == "overloaded"
                assert 1 <= int(reply.headers["retry-after"]) <= 60
            else:
                assert reply.json()["usage"]["completion_tokens"] == 30
        seen = figures(server)
        assert seen['requests_refused_total{reason="overloaded"}'] == count[429]
        durations = f'request_duration_seconds_count{{route="{CHAT}",status="200"}}'
        assert seen[durations] == count[200] + 1
        assert seen["requests_running"] == seen["requests_waiting"] == 0


def test_told_to_stop_it_finishes_eight_streams_and_takes_nothing_new() -> None:
    with serving() as server, ThreadPoolExecutor(8) as pool:
        begun = threading.Barrier(9)

        def listen() -> list[str]:
            with (
                httpx.Client(base_url=server.url, timeout=WAIT_S) as client,
                client.stream("POST", CHAT, json=chat(200, stream=True)) as reply,
            ):
                if reply.status_code != 200:
                    begun.abort()  # nobody need wait for this one
                    raise AssertionError(reply.read())
                lines = reply.iter_lines()
                first = [next(lines), next(lines)]
                begun.wait(WAIT_S)
                return first + list(lines)

        listening = [pool.submit(listen) for _ in range(8)]
        with suppress(threading.BrokenBarrierError):  # a listener says why
            begun.wait(WAIT_S)
        children = server.children()
        server.process.send_signal(signal.SIGTERM)
        until(lambda: server.client.get("/health/ready").status_code == 503)
        late = server.client.post(CHAT, json=chat(2))
        assert late.status_code == 503
        assert late.json()["error"]["code"] == "draining"
        for one in listening:
            lines = [line for line in one.result(WAIT_S) if line]
            assert lines[-1] == "data: [DONE]"
            assert '"finish_reason":"length"' in lines[-2] + lines[-3]
        assert server.wait() == 0
        assert children, "pictures are decoded in processes of their own"
        assert not [pid for pid in children if is_running(pid)]


def test_told_twice_it_stops_at_once() -> None:
    with serving("--drain", "50") as server:
        with server.client.stream("POST", CHAT, json=chat(400, n=8, stream=True)) as reply:
            next(reply.iter_lines())
            children = server.children()
            server.process.send_signal(signal.SIGTERM)
            until(lambda: any("told to stop" in line for line in server.said))
            server.process.send_signal(signal.SIGTERM)
            assert server.wait() == 75
        until(lambda: not [pid for pid in children if is_running(pid)])


def test_what_does_not_finish_in_time_is_cut_off() -> None:
    with serving("--drain", "0") as server:
        with server.client.stream("POST", CHAT, json=chat(400, n=8, stream=True)) as reply:
            lines = reply.iter_lines()
            next(lines)
            server.process.send_signal(signal.SIGTERM)
            rest: list[str] = []
            with suppress(httpx.HTTPError):
                rest.extend(lines)
            assert "data: [DONE]" not in rest
        assert server.wait() == 75


DIES = """
import sys, threading
from kosmos2.engine import Engine
from kosmos2.cli import main

plain = Engine.step
def step(self):
    if self.statistics().tokens > 20:
        self._fail = None  # what ends the requests of a failed step is broken, too
        raise SystemError("on purpose")
    return plain(self)
Engine.step = step
sys.exit(main(sys.argv[1:]))
"""


def test_when_the_engine_dies_everybody_is_told_and_the_process_ends(tmp_path: Path) -> None:
    script = tmp_path / "dies.py"
    script.write_text(DIES)
    process = subprocess.Popen(
        [sys.executable, str(script), "serve", "--port", "0", "--no-auth"],
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        server = Server(process)
        reply = server.client.post(CHAT, json=chat(200))
        assert reply.status_code == 503
        assert reply.json()["error"]["code"] == "engine_dead"
        assert server.client.get("/health/live").status_code == 503
        assert server.wait() == 70
    finally:
        process.kill()
        process.wait()


def test_a_key_from_the_command_line_opens_the_door(tmp_path: Path) -> None:
    made = kosmos2("keys", "new", "anna", "--rate", "600")
    assert made.returncode == 0
    key = re.search(r"k2-\S+", made.stderr)[0]
    assert key not in made.stdout
    keys = tmp_path / "keys.txt"
    keys.write_text(made.stdout)
    with serving("--api-key-file", str(keys)) as server:
        assert server.client.get("/v1/models").status_code == 401
        reply = server.client.get("/v1/models", headers={"Authorization": f"Bearer {key}"})
        assert reply.status_code == 200
        until(lambda: any(line.endswith(" anna\n") for line in server.said))
        assert not [line for line in server.said if key in line]


def test_the_demo_opens_a_page_on_this_machine() -> None:
    with serving("--no-open", command="demo") as server:
        assert server.url.startswith("http://127.0.0.1:")
        page = server.client.get("/")
        assert page.headers["content-type"].startswith("text/html")
        assert server.stop(signal.SIGINT) == 0


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        (["serve"], 64, "say who may ask"),
        (["serve", "--no-auth", "--host", "0.0.0.0"], 64, "there are no keys"),
        (["serve", "--no-auth", "--api-key-file", "k"], 64, "not allowed with"),
        (["serve", "--api-key-file", "/nowhere/keys"], 64, "cannot be read"),
        (["serve", "--no-auth", "--port", "70000"], 64, "port is 70000"),
        (["serve", "--no-auth", "--running", "0"], 64, "limits.running is 0"),
        (["serve", "--no-auth", "--model", "/nowhere"], 65, "/nowhere"),
        (["keys", "new", "anna smith"], 64, "no name for a key"),
    ],
)
def test_what_cannot_be_is_said_in_one_line(words: list[str], code: int, says: str) -> None:
    ran = kosmos2(*words)
    assert ran.returncode == code
    assert says in ran.stderr
    assert "Traceback" not in ran.stderr


def test_a_port_that_is_taken_is_said_in_one_line(server: Server) -> None:
    port = server.url.rpartition(":")[2]
    ran = kosmos2("serve", "--no-auth", "--port", port)
    assert ran.returncode == 64
    assert f"port {port}" in ran.stderr


def kosmos2(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "kosmos2", *words],
        capture_output=True, text=True, check=False, timeout=WAIT_S,
    )  # fmt: skip


def is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True
