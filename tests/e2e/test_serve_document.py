"""The commands of `docs/serve.md` that start, ask and stop a server do so as they stand."""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("uvicorn", reason="the server needs the serve extra")

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs/serve.md").read_text()
BLOCKS = re.findall(r"^<!-- runs -->\n```sh\n(.*?)^```", PAGE, flags=re.DOTALL | re.MULTILINE)
PYTHON = re.findall(r"^```python\n(.*?)^```", PAGE, flags=re.DOTALL | re.MULTILINE)


def a_free_port() -> int:
    with socket.socket() as line:
        line.bind(("127.0.0.1", 0))
        port: int = line.getsockname()[1]
        return port


def desk(folder: Path) -> dict[str, str]:
    """A clone with the package installed, and nothing that somebody has left there."""
    (folder / "examples").symlink_to(ROOT / "examples")
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = {**os.environ, "PATH": path}
    environment.pop("KOSMOS2_API_KEY", None)
    return environment


def test_there_is_something_to_run() -> None:
    assert len(BLOCKS) == 2
    assert PAGE.count("<!-- runs -->") == len(BLOCKS)


@pytest.mark.skipif(
    any(shutil.which(name) is None for name in ("bash", "curl")),
    reason="bash and curl are needed to run commands as they stand",
)
@pytest.mark.parametrize("block", BLOCKS, ids=["start, ask, stop", "keys"])
def test_a_reader_who_types_this_has_asked_a_server(block: str, tmp_path: Path) -> None:
    """Port 8000 may be somebody's; that is all that is changed."""
    port = str(a_free_port())
    commands = block.replace("8000", port).replace("kosmos2 serve", f"kosmos2 serve --port {port}")
    run = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", commands],
        cwd=tmp_path,
        env=desk(tmp_path),
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert run.returncode == 0, run.stdout + run.stderr
    assert f"kosmos2 serves demo on http://127.0.0.1:{port}" in run.stderr
    if "curl.sh" in block:
        assert '"status":"ready"' in run.stdout
        assert "a snowman" in run.stdout
    else:
        assert '"id":"kosmos-2-demo"' in run.stdout
        assert re.fullmatch(
            r"anna sha256:[0-9a-f]{64} rate=600/min concurrent=16\n",
            (tmp_path / "keys.txt").read_text(),
        )
        assert "k2-" not in run.stdout


@pytest.mark.parametrize("code", PYTHON)
def test_the_python_of_the_page_can_be_read(code: str) -> None:
    compile(code, "docs/serve.md", "exec")
