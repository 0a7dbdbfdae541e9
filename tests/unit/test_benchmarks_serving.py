"""The benchmarks of the server count rightly; that they run at all is seen on a live one."""

from __future__ import annotations

import asyncio
import importlib
import io
import json
import subprocess
import sys
import time
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("uvicorn", reason="the server needs the serve extra")

from PIL import Image

ROOT = Path(__file__).resolve().parents[2]
BENCHMARKS = ROOT / "benchmarks"
URL = "http://127.0.0.1:1"


def loaded(name: str) -> Any:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(BENCHMARKS))
        return importlib.import_module(name)


client, load = loaded("serving_client"), loaded("serving_load")
cost, soak = loaded("serving_cost"), loaded("serving_soak")
stillness = loaded("stillness")

HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n"
ROLE = (
    b'data: {"choices":[{"index":0,"delta":{"role":"assistant","content":"","grounding":{}}}]}\n\n'
)
WORD = b'data: {"choices":[{"index":0,"delta":{"content":"a"}}]}\n\n'
ENTITY = b'data: {"choices":[{"index":0,"delta":{"grounding":{"entities":[{"index":0}]}}}]}\n\n'
USAGE = b'data: {"choices":[],"usage":{"prompt_tokens":70,"completion_tokens":12}}\n\n'
LATE = b'data: {"error":{"message":"no","type":"server_error","code":"deadline_exceeded"}}\n\n'
FULL = (
    b"HTTP/1.1 429 Too Many Requests\r\nretry-after: 7\r\n\r\n"
    b'{"error":{"message":"no","type":"x","param":null,"code":"overloaded"}}'
)


