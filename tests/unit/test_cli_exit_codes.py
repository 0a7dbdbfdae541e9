"""Help tells every exit code that an error of ours can have."""

import re
import subprocess
import sys

import pytest

from kosmos2.errors import Kosmos2Error

pytest.importorskip("pyarrow", reason="the trainer's libraries are an extra")
pytest.importorskip("fastapi", reason="the server's libraries are an extra")
import kosmos2.cli.arguments
import kosmos2.serve.run
import kosmos2.train.lock
import kosmos2.train.loop
import kosmos2.train.run_folder  # noqa: F401


def kinds(kind: type[Kosmos2Error]) -> list[type[Kosmos2Error]]:
    """An error and all that are made of it."""
    return [kind, *(more for each in kind.__subclasses__() for more in kinds(each))]


def test_help_tells_every_exit_code():
    words = [sys.executable, "-m", "kosmos2", "--help"]
    told = subprocess.run(words, capture_output=True, text=True, check=True).stdout
    (section,) = re.findall(r"exit codes:\n((?: .*\n?)+)", told)
    listed = {int(code) for code in re.findall(r"(?:^|\s{2,})(\d+)\s{2,}\S", section)}
    given = {kind.exit_code for kind in kinds(Kosmos2Error)}
    assert given, "errors have codes"
    assert given <= listed, f"help does not tell {sorted(given - listed)}"
