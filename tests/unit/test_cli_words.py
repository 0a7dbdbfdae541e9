"""What is understood and what is refused, before any model is thought of."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

import kosmos2
from kosmos2.cli import arguments, main
from kosmos2.drawing import FORMATS
from kosmos2.grounder.kosmos2 import DTYPES
from kosmos2.options import Options

ROOT = Path(__file__).parents[2]
COMMANDS = [
    "caption", "ground", "locate", "describe", "ask", "complete",
    "serve", "demo", "keys", "models", "doctor", "scenes", "train", "eval",
]  # fmt: skip


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself(command, capsys):
    assert main([command, "--help"]) == 0
    shown = capsys.readouterr()
    assert f"usage: kosmos2 {command}" in shown.out
    assert not shown.err


def test_help_names_every_command(capsys):
    assert main(["--help"]) == 0
    listed = re.findall(r"^    (\w+) ", capsys.readouterr().out, re.M)
    assert listed == COMMANDS


def test_the_version_is_the_packages(capsys):
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"kosmos2 {kosmos2.__version__}\n"


def test_help_and_refusals_never_wait_for_a_library():
    code = (
        "import sys; from kosmos2.cli import main; main(['caption', '--help']);"
        "main(['caption', '--nonsense', 'a.jpg']); main([]);"
        "heavy = {'torch', 'numpy', 'PIL', 'tokenizers', 'huggingface_hub'} & set(sys.modules);"
        "print('heavy', sorted(heavy))"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.splitlines()[-1] == "heavy []"


def test_the_module_runs_as_the_script_does():
    ran = subprocess.run(
        [sys.executable, "-m", "kosmos2", "--version"], capture_output=True, text=True, check=True
    )
    assert ran.stdout == f"kosmos2 {kosmos2.__version__}\n"


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ([], "say what to do: caption"),
        (["captoin", "a.jpg"], "did you mean caption?"),
        (["zzz"], "there is no command 'zzz'; see kosmos2 --help"),
        (["caption"], "IMAGE; see kosmos2 caption --help"),
        (["caption", "a.jpg", "--detaled"], "no option --detaled; did you mean --detailed?"),
        (["caption", "a.jpg", "--detail"], "no option --detail; did you mean --detailed?"),
        (["caption", "a.jpg", "--qqq=3"], "no option --qqq; see kosmos2 caption --help"),
        (["caption", "a.jpg", "--json", "b.jpg"], "put pictures side by side"),
        (["caption", "a.jpg", "--beams", "many"], "--beams: invalid int value: 'many'"),
        (["caption", "a.jpg", "--dtype", "int3"], "--dtype: invalid choice: 'int3'"),
        (["caption", "a.jpg", "--coords", "cm"], "--coords: invalid choice: 'cm'"),
        (["ground", "a.jpg"], "PHRASE"),
        (["describe", "a.jpg"], "--box"),
        (["describe", "a.jpg", "--box", "1,2,3"], "'1,2,3' is not four numbers X1,Y1,X2,Y2"),
        (["describe", "a.jpg", "--box", "nan,0,1,1"], "is not four numbers"),
        (["describe", "a.jpg", "--box", "0,0,inf,1"], "is not four numbers"),
        (["describe", "a.jpg", "--box", "a,b,c,d"], "is not four numbers"),
        (["ask", "a.jpg", "two", "questions"], "'questions' is one word too many; quote"),
        (["scenes", "--out", "x", "--count", "0"], "'0' is no whole number of at least 1"),
        (["scenes", "--out", "x", "--count", "1.5"], "'1.5' is no whole number of at least 1"),
        (["eval", "flowers"], "invalid choice: 'flowers'"),
        (["train"], "--out"),
    ],
)  # fmt: skip
def test_words_that_make_no_command_are_refused_in_one_line(words, told, capsys):
    assert main(words) == 64
    shown = capsys.readouterr()
    assert not shown.out
    assert shown.err.startswith("kosmos2: ")
    assert shown.err.count("\n") == 1
    assert told in shown.err


def test_a_box_may_begin_below_zero():
    read = arguments.read(["describe", "a.jpg", "--box", "-.1,0,1,1"])
    assert read.box == (-0.1, 0.0, 1.0, 1.0)
    assert read == arguments.read(["describe", "a.jpg", "--box=-0.1 0 1 1"])


def test_phrases_may_begin_with_a_dash_behind_two():
    assert arguments.read(["ground", "a.jpg", "--", "-dog", "--x"]).phrases == ["-dog", "--x"]


def test_every_setting_that_is_offered_is_one_of_the_options():
    words = ["caption", "a.jpg", "--max-new-tokens", "7", "--temperature", "0.5", "--top-p", "0.9",
             "--top-k", "5", "--beams", "1", "--seed", "3", "--no-repeat-ngram", "0",
             "--stop", "a", "--stop", "b", "--max-boxes", "2", "--min-score", "0.5",
             "--min-presence", "0.2", "--every", "--grammar"]  # fmt: skip
    given = arguments.settings(arguments.read(words))
    assert set(given) == set(arguments.SETTINGS)
    assert Options.of(**given) == Options(
        max_new_tokens=7, temperature=0.5, top_p=0.9, top_k=5, seed=3, no_repeat_ngram_size=0,
        stop=("a", "b"), max_boxes=2, min_score=0.5, min_presence=0.2, every=True, grammar=True,
    )  # fmt: skip


def test_a_setting_that_was_not_given_keeps_its_default_where_it_lives():
    assert arguments.settings(arguments.read(["caption", "a.jpg"])) == {}


def test_what_is_offered_is_what_the_rooms_below_can():
    assert arguments.FORMATS == FORMATS
    assert set(arguments.DTYPES) == set(DTYPES)


def commands_shown(text: str) -> list[str]:
    """The command lines of a page, without their comments and what they are piped into."""
    lines = re.findall(r"^(?:\$ )?(?:\.venv/bin/)?kosmos2 (.+)$", text, re.M)
    return [re.split(r"\s+(?:#|\||>|&$) ?", line)[0] for line in lines]


@pytest.mark.parametrize("page", ["README.md", "CONTRIBUTING.md", "docs"])
def test_every_command_on_a_page_is_understood(page):
    files = sorted((ROOT / page).glob("*.md")) if page == "docs" else [ROOT / page]
    shown = [line for file in files for line in commands_shown(file.read_text())]
    for line in shown:
        words = shlex.split(line)
        if words[-1] not in ("--help", "--version"):
            arguments.read(words)


def test_commands_on_a_page_are_found():
    page = "text\n```\n$ kosmos2 caption a.jpg --json > b\nkosmos2 models  # all\n```\n"
    assert commands_shown(page) == ["caption a.jpg --json", "models"]
