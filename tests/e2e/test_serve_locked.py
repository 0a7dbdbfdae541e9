"""A live server with keys: no route but liveness says anything to somebody without one."""

from __future__ import annotations

import base64
import json
import re
import signal
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

pytest.importorskip("fastapi", reason="the server is an extra: pip install kosmos2[serve]")

from kosmos2.serve.app import ROUTES
from kosmos2.serve.keys import line_for, new_key
from serving import Server, serving

PATIENCE_S = 60.0  # failures only
KEY, BUSY = new_key(), new_key()
LIVE = "/health/live"


def doors() -> list[tuple[str, str]]:
    """Method and path of everything that there is, each place in a path filled in."""
    found = {("GET", "/openapi.json"), ("GET", "/docs"), ("GET", "/redoc"), ("GET", "/nothing")}
    for room in ROUTES:
        for route in room.router.routes:
            path = re.sub(r"\{[^}]*\}", "x", route.path)
            found |= {(method, path) for method in route.methods}
    return sorted(one for one in found if one[1] != LIVE)


# What may be added to a request without a key; {} is the path. None of it opens anything.
PROXY = "X-Original-URL: /health/live\r\nX-Rewrite-URL: /health/live"
TRUSTED = "X-Forwarded-For: 127.0.0.1\r\nX-Real-IP: 127.0.0.1\r\nForwarded: for=127.0.0.1"
ONE_RIGHT = f"Authorization: Bearer x\r\nAuthorization: Bearer {KEY}"
TRICKS = {
    "nothing": ("{}", ""),
    "a host with a path": ("{}", "Host: 127.0.0.1/health/live?"),
    "a host of letters": ("{}", "Host: a/?"),
    "a doubled slash": ("/{}", ""),
    "a way round": ("/health/live/..{}", ""),
    "a coded way round": ("/health/live/%2e%2e{}", ""),
    "a coded letter": ("%2f", ""),
    "a parameter": ("{};/health/live", ""),
    "a question": ("{}?/health/live", ""),
    "another host's path": ("http://127.0.0.1{}", ""),
    "another path for a proxy": ("{}", PROXY),
    "another method": ("{}", "X-HTTP-Method-Override: HEAD\r\nX-Method-Override: HEAD"),
    "somebody trusted": ("{}", TRUSTED),
    "a wrong key": ("{}", f"Authorization: Bearer {KEY[:-1]}"),
    "an empty key": ("{}", "Authorization: Bearer "),
    "a wrong password": ("{}", "Authorization: Basic " + base64.b64encode(b"a:b").decode()),
    "two keys, one of them right": ("{}", ONE_RIGHT),
    "the right key twice": ("{}", f"Authorization: Bearer {KEY}\r\nAuthorization: Bearer {KEY}"),
    "the right key elsewhere": ("{}?api_key=" + KEY, f"Cookie: key={KEY}\r\nX-Api-Key: {KEY}"),
    "the digest": ("{}", "Authorization: Bearer " + line_for("x", KEY).partition("sha256:")[2]),
}  # fmt: skip


