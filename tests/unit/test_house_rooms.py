"""Rooms look down, never up: the import rows of pyproject.toml hold, and a breach is noticed."""

from __future__ import annotations

import ast
import os
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "src" / "kosmos2"

# What an answer means. These run in a server's front, a notebook, other people's projects.
MEANING = [
    "errors", "config", "options", "geometry", "palette", "layout",
    "markup", "overlay", "result", "prompts",
]  # fmt: skip

LINT = "from importlinter.cli import lint_imports_command; lint_imports_command()"


def check_rows(root: Path) -> subprocess.CompletedProcess[str]:
    """Run import-linter on the package in `root`, whatever else is installed."""
    pytest.importorskip("importlinter", reason="import-linter checks who imports whom")
    return subprocess.run(
        [sys.executable, "-c", LINT, "--no-logo", "--no-cache"],
        cwd=root,
        env={**os.environ, "PYTHONPATH": str(root / "src"), "COLUMNS": "200"},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture
def copy_of_the_house(tmp_path: Path) -> Path:
    """The package's code and the import rows, free to be spoilt."""
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    no_code = shutil.ignore_patterns("assets", "__pycache__")
    shutil.copytree(PACKAGE, tmp_path / "src" / "kosmos2", ignore=no_code)
    return tmp_path


def add(file: Path, line: str) -> None:
    file.write_text(f"{file.read_text() if file.exists() else ''}\n{line}\n")


def test_rooms_look_down_never_up() -> None:
    checked = check_rows(ROOT)
    assert checked.returncode == 0, checked.stdout + checked.stderr


@pytest.mark.parametrize(
    ("file", "line", "complaint"),
    [
        ("geometry.py", "import kosmos2.markup", "kosmos2.geometry -> kosmos2.markup"),
        ("config.py", "import kosmos2.options", "kosmos2.config -> kosmos2.options"),
        ("markup.py", "import torch", "kosmos2.markup -> torch"),
        ("shed.py", "", "kosmos2.shed"),
    ],
    ids=["upward", "sideways", "tensors in the meaning", "a room without a row"],
)
def test_a_room_out_of_place_is_named(
    copy_of_the_house: Path, file: str, line: str, complaint: str
) -> None:
    add(copy_of_the_house / "src" / "kosmos2" / file, line)
    checked = check_rows(copy_of_the_house)
    assert checked.returncode != 0
    assert complaint in " ".join(checked.stdout.split())


def test_every_row_names_a_room_that_exists() -> None:
    """Rows may be optional while a room is being built; none may outlive its room."""
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]
    rows = contracts["contracts"][0]["layers"]
    named = {room.strip(" ()") for row in rows for room in row.split("|")}
    there = {path.stem for path in PACKAGE.iterdir() if (path / "__init__.py").is_file()}
    there |= {path.stem for path in PACKAGE.glob("*.py")} - {"__init__"}
    assert named == there


@pytest.mark.parametrize("room", MEANING)
def test_the_meaning_of_an_answer_is_read_with_the_standard_library(room: str) -> None:
    files = [*PACKAGE.glob(f"{room}.py"), *(PACKAGE / room).rglob("*.py")]
    assert files, f"there is no room {room}"
    for name in [name for file in files for name in imports(file)]:
        top = name.partition(".")[0]
        assert top == "kosmos2" or top in sys.stdlib_module_names, f"{room} imports {name}"


def test_the_meaning_of_an_answer_is_there_without_any_library() -> None:
    """`-S -I` leaves the interpreter alone with its standard library: no site-packages at all."""
    modules = ", ".join(f"kosmos2.{room}" for room in MEANING)
    code = f"import sys; sys.path.insert(0, {str(PACKAGE.parent)!r}); import {modules}"
    subprocess.run([sys.executable, "-S", "-I", "-c", code], check=True)


def test_importing_the_package_brings_no_heavy_library() -> None:
    heavy = ["torch", "numpy", "PIL", "tokenizers", "safetensors", "huggingface_hub", "jaxtyping"]
    code = f"import sys, kosmos2; print([name for name in {heavy!r} if name in sys.modules])"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "[]"


def imports(file: Path) -> list[str]:
    """Full names of the modules a file imports, wherever in the file it does."""
    names = []
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file.name}:{node.lineno} imports relatively"
            names.append(node.module or "")
    return names
