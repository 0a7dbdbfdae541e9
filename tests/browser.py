"""A real browser for the tests of the page, and a server without a model that says what it is told.

The browser is Debian's chromium, driven by playwright; whoever lacks one of them is told so.
"""

from __future__ import annotations

import json
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pytest

from kosmos2.serve.routes import page as files

if TYPE_CHECKING:
    from playwright.sync_api import Browser, BrowserContext, Page

ARGUMENTS = (
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
)  # fmt: skip
PATIENCE_MS = 30_000  # until a test gives up; nothing is measured by it


@contextmanager
def browser() -> Iterator[Browser]:
    """The browser; skips the tests where there is none."""
    driver = pytest.importorskip("playwright.sync_api", reason="playwright drives the browser")
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    if chromium is None:
        pytest.skip("no chromium on this machine (Debian: apt-get install chromium)")
    with driver.sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=chromium, args=list(ARGUMENTS))
        try:
            yield opened
        finally:
            opened.close()


@dataclass
class Visit:
    """One visit to the page, and what it did that nobody sees."""

    page: Page
    home: str
    strangers: list[str] = field(default_factory=list)  # requests to other hosts
    complaints: list[str] = field(default_factory=list)  # of the browser: errors, breaches of CSP

    def open(self, fragment: str = "") -> Page:
        """Go to the page and wait until it has its picture, or says why it has none."""
        self.page.goto(f"{self.home}/{fragment}")
        self.page.locator("body[data-ready]").wait_for()
        return self.page

    def check(self, *, expected: tuple[str, ...] = ()) -> None:
        """Nothing was asked of another host, and the browser did not complain."""
        assert self.strangers == []
        rest = [words for words in self.complaints if not any(one in words for one in expected)]
        assert rest == []


@contextmanager
def visit(
    opened: Browser, home: str, *, expected: tuple[str, ...] = (), **context: Any
) -> Iterator[Visit]:
    """A fresh visitor, who keeps nothing of earlier ones; checked at the end.

    Args:
        opened: The browser.
        home: The address of the server.
        expected: Parts of complaints that are the point of the test.
        context: What the visitor is like: `viewport`, `color_scheme`, ...
    """
    settings = {"viewport": {"width": 1280, "height": 860}, **context}
    visitor: BrowserContext = opened.new_context(**settings)
    visitor.set_default_timeout(PATIENCE_MS)
    page = visitor.new_page()
    one = Visit(page, home)
    host = urlsplit(home).netloc

    def requested(request: Any) -> None:
        address = urlsplit(request.url)
        if address.scheme not in ("data", "blob") and address.netloc != host:
            one.strangers.append(request.url)

    def complained(message: Any) -> None:
        if message.type in ("error", "warning"):
            one.complaints.append(message.text)

    page.on("request", requested)
    page.on("console", complained)
    page.on("pageerror", lambda error: one.complaints.append(str(error)))
    try:
        yield one
        one.check(expected=expected)
    finally:
        visitor.close()


# A server that says what it is told


@dataclass(frozen=True)
class Said:
    """A reply: a status with an error's code, or chunks of an answer."""

    chunks: tuple[dict[str, Any], ...] = ()
    status: int = 200
    code: str = ""
    message: str = ""
    retry_after_s: int | None = None
    held_before: int | None = None  # the chunk that waits until the test lets it go
    broken: bool = False  # the connection ends before the answer does


def entity(
    index: int, phrase: str, start: int, *boxes: tuple[list[float], float]
) -> dict[str, Any]:
    """One entity as a stream tells it."""
    return {
        "index": index,
        "phrase": phrase,
        "start": start,
        "end": start + len(phrase),
        "boxes": [{"box": box, "score": score, "cells": _cells(box)} for box, score in boxes],
    }


def _cells(box: list[float]) -> list[int]:
    x1, y1, x2, y2 = (int(edge * 32) for edge in box)
    return [y1 * 32 + x1, (y2 - 1) * 32 + x2 - 1]


