"""Every example of how to ask a server runs against one, and prints what the Python object says."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from kosmos2 import Kosmos2, dialects
from kosmos2.result import Grounded

pytest.importorskip("fastapi", reason="the server needs the serve extra")

from serving import Server, serving

FOLDER = Path(__file__).resolve().parents[2] / "examples" / "serve"
ASSETS = FOLDER.parents[1] / "src" / "kosmos2" / "assets" / "examples"

SIZE = (640, 640)  # pixels of every example


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with serving() as server:
        yield server


@pytest.fixture(scope="module")
def model() -> Kosmos2:
    return Kosmos2.load("demo")


def run(server: Server, *words: str | Path) -> str:
    """What the command prints."""
    command = str(words[0])
    if shutil.which(command) is None:
        pytest.skip(f"{command} is not installed here")
    environment = {key: value for key, value in os.environ.items() if key != "KOSMOS2_API_KEY"}
    ran = subprocess.run(
        [*map(str, words)], capture_output=True, text=True, check=False, env=environment, timeout=60
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return ran.stdout


def lines_of(answer: Grounded, between: str = ", ") -> list[str]:
    """An answer as the examples show it, with boxes in pixels or as they are."""
    return [answer.text, *places_of(answer, "px", between)]


def places_of(answer: Grounded, coords: str, between: str) -> list[str]:
    return [
        f"{entity.phrase}: {between.join(map(_short, box.scaled(coords, *SIZE)))}"
        for entity in answer.entities
        for box in entity.boxes
    ]


def _short(number: float) -> str:
    return f"{number:g}"


def plain(text: str) -> str:
    """Numbers as short as they can be, no brackets."""
    return re.sub(r"\d+\.\d+", lambda found: _short(float(found[0])), re.sub(r"[\[\]]", "", text))


def test_every_example_is_told_of() -> None:
    told = (FOLDER / "README.md").read_text()
    names = {path.name for path in FOLDER.iterdir()} - {"README.md"}
    assert names == set(re.findall(r"^\| \[([\w.]+)\]", told, re.MULTILINE))
    for name in (*dialects.COORDINATES, *dialects.DIALECTS):
        assert f"`{name}`" in told, name


def test_curl_asks_every_kind_of_question(model: Kosmos2, server: Server) -> None:
    picture = ASSETS / "snowman.jpg"
    printed = run(server, "sh", FOLDER / "curl.sh", server.url)
    for answer in (
        model.caption(picture),
        model.ground(picture, ["a snowman", "a zebra"]),
        model.ask(picture, "What is below the snowman?"),
        model.caption(picture, detailed=True),
    ):
        assert f'"{answer.text}"' in printed
    assert printed.count("event: entity") == len(model.caption(picture, detailed=True).entities)
    assert "event: done" in printed


def test_curl_says_what_was_refused(server: Server, tmp_path: Path) -> None:
    (tmp_path / "words.jpg").write_text("no picture")
    ran = subprocess.run(
        ["sh", FOLDER / "curl.sh", server.url, tmp_path / "words.jpg"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert ran.returncode != 0
    assert '"code":"image_format_unsupported"' in ran.stdout.replace(" ", "")


def test_openais_client_prints_what_the_python_object_says(model: Kosmos2, server: Server) -> None:
    pytest.importorskip("openai", reason="the example needs OpenAI's client")
    picture = ASSETS / "drum.jpg"
    printed = plain(run(server, sys.executable, FOLDER / "with_openai.py", server.url, picture))
    for line in lines_of(model.caption(picture)):
        assert line in printed
    detailed = model.caption(picture, detailed=True)
    assert detailed.text in printed
    for place in places_of(detailed, "norm01", ", "):
        assert place in printed
    named = model.ground(picture, ["a snowman", "a drum"])
    for entity in named.entities:
        assert f"{entity.phrase}: {len(entity.boxes)} found" in printed
    question = model.ask(picture, "What is [this]?", [0.1, 0.5, 0.5, 0.9])
    assert f"That is {question.text}" in printed
    assert "refused: box_invalid, grounding.boxes" in printed


@pytest.mark.parametrize("name", ["snowman", "hamburger"])
def test_javascript_prints_what_the_python_object_says(
    model: Kosmos2, server: Server, name: str
) -> None:
    picture = ASSETS / f"{name}.jpg"
    printed = plain(run(server, "node", FOLDER / "with_javascript.mjs", server.url, picture))
    for line in lines_of(model.caption(picture), ","):
        assert line in printed
    detailed = model.caption(picture, detailed=True)
    assert detailed.text in printed
    for place in places_of(detailed, "norm01", ","):
        assert place in printed
    there = model.locate(picture, "a snowman")
    assert f"a snowman: {100 * there.presence:.0f} %" in printed
    assert "image_url_not_allowed: " in printed
