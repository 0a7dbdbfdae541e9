"""A terminal shows the same words as a file, and the phrases in the colours of their boxes."""

from __future__ import annotations

import io
import json
import os
import re
from contextlib import redirect_stdout

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from kosmos2 import Box, Entity, Grounded, Problem, Text
from kosmos2.cli import look, main, output
from kosmos2.cli.progress import Progress
from kosmos2.palette import paint
from kosmos2.result import ImageSize

BOX = Box(0.25, 0.5, 0.75, 1.0, 0.876)
ANSWER = Grounded(
    text="a dog and two cats",
    entities=(Entity("a dog", 0, 5, (BOX,)), Entity("two cats", 10, 18, (BOX, BOX))),
    image=ImageSize(200, 100),
)


class Terminal(io.StringIO):
    """Somebody is looking."""

    def isatty(self) -> bool:
        return True


def seen(written: str) -> dict[tuple[int, int], tuple[str, str]]:
    """What a terminal of endless width shows: letter and colour of each place."""
    shown: dict[tuple[int, int], tuple[str, str]] = {}
    line = column = 0
    colour = ""
    for move, kind, letter in re.findall(r"\x1b\[([\d;]*)([ACKm])|([\s\S])", written):
        if letter == "\n":
            line, column = line + 1, 0
        elif letter == "\r":
            column = 0
        elif letter:
            shown[line, column] = (letter, colour)
            column += 1
        elif kind == "A":
            line -= int(move)
        elif kind == "C":
            column += int(move)
        elif kind == "m":
            colour = "" if move == "0" else move
    return shown


def coloured(shown: dict[tuple[int, int], tuple[str, str]]) -> list[str]:
    """The runs of letters that share a colour, in reading order."""
    runs: list[tuple[str, str]] = []
    for _, (letter, colour) in sorted(shown.items()):
        if runs and runs[-1][1] == colour:
            runs[-1] = (runs[-1][0] + letter, colour)
        else:
            runs.append((letter, colour))
    return [letters for letters, colour in runs if colour]


@pytest.fixture
def watched(monkeypatch):
    """Run a command on a terminal with colours; gives what is written there."""
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm-256color")

    def watched(*words: str) -> str:
        with redirect_stdout(Terminal()) as terminal:
            assert main(words) == 0
        return terminal.getvalue()

    return watched


@pytest.fixture
def picture(tmp_path):
    path = tmp_path / "picture.png"
    Image.new("RGB", (40, 40), "teal").save(path)
    return str(path)


def test_phrases_are_on_the_colours_of_their_boxes():
    text = output.sentence(ANSWER, colours=True)
    assert text == f"{paint('a dog', 0)} and {paint('two cats', 1)}"
    assert output.sentence(ANSWER, colours=False) == ANSWER.text


def test_the_table_is_aligned():
    lines = output.table(ANSWER, "px", colours=False)
    assert lines == [
        "             x1   y1   x2   y2  score",
        "  a dog      50   50  150  100  0.88",
        "  two cats   50   50  150  100  0.88",
        "             50   50  150  100  0.88",
    ]


def test_wide_letters_do_not_move_the_columns():
    wide = Grounded(
        text="雪だるま x",
        entities=(Entity("雪だるま", 0, 4, (BOX,)), Entity("x", 5, 6, (BOX,))),
    )
    _, first, second = output.table(wide, "norm01", colours=False)
    assert first.index("0.250") + 4 == second.index("0.250")


def test_words_cannot_steer_the_terminal():
    nasty = Grounded(
        text="\x1b[2Ja\x07 b\r",
        entities=(Entity("\x1b[2Ja", 0, 5, (BOX,)),),
        problems=(Problem("stray_tag", 0, "\x1b]0;title\x07"),),
    )
    lines = [output.sentence(nasty, colours=True), *output.remarks(nasty)]
    lines += output.table(nasty, "norm01", colours=True)
    plain = re.sub(r"\x1b\[[\d;]*m", "", "\n".join(lines))
    assert not set("\x1b\x07\r") & set(plain)


def test_long_lists_of_slips_are_cut_and_say_so():
    slips = tuple(Problem("lone_location", at, f"location {at}") for at in range(9))
    lines = output.remarks(Grounded(text="", problems=slips, finish="length", tokens=7))
    assert len(lines) == 7
    assert lines[-2] == "and 4 more; --json has them all"
    assert lines[-1].startswith("cut off after 7 tokens")


