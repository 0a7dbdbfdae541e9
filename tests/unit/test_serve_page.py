"""The page's files: each by its exact name and no other, with nothing in them that could run."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Iterator
from importlib import resources
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest

pytest.importorskip("fastapi", reason="the server needs the serve extra")

from fastapi import FastAPI
from starlette.testclient import TestClient

from kosmos2.serve import failures
from kosmos2.serve.routes import page

PACKAGE = Path(str(resources.files("kosmos2")))
PAGE = PACKAGE / "serve" / "page"
HTML = (PAGE / "index.html").read_text()
SCRIPTS = sorted(PAGE.glob("*.js"))
STYLES = sorted(PAGE.glob("*.css"))


@pytest.fixture(scope="module")
def client() -> Iterator[Any]:
    app = FastAPI(redirect_slashes=False)
    failures.install(app)
    app.include_router(page.router)
    with TestClient(app) as client:
        yield client


def test_the_page_is_at_the_root_under_a_strict_policy(client: Any) -> None:
    reply = client.get("/")
    assert reply.status_code == 200
    assert reply.headers["content-type"] == "text/html; charset=utf-8"
    assert reply.text == HTML
    policy = dict(row.strip().split(" ", 1) for row in page.POLICY.split(";"))
    assert reply.headers["content-security-policy"] == page.POLICY
    assert policy["default-src"] == "'none'"
    assert policy["script-src"] == policy["style-src"] == policy["connect-src"] == "'self'"
    assert "unsafe" not in page.POLICY


def test_every_file_of_the_page_is_served_and_every_served_file_exists(client: Any) -> None:
    there = {path.name for path in PAGE.iterdir() if path.is_file()} - {"index.html"}
    there |= {f"examples/{path.name}" for path in (PACKAGE / "assets/examples").iterdir()}
    assert set(page.TABLE) == there
    for name, file in page.TABLE.items():
        reply = client.get(f"/page/{name}")
        assert reply.status_code == 200, name
        assert reply.headers["content-type"] == file.kind
        assert reply.headers["x-content-type-options"] == "nosniff"
        assert reply.content == (PACKAGE / file.place).read_bytes()


@pytest.mark.parametrize(
    "path",
    [
        "/page/", "/page", "/page/index.html", "/page/../index.html", "/page/..%2f..%2fkeys.py",
        "/page/%2e%2e/%2e%2e/__init__.py", "/page/examples/", "/page/examples/../icon.svg",
        "/page/icon.svg/", "/page/ICON.SVG", "/page//icon.svg", "/page/icon.svg%00",
        "/page//etc/passwd", "/page/examples/snowman.jpg/..", "/page/main.js%20", "/favicon.ico",
    ],
)  # fmt: skip
def test_no_other_file_can_be_had(client: Any, path: str) -> None:
    """The path is given to the app as it is: a client would tidy it up first."""
    said: list[Any] = []

    async def send(message: Any) -> None:
        said.append(message)

    async def receive() -> Any:
        return {"type": "http.request", "body": b"", "more_body": False}

    plain = unquote(path)
    scope = {"type": "http", "method": "GET", "path": plain, "raw_path": path.encode(),
             "query_string": b"", "headers": [], "app": client.app}  # fmt: skip
    asyncio.run(client.app(scope, receive, send))
    assert said[0]["status"] == 404
    assert json.loads(said[1]["body"])["error"]["code"] == "not_found"


def test_a_file_that_the_browser_has_is_not_sent_again(client: Any) -> None:
    first = client.get("/page/main.js")
    tag = first.headers["etag"]
    for known in (tag, f"W/{tag}", f'"other", {tag}'):
        again = client.get("/page/main.js", headers={"If-None-Match": known})
        assert (again.status_code, again.content) == (304, b"")
        assert again.headers["etag"] == tag
    changed = client.get("/page/main.js", headers={"If-None-Match": '"older"'})
    assert (changed.status_code, changed.content) == (200, first.content)
    assert client.get("/page/base.css").headers["etag"] != tag


def test_its_head_can_be_asked_for_and_nothing_can_be_written(client: Any) -> None:
    assert client.head("/").status_code == 200
    assert client.head("/").content == b""
    assert client.post("/", json={}).status_code == 405
    assert client.put("/page/main.js", json={}).status_code == 405


def test_the_html_holds_no_script_no_style_and_no_handler() -> None:
    assert not re.search(r"<script(?![^>]* src=)", HTML)
    assert not re.search(r"<script[^>]*>[^<]", HTML)
    assert "<style" not in HTML
    assert not re.search(r"\s(style|on\w+)\s*=", HTML)


@pytest.mark.parametrize("path", [*SCRIPTS, *STYLES, PAGE / "index.html"], ids=lambda p: p.name)
def test_nothing_names_another_host_or_makes_code_of_words(path: Path) -> None:
    text = path.read_text().replace("http://www.w3.org/2000/svg", "")
    assert not re.search(r"(https?:)?//\w+\.", text)
    for way in ("innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(",
                "new Function", 'setAttribute("style"', "@import", " url("):  # fmt: skip
        assert way not in text


def test_every_part_that_the_page_asks_for_is_served() -> None:
    asked = set(re.findall(r'(?:href|src)="page/([^"]+)"', HTML))
    for script in SCRIPTS:
        asked |= set(re.findall(r'from "\./([^"]+)"', script.read_text()))
    assert asked <= set(page.TABLE)
    assert {path.name for path in (*SCRIPTS, *STYLES)} <= asked


def test_every_part_that_a_script_looks_for_is_in_the_html() -> None:
    there = set(re.findall(r'\bid="([^"]+)"', HTML))
    for script in SCRIPTS:
        for name in re.findall(r'(?:by|getElementById)\("([\w-]+)"\)', script.read_text()):
            assert name in there, f"{script.name} looks for #{name}"


def test_the_examples_of_the_page_are_those_of_the_package() -> None:
    named = re.findall(r'name: "(\w+)"', (PAGE / "examples.js").read_text())
    assert tuple(named) == page.EXAMPLES


def test_every_field_and_button_has_a_name_to_be_called_by() -> None:
    for tag in re.findall(r"<button[^>]*>.*?</button>", HTML, re.S):
        words = re.sub(r"<[^>]*>", "", tag).strip()
        assert words or "aria-label=" in tag, tag
    for tag in re.findall(r"<(?:textarea|select|input)\b[^>]*>", HTML):
        name = re.search(r'id="([^"]+)"', tag)
        labelled = name is not None and f'for="{name[1]}"' in HTML
        inside = re.search(rf"<label[^>]*>(?:(?!</label>).)*{re.escape(tag)}", HTML, re.S)
        assert labelled or inside or "aria-label=" in tag, tag