_MAN = entity(0, "a snowman", 12, ([0.125, 0.0625, 0.4375, 0.46875], 0.83))
_FIRE = entity(1, "a fire", 37, ([0.4375, 0.0, 0.71875, 0.34375], 0.41))
SNOWMAN = Said(
    (
        {"role": "assistant", "content": ""},
        {"content": "An image of"},
        {"content": " a snowman"},
        {"grounding": {"entities": [_MAN]}},
        {"content": " to the left of"},
        {"content": " a fire"},
        {"grounding": {"entities": [_FIRE]}},
        {"content": "."},
    ),
)


class Fake:
    """Serves the page's own files and canned answers, one after the other; the last one stays."""

    def __init__(self, *answers: Said) -> None:
        self.answers = list(answers) or [SNOWMAN]
        self.asked: list[dict[str, Any]] = []  # bodies that came
        self.go_on = threading.Event()
        self.left = threading.Event()  # a client went away in the middle of an answer
        fake = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                fake.get(self)

            def do_POST(self) -> None:
                size = int(self.headers["Content-Length"])
                fake.asked.append(json.loads(self.rfile.read(size)))
                fake.post(self)

            def log_message(self, *_: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> Fake:
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        """As if somebody had ended it."""
        self.go_on.set()
        self._server.shutdown()
        self._server.server_close()

    def get(self, handler: Any) -> None:
        """The page's files, and which model there is."""
        path = handler.path.partition("?")[0]
        if path == "/v1/models":
            _whole(handler, 200, {"object": "list", "data": [{"id": "kosmos-2-demo"}]})
            return
        name = path.removeprefix("/page/")
        file = files.INDEX if path == "/" else files.TABLE.get(name)
        if file is None:
            _whole(handler, 404, {"error": {"code": "not_found", "message": "nothing here"}})
            return
        handler.send_response(200)
        content = file.read()
        handler.send_header("Content-Type", file.kind)
        handler.send_header("Content-Security-Policy", files.POLICY)
        handler.send_header("Content-Length", str(len(content)))
        handler.end_headers()
        handler.wfile.write(content)

    def post(self, handler: Any) -> None:
        """The next answer."""
        said = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if said.status != 200:
            error = {"message": said.message, "type": "x", "param": None, "code": said.code}
            headers = {} if said.retry_after_s is None else {"Retry-After": str(said.retry_after_s)}
            _whole(handler, said.status, {"error": error}, headers)
            return
        handler.send_response(200)
        handler.send_header("Content-Type", "text/event-stream")
        handler.end_headers()
        try:
            for at, delta in enumerate(said.chunks):
                if at == said.held_before:
                    self._hold(handler)
                _event(handler, delta if "error" in delta else _chunk(delta))
            if not said.broken:
                _event(handler, _chunk({}, "stop"))
                _event(handler, "[DONE]")
        except OSError:
            self.left.set()

    def _hold(self, handler: Any) -> None:
        """Wait for the test; comments in the stream find out whether anybody still listens."""
        while not self.go_on.wait(0.05):
            handler.wfile.write(b": still here\n\n")


def _chunk(delta: dict[str, Any], finish: str | None = None) -> dict[str, Any]:
    choice = {"index": 0, "delta": delta, "finish_reason": finish, "logprobs": None}
    return {"object": "chat.completion.chunk", "model": "kosmos-2-demo", "choices": [choice]}


def _event(handler: Any, data: Any) -> None:
    text = (
        data if isinstance(data, str) else json.dumps({"object": "chat.completion.chunk", **data})
    )
    handler.wfile.write(f"data: {text}\n\n".encode())
    handler.wfile.flush()


def _whole(handler: Any, status: int, values: Any, headers: dict[str, str] | None = None) -> None:
    content = json.dumps(values).encode()
    handler.send_response(status)
    for name, value in {
        "Content-Type": "application/json",
        "Content-Length": str(len(content)),
        **(headers or {}),
    }.items():
        handler.send_header(name, value)
    handler.end_headers()
    handler.wfile.write(content)