@settings(max_examples=60, deadline=None)
@given(
    pieces=st.lists(st.text("ab cé", min_size=1, max_size=12), min_size=1, max_size=12),
    picked=st.sets(st.integers(0, 11)),
    columns=st.integers(3, 30),
)
def test_words_as_they_come_look_as_the_whole(pieces, picked, columns):
    """However lines break, every letter is there once, and the painted ones are in colour."""
    os.environ["COLUMNS"], os.environ["LINES"] = str(columns), "1000"
    try:
        stream = Terminal()
        live = output.Live(stream, colours=True)
        text = ""
        for number, piece in enumerate(pieces):
            live.write(piece)
            if number in picked:
                live.paint(len(text), len(text) + len(piece), number)
            text += piece
        live.end()
    finally:
        del os.environ["COLUMNS"], os.environ["LINES"]
    shown = seen(stream.getvalue())
    assert "".join(letter for _, (letter, _) in sorted(shown.items())) == text
    assert max(column for _, column in shown) < columns - 1 or columns < 3
    expected = "".join(piece for number, piece in enumerate(pieces) if number in picked)
    assert "".join(coloured(shown)) == expected


class Spoken:
    """A model that says one thing, word by word."""

    def __init__(self) -> None:
        self.stream = self

    def caption(self, image, **wanted):
        yield Text("a")
        yield Text(" dog")
        yield ANSWER.entities[0]
        yield Text(" and two cats")
        yield ANSWER.entities[1]
        yield ANSWER


def test_a_watched_answer_is_streamed_and_then_tabled(watched, monkeypatch, picture):
    monkeypatch.setattr(look, "load", lambda arguments: Spoken())
    lines = watched("caption", picture).split("\n")
    shown = seen(lines[0])
    assert "".join(letter for _, (letter, _) in sorted(shown.items())) == ANSWER.text
    # `two cats` alone, although the words before it came in the same piece.
    assert coloured(shown) == ["a dog", "two cats"]
    assert len(lines) == 6  # head, three boxes, and the end of the last line


def test_no_colour_means_none(watched, monkeypatch, picture):
    monkeypatch.setattr(look, "load", lambda arguments: Spoken())
    monkeypatch.setenv("NO_COLOR", "1")
    written = watched("caption", picture)
    assert "\x1b" not in written
    assert written.splitlines() == [
        ANSWER.text, *output.table(ANSWER, "norm01", colours=False)
    ]  # fmt: skip


def test_a_dumb_terminal_gets_no_colour(monkeypatch):
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    assert output.has_colours(Terminal())
    assert not output.has_colours(io.StringIO())
    monkeypatch.setenv("TERM", "dumb")
    assert not output.has_colours(Terminal())


def test_json_on_a_terminal_is_json(watched, monkeypatch, picture, tiny_model):
    monkeypatch.setattr(look, "load", lambda arguments: tiny_model)
    written = watched("caption", picture, "--json", "--max-new-tokens", "3")
    assert json.loads(written)["tokens"] == 3


def test_two_watched_pictures_come_one_after_the_other(watched, monkeypatch, picture):
    monkeypatch.setattr(look, "load", lambda arguments: Spoken())
    assert watched("caption", picture, picture).count(picture) == 2


def test_a_real_model_on_a_terminal(watched, monkeypatch, picture, tiny_model):
    monkeypatch.setattr(look, "load", lambda arguments: tiny_model)
    markup = "<phrase> a dog</phrase><object><patch_index_0044><patch_index_0863></object>"
    written = watched("complete", picture, f"<grounding>{markup}", "--max-new-tokens", "3")
    assert coloured(seen(written.split("\n")[0]))[0] == "a dog"
    assert "not found" in watched("ground", picture, "a cat", "--max-new-tokens", "3")


def test_progress_moves_on_a_terminal_and_is_wiped(monkeypatch):
    stream = Terminal()
    monkeypatch.setattr("sys.stderr", stream)
    with Progress("drawing", "scenes") as progress:
        for done in range(1, 5):
            progress(done, 4)
    assert "4 of 4 scenes" in stream.getvalue()
    assert "\n" not in stream.getvalue()
    assert stream.getvalue().endswith("\r\x1b[K")


def test_short_work_leaves_no_progress_in_a_file(monkeypatch):
    stream = io.StringIO()
    monkeypatch.setattr("sys.stderr", stream)
    with Progress("drawing", "scenes") as progress:
        progress(4, 4)
    assert stream.getvalue() == ""


def test_long_work_leaves_a_line_now_and_then(monkeypatch):
    stream = io.StringIO()
    now = iter(range(0, 1000, 10))
    monkeypatch.setattr("sys.stderr", stream)
    monkeypatch.setattr("kosmos2.cli.progress.time.monotonic", lambda: float(next(now)))
    with Progress("downloading x", "bytes") as progress:
        for done in range(5):
            progress(done * 2**20, 4 * 2**20)
    lines = stream.getvalue().splitlines()
    assert [line.split("  ")[1] for line in lines] == ["1 of 4 MiB", "3 of 4 MiB", "4 of 4 MiB"]
    assert lines[0].endswith("  1:00 left")  # 20 s for the first of four
