"""A live server under requests that have hurt others: none of them costs more than itself."""

from __future__ import annotations

import asyncio
import importlib
import sys
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("fastapi", reason="the server is an extra: pip install kosmos2[serve]")
pytest.importorskip("httpx", reason="httpx asks the server")
if not sys.platform.startswith("linux"):
    pytest.skip("processes are looked at through /proc", allow_module_level=True)

import hostile
from hostile import addresses, documents
from serving import Server, serving

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"
CONCURRENCY = 4
KINDS = ("address", "picture", "words", "field", "broken", "whole", "body")


@pytest.fixture(scope="module")
def command() -> Iterator[Any]:
    """The benchmark that anybody can run; here it sends each item to one route."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(BENCHMARKS))
        yield importlib.import_module("serving_hostile")


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with serving() as started:
        yield started


@pytest.fixture(scope="module")
def requests() -> dict[str, list[hostile.Hostile]]:
    """All items by their kind: the first word of their names."""
    found: dict[str, list[hostile.Hostile]] = {kind: [] for kind in KINDS}
    for request in hostile.a_little():
        kind = request.name.partition(" ")[0]
        found[kind if kind in found else "body"].append(request)
    return found


@pytest.mark.parametrize("kind", KINDS)
def test_each_is_answered_rightly_and_costs_nobody_else_anything(command, server, requests, kind):
    pid = server.process.pid
    found = asyncio.run(
        command.attack(server.url, pid, requests[kind], CONCURRENCY, with_heads=kind == "body")
    )
    assert found["faults"] == []
    assert found["five_hundreds"] == 0
    assert found["golden"]["different"] == 0, "a good answer beside them changed"
    assert found["memory_mib"]["growth"] <= command.MEMORY_MIB
    assert found["outbound"] == {"canary": [], "seen": []}
    assert found["same_process"]
    assert found["requests"] >= len(requests[kind])
    assert found["liveness_ms"]["count"] > 0


def test_the_log_holds_nothing_of_what_was_asked(server):
    golden = hostile.golden()
    for words in ("a secret wish", "\x1b[31m<image>"):
        request = hostile.DOORS[0].ask("x", "http://secret.example/", words, {400}, ())
        server.client.post(
            f"{request.path}?secret=1", content=request.body, headers=request.headers
        )
    server.client.post(golden.path, content=golden.body, headers=golden.headers)
    assert server.client.get("/last").status_code == 404
    said = "".join(server.said)
    for secret in ("secret", "snowman", "base64", "169.254", "\x1b", "Traceback"):
        assert secret not in said, secret


def test_the_canary_would_be_heard(command):
    """Else silence would prove nothing."""
    import socket

    from server_process import Canary

    with Canary(addresses.PORT) as canary:
        for host in ("127.0.0.1", "127.0.0.9"):
            socket.create_connection((host, addresses.PORT), 10).close()
        line = socket.create_connection(("localhost", addresses.PORT), 10)
        assert line.recv(1) == b""
        line.close()
    assert canary.hits[:2] == ["127.0.0.1", "127.0.0.9"]


def test_a_wrong_reply_would_be_noticed(command):
    request = hostile.DOORS[0].raw("x", b"", {400}, {"invalid_json"})
    assert request.fault(400, "invalid_json") is None
    assert request.fault(400, "invalid_request")
    assert request.fault(400, None)
    assert request.fault(500, "internal")
    assert request.fault(200, None)
    for leak in ("at 0x7f00aa", "/root/x", 'File "a.py"', "KeyError", "site-packages"):
        assert command.LEAKS.search(leak)


def test_the_list_is_as_long_as_it_should_be(requests):
    assert len({request.body for request in requests["address"]}) >= 120
    assert len(requests["picture"]) >= 150
    assert len(requests["words"]) >= 80
    assert len(list(documents.broken())) + len(list(documents.whole())) >= 120
    routes = {request.path for kind in requests.values() for request in kind}
    assert routes == {door.path for door in hostile.DOORS}
    for kind in ("address", "picture", "words", "broken", "whole"):
        assert len({request.path for request in islice(requests[kind], 40)}) > 5, kind
