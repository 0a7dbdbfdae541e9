"""Whatever goes wrong: one line, the right exit code, and a traceback only for those who ask."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from PIL import Image

import kosmos2.drawing
from kosmos2 import errors
from kosmos2.cli import look, main

RUN = [sys.executable, "-m", "kosmos2"]


@pytest.fixture
def picture(tmp_path):
    path = tmp_path / "picture.png"
    Image.new("RGB", (40, 40), "teal").save(path)
    return str(path)


class Broken:
    """A model that fails at every verb."""

    def __init__(self, error: BaseException) -> None:
        self.error = error

    def caption(self, image, **wanted):
        raise self.error


@pytest.mark.parametrize(
    ("error", "code", "told"),
    [
        (errors.Kosmos2Error("what"), 70, "what"),
        (errors.ConfigError("what"), 64, "what"),
        (errors.RecipeError("what"), 64, "what"),
        (errors.CheckpointError("what"), 65, "what"),
        (errors.InputError("what"), 65, "what"),
        (errors.DataError("what"), 65, "what"),
        (errors.ImageError("what"), 65, "what"),
        (errors.MissingImageError("what"), 66, "what"),
        (errors.PromptError("what"), 64, "what"),
        (errors.MarkupError("what", 3), 65, "what"),
        (errors.EngineError("two\nlines"), 70, "two lines"),
        (errors.Busy("what"), 75, "what"),
        (OSError(errno.ENOSPC, "No space left on device", "/x/a.png"), 74, "/x/a.png: No space"),
        (PermissionError(errno.EACCES, "Permission denied"), 74, "Permission denied; check"),
        (MemoryError(), 70, "memory is used up"),
        (ZeroDivisionError("division by zero"), 70, "unexpected ZeroDivisionError"),
        (KeyboardInterrupt(), 130, "stopped"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, BaseException) else "",
)
def test_every_error_is_one_line_and_a_code(monkeypatch, capsys, picture, error, code, told):
    monkeypatch.setattr(look, "load", lambda arguments: Broken(error))
    assert main(["caption", picture]) == code
    shown = capsys.readouterr()
    assert not shown.out
    assert shown.err.startswith(f"kosmos2: {told}")
    assert shown.err.count("\n") == 1


def test_every_class_of_error_has_its_row_above():
    mark = next(
        mark for mark in test_every_error_is_one_line_and_a_code.pytestmark if len(mark.args) == 2
    )
    told = {type(error) for error, *_ in mark.args[1]}
    ours = {kind for kind in vars(errors).values() if isinstance(kind, type)}
    assert ours <= told


def test_a_traceback_is_for_those_who_ask(monkeypatch, capsys, picture):
    monkeypatch.setattr(look, "load", lambda arguments: Broken(errors.EngineError("what")))
    assert main(["caption", picture]) == 70
    assert "Traceback" not in capsys.readouterr().err
    assert main(["caption", picture, "--debug"]) == 70
    shown = capsys.readouterr().err
    assert "Traceback" in shown
    assert shown.endswith("kosmos2: what\n")


@pytest.mark.parametrize(
    ("model", "told"),
    [
        ("dem", "did you mean demo?"),
        ("no/such-model", "off limits"),
        ("EMPTY", "config.json"),
        ("PICTURE", "is a file"),
    ],
)
def test_an_unknown_model_is_bad_data(capsys, picture, tmp_path, model, told):
    (tmp_path / "empty").mkdir()
    model = {"EMPTY": str(tmp_path / "empty"), "PICTURE": picture}.get(model, model)
    assert main(["caption", picture, "--model", model, "--offline"]) == 65
    shown = capsys.readouterr().err
    assert shown.count("\n") == 1
    assert told in shown


def test_a_cut_model_is_bad_data(capsys, picture, tiny_folder, tmp_path):
    for file in tiny_folder.iterdir():
        content = file.read_bytes()
        cut = len(content) // 2 if file.suffix == ".safetensors" else len(content)
        (tmp_path / file.name).write_bytes(content[:cut])
    assert main(["caption", picture, "--model", str(tmp_path)]) == 65
    assert capsys.readouterr().err.count("\n") == 1


def test_an_unknown_device_is_a_usage_error(capsys, picture, tiny_folder):
    assert main(["caption", picture, "--model", str(tiny_folder), "--device", "abacus"]) == 64
    assert "abacus" in capsys.readouterr().err


def test_a_prompt_longer_than_the_model_is_a_usage_error(monkeypatch, capsys, picture, tiny_model):
    monkeypatch.setattr(look, "load", lambda arguments: tiny_model)
    assert main(["ask", picture, "why " * 600]) == 64
    assert "the model reads 512" in capsys.readouterr().err


def test_no_space_for_the_drawing(monkeypatch, capsys, picture, tiny_model, tmp_path):
    def full(image, answer, path, **how):
        raise OSError(errno.ENOSPC, "No space left on device", str(path))

    monkeypatch.setattr(look, "load", lambda arguments: tiny_model)
    monkeypatch.setattr(kosmos2.drawing, "save", full)
    words = ["caption", picture, "--max-new-tokens", "2", "--save", str(tmp_path / "a.png")]
    assert main(words) == 74
    assert "a.png: No space left on device" in capsys.readouterr().err


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
def test_no_space_for_the_answer(tmp_path):
    with Path("/dev/full").open("w") as full:
        ran = subprocess.run(
            [*RUN, "models"], stdout=full, stderr=subprocess.PIPE, text=True, check=False
        )
    assert ran.returncode == 74
    assert ran.stderr.startswith("kosmos2: No space left on device")
    assert ran.stderr.count("\n") == 1


def test_a_pipe_that_nobody_reads_ends_quietly():
    with subprocess.Popen([*RUN, "models"], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as ran:
        assert ran.stdout is not None
        ran.stdout.close()
        assert ran.stderr is not None
        complaints = ran.stderr.read()
        assert ran.wait() == 141
    assert complaints == b""


def test_without_standard_output_nothing_breaks():
    ran = subprocess.run(
        ["sh", "-c", 'exec "$@" >&-', "sh", *RUN, "models"], capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    assert (ran.returncode, ran.stderr) == (0, "")


@pytest.mark.skipif(os.name != "posix", reason="signals are sent as POSIX has them")
def test_ctrl_c_ends_with_one_line(tmp_path):
    folder = tmp_path / "scenes"
    with subprocess.Popen(
        [*RUN, "scenes", "--count", "1000000", "--size", "16", "--out", str(folder)],
        stderr=subprocess.PIPE,
        # A shell's background jobs ignore Ctrl-C, and so would what they start.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    ) as ran:
        while not (folder / "scene_000000.jpg").exists() and ran.poll() is None:
            time.sleep(0.1)
        ran.send_signal(signal.SIGINT)
        assert ran.stderr is not None
        complaints = ran.stderr.read()
        assert ran.wait() == 130
    assert complaints == b"kosmos2: stopped\n"


def test_ctrl_c_in_a_stream_leaves_the_line(monkeypatch, capsys, picture):
    """The words so far stay, and the complaint does not stand in the middle of them."""

    class Stopped:
        def __init__(self) -> None:
            self.stream = self

        def caption(self, image, **wanted):
            yield kosmos2.Text("a dog")
            raise KeyboardInterrupt

    monkeypatch.setattr(look, "load", lambda arguments: Stopped())
    monkeypatch.setattr("kosmos2.cli.output.is_terminal", lambda stream: True)
    assert main(["caption", picture]) == 130
    shown = capsys.readouterr()
    assert shown.out == "a dog\n"
    assert shown.err == "kosmos2: stopped\n"
