"""Freed memory is kept in a process that trains, and in no other."""

import subprocess
import sys

import pytest
from PIL import Image

from kosmos2.cli import main
from kosmos2.errors import ConfigError
from kosmos2.train import begin, freed
from kosmos2.train.freed import keep_freed

FAULTS = """
import resource, sys, torch
from kosmos2.train.freed import keep_freed
kept = keep_freed() if sys.argv[1] == "keep" else None
def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt
def use(times):
    for _ in range(times):
        torch.ones(2**24)  # 64 MiB: the C library maps such a block by itself, page by page
use(30)  # the heap grows until blocks find room between what lies in it
before = faults()
use(4)
print(kept, faults() - before)
"""


def told(how):
    done = subprocess.run(
        [sys.executable, "-c", FAULTS, how], capture_output=True, text=True, check=True
    )
    kept, count = done.stdout.split()
    return kept, int(count)


@pytest.mark.skipif(sys.platform != "linux", reason="it is glibc that is asked")
def test_what_was_freed_is_not_asked_for_again():
    kept, count = told("keep")
    if kept == "False":
        pytest.skip("this C library cannot be asked to keep what is freed")
    assert count < 1000
    assert told("leave")[1] > 10_000, "otherwise this shows nothing"


def test_where_the_c_library_is_another_nothing_is_asked(monkeypatch):
    class Other:
        def __getattr__(self, name):
            raise AttributeError(name)

    monkeypatch.setattr(freed.ctypes, "CDLL", lambda _: Other())
    assert keep_freed() is False
    monkeypatch.setattr(freed.sys, "platform", "darwin")
    monkeypatch.setattr(freed.ctypes, "CDLL", lambda _: pytest.fail("it was asked"))
    assert keep_freed() is False


@pytest.mark.parametrize(("recipe", "keeps"), [("finetune", True), ("lora", False)])
def test_a_command_that_trains_keeps_it_and_one_that_saves_memory_does_not(
    recipe, keeps, tmp_path, monkeypatch
):
    asked = []
    monkeypatch.setattr(freed, "keep_freed", lambda: asked.append(True))

    def enough(_):
        raise ConfigError("enough")

    monkeypatch.setattr(begin, "begin", enough)
    picture = tmp_path / "photos" / "a.png"
    picture.parent.mkdir()
    Image.new("RGB", (40, 30)).save(picture)
    picture.with_suffix(".txt").write_text("a gauge")
    words = ["train", recipe, "--out", str(tmp_path / "run"), "--data", str(picture.parent)]
    assert main(words) == ConfigError.exit_code
    assert asked == [True] * keeps