@pytest.fixture(scope="module")
def file(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("keys") / "keys.txt"
    path.write_text(f"{line_for('anna', KEY)}\n{line_for('busy', BUSY)} rate=2/min\n")
    return path


@pytest.fixture(scope="module")
def server(file) -> Iterator[Server]:
    with serving("--api-key-file", str(file)) as started:
        yield started


def ask(server: Server, method: str, path: str, headers: str = "") -> tuple[int, bytes]:
    """With bytes of our own: a library would tidy them up."""
    url = httpx.URL(server.url)
    host = "" if headers.startswith("Host:") else f"Host: {url.host}\r\n"
    more = f"{headers}\r\n" if headers else ""
    with socket.create_connection((url.host, url.port or 80), PATIENCE_S) as line:
        head = f"{method} {path} HTTP/1.1\r\n{host}{more}Connection: close\r\n\r\n"
        line.sendall(head.encode("latin-1"))
        parts = []
        while part := line.recv(2**16):
            parts.append(part)
    head, _, body = b"".join(parts).partition(b"\r\n\r\n")
    return int(head[9:12]), body


@pytest.mark.parametrize("trick", TRICKS)
def test_no_route_is_open_under_any_trick(server, trick):
    target, headers = TRICKS[trick]
    # A name that is not this machine's is turned away before the key is looked at.
    right = 421 if headers.startswith("Host:") else 401
    for method, path in doors():
        asked = target.replace("{}", path) if "{}" in target else f"{target}{path[1:]}"
        status, body = ask(server, method, asked, headers)
        assert status == right, f"{method} {asked}"
        if method != "HEAD":
            code = json.loads(body)["error"]["code"]
            assert code in ("invalid_api_key", "host_not_allowed")


def test_there_are_routes_and_tricks_enough_to_mean_something():
    assert len(TRICKS) >= 12
    paths = {path for _, path in doors()}
    assert {"/", "/metrics", "/openapi.json", "/health/ready", "/v1/models"} <= paths
    assert {"/v1/chat/completions", "/v1/responses", "/v1/ground"} <= paths


def test_the_same_requests_with_the_key_are_not_401(server):
    """Else the test above would pass on a server that answers nobody."""
    for method, path in doors():
        status, _ = ask(server, method, path, f"Authorization: Bearer {KEY}")
        assert status != 401, path
        assert status < 500, path


def test_liveness_is_open_and_nothing_else_is_said_there(server):
    assert ask(server, "GET", LIVE) == (200, b'{"status":"live"}')
    assert ask(server, "GET", LIVE, "Authorization: Bearer wrong")[0] == 200
    assert ask(server, "POST", LIVE)[0] == 401


def test_a_key_opens_in_each_of_its_three_forms(server):
    basic = base64.b64encode(f"anybody:{KEY}".encode()).decode()
    for headers in (
        {"authorization": f"Bearer {KEY}"},
        {"authorization": f"Basic {basic}"},
        {"x-moondream-auth": KEY},
    ):
        assert httpx.get(f"{server.url}/v1/models", headers=headers).status_code == 200


def test_a_key_has_its_rate_and_is_told_when_to_come_back(server):
    headers = {"authorization": f"Bearer {BUSY}"}
    replies = [httpx.post(f"{server.url}/v1/caption", headers=headers, json={}) for _ in range(3)]
    assert [reply.status_code for reply in replies] == [400, 400, 429]
    assert replies[2].json()["error"]["code"] == "rate_limited"
    assert 1 <= int(replies[2].headers["retry-after"]) <= 60
    assert httpx.get(f"{server.url}/v1/models", headers=headers).status_code == 200


def test_keys_come_and_go_without_a_restart(server, file):
    before, new = file.read_text(), new_key()
    headers = {"authorization": f"Bearer {new}"}
    url = f"{server.url}/v1/models"
    assert httpx.get(url, headers=headers).status_code == 401
    file.write_text(before + line_for("late", new) + "\n")
    server.process.send_signal(signal.SIGHUP)
    assert until(lambda: httpx.get(url, headers=headers).status_code == 200)
    file.write_text("late nonsense\n")
    server.process.send_signal(signal.SIGHUP)
    assert until(lambda: "stay as they were" in "".join(server.said))
    assert httpx.get(url, headers=headers).status_code == 200
    file.write_text(before)
    server.process.send_signal(signal.SIGHUP)
    assert until(lambda: httpx.get(url, headers=headers).status_code == 401)
    assert server.process.poll() is None


def test_no_key_is_ever_logged(server):
    for headers in (f"Authorization: Bearer {KEY}", f"X-Api-Key: {KEY}"):
        ask(server, "GET", f"/v1/models?key={KEY}", headers)
    assert until(lambda: "anna" in "".join(server.said)), "who asked is not logged"
    said = "".join(server.said)
    for secret in (KEY, BUSY, base64.b64encode(f"anybody:{KEY}".encode()).decode()):
        assert secret not in said


def until(holds: Callable[[], bool]) -> bool:
    """Whether something comes true in good time."""
    late = time.monotonic() + PATIENCE_S
    while not holds():
        if time.monotonic() > late:
            return False
        time.sleep(0.01)
    return True