def exchanged(*parts: bytes, waiting: bool = False) -> Any:
    """The reply of a server that says these, one after the other."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(10)
        for part in parts:
            writer.write(part)
            await writer.drain()
            await asyncio.sleep(0.01)
        if waiting:
            await reader.read()
        writer.close()

    async def ask() -> Any:
        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        reply = await client.send(url, b"anything", leave_after_s=0.2 if waiting else None)
        server.close()
        return reply

    return asyncio.run(ask())


def test_a_stream_is_timed_at_its_first_words() -> None:
    reply = exchanged(HEAD, ROLE, WORD, USAGE)
    assert reply.answered
    assert reply.tokens == 12
    assert reply.head_s < reply.first_s < reply.whole_s


def test_a_stream_may_begin_with_an_entity_and_its_head_counts_for_nothing() -> None:
    reply = exchanged(HEAD, ROLE, ENTITY, USAGE)
    assert reply.first_s is not None
    assert exchanged(HEAD, ROLE, USAGE).first_s is None


def test_a_mark_in_two_pieces_is_seen() -> None:
    assert exchanged(HEAD + ROLE, WORD[:50], WORD[50:], USAGE).first_s is not None


def test_a_refusal_has_its_code_also_at_the_end_of_a_stream() -> None:
    refused = exchanged(FULL)
    assert (refused.status, refused.code, refused.retry_after_s) == (429, "overloaded", 7)
    assert not refused.answered
    late = exchanged(HEAD, ROLE, WORD, LATE)
    assert (late.status, late.code) == (200, "deadline_exceeded")
    assert not late.answered


def test_who_leaves_has_no_answer_and_nobody_there_is_no_error() -> None:
    assert not exchanged(HEAD, WORD, waiting=True).answered
    assert asyncio.run(client.send(URL, b"anything")).status == 0


def test_every_request_is_answered_refused_or_lost() -> None:
    replies = [exchanged(HEAD, ROLE, WORD, USAGE), exchanged(FULL), exchanged(HEAD, ROLE, LATE)]
    replies.append(client.Reply(0, 0.0, None, 0.0, 0, None, None))
    told = load.told(replies, 2.0)
    assert [told[name] for name in ("sent", "answered", "refused", "broken")] == [4, 1, 1, 2]
    assert told["requests_a_second"] == 0.5
    assert told["tokens_a_second"] == 6.0
    assert told["refusals"] == {"429 overloaded": 1}
    assert load.broken(told) == [
        "every accepted request is finished",
        "sent = answered + refused",
    ]


def test_a_slow_refusal_and_one_of_another_kind_are_noticed() -> None:
    told = load.told([client.Reply(503, 0.2, None, 0.2, 0, "draining", 1)], 1.0)
    assert len(load.broken(told)) == 2


def test_percentiles_are_those_of_what_is_there() -> None:
    shares = client.shares([*(at / 1000 for at in range(101)), None])
    assert shares == {"p50": 50.0, "p95": 95.0, "p99": 99.0, "max": 100.0}
    assert client.shares([None])["p50"] is None


def body_of(request: bytes) -> Any:
    head, _, body = request.partition(b"\r\n\r\n")
    assert f"content-length: {len(body)}".encode() in head.lower()
    return json.loads(body)


def test_the_mix_asks_everything_about_every_picture() -> None:
    many = len(client.MIX) * len(client.pictures())
    bodies = [body_of(request) for request in islice(client.mixed(URL), 2 * many)]
    assert bodies[:many] == bodies[many:]
    assert len({json.dumps(body) for body in bodies}) == many


def test_the_mix_is_one_that_the_server_takes() -> None:
    from kosmos2.serve.wire.chat import ChatRequest

    many = len(client.MIX) * len(client.pictures())
    for request in islice(client.mixed(URL), many):
        ChatRequest.model_validate(body_of(request))


def test_a_fresh_picture_has_other_bytes_and_the_same_pixels() -> None:
    one = client.pictures()[0]
    others = [client.another(one, number) for number in range(300)]
    assert len(set(others)) == 300
    seen = [Image.open(io.BytesIO(data)).tobytes() for data in (one, others[255])]
    assert seen[0] == seen[1]


def test_a_slope_is_that_of_the_line() -> None:
    looks = [{"at_s": float(at), "memory_mib": 100 + at / 30} for at in range(0, 100, 5)]
    assert soak.slope(looks, "memory_mib") == pytest.approx(2.0)
    assert soak.slope(looks[:1], "memory_mib") == 0.0


CALM = {
    **{"memory_mib": 500.0, "files": 20, "threads": 9, "tasks": 5, "decoders": 2},
    **{"running": 0, "waiting": 0, "engine": 0},
}


@pytest.mark.parametrize(
    ("change", "faults"),
    [
        (lambda found: None, 0),
        (lambda found: found.update(memory_mib_a_minute=3.0), 1),
        (lambda found: found["after"].update(files=21), 1),
        (lambda found: found["after"].update(decoders=3, waiting=1), 2),
        (lambda found: found["ends"].update({"500 internal": 1}), 1),
    ],
)
def test_a_soak_says_what_stayed(change: Callable[[dict[str, Any]], None], faults: int) -> None:
    found: dict[str, Any] = {
        "before": dict(CALM),
        "after": dict(CALM),
        "memory_mib_a_minute": 0.01,
        "ends": {"answered": 10, "left": 1},
    }
    change(found)
    assert len(soak.broken(found)) == faults


def test_the_cost_is_judged_by_both_promises() -> None:
    found = {
        "ratio": 0.95,
        "first_token": {"known": {"later_ms": 4.0}, "new": {"later_ms": 14.0}},
    }
    assert cost.broken(found) == []
    found["ratio"] = 0.89
    found["first_token"]["new"]["later_ms"] = 16.0
    assert len(cost.broken(found)) == 2


@pytest.fixture
def results(tmp_path: Path) -> Path:
    return tmp_path / "out.json"


@pytest.mark.parametrize(
    ("script", "words", "keys"),
    [
        ("serving_load", ["--shares", "0.5", "--seconds", "2", "--capacity-seconds", "1"], "rates"),
        ("serving_cost", ["--rounds", "1", "--requests", "8", "--firsts", "2"], "ratio"),
        ("serving_conformance", ["--examples", "1", "--only", "detect"], "requests"),
    ],
)
def test_each_command_runs_and_writes_what_it_prints(
    script: str, words: list[str], keys: str, results: Path
) -> None:
    """Whether it is fast enough is not for a test to say: the exit code may tell of that."""
    if script == "serving_conformance":
        pytest.importorskip("schemathesis", reason="it makes requests from our description")
    run = subprocess.run(
        [sys.executable, str(BENCHMARKS / f"{script}.py"), *words, "--out", str(results)],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert run.returncode in (0, 1), run.stderr
    found = json.loads(run.stdout)
    assert found == json.loads(results.read_text())
    assert found[keys]


def test_a_soak_of_seconds_runs(results: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if not Path("/proc/self/task").is_dir():
        pytest.skip("a soak looks at /proc, which Linux has")
    monkeypatch.setattr(soak, "SETTLE_S", 0.5)
    monkeypatch.setattr(soak, "LOOK_S", 0.5)
    times = ["--minutes", "0.05", "--warm-requests", "20"]
    monkeypatch.setattr(sys, "argv", ["soak", *times, "--out", str(results)])
    soak.main()
    found = json.loads(results.read_text())
    assert found["requests"] > 0
    assert found["exit_code"] == 0
    assert found["every"]


def test_the_machine_is_watched_meanwhile_or_nothing_is_said_of_it() -> None:
    with stillness.watched() as machine:
        time.sleep(0.05)
    found = machine.longest_ms
    assert found is None or 0 <= found < 60_000
    assert (found is None) == (not may_be_first())


def may_be_first() -> bool:
    """Whether the real-time class is open to us."""
    words = "import os; os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))"
    return not subprocess.run([sys.executable, "-c", words], stderr=subprocess.DEVNULL).returncode
