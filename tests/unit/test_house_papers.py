"""The papers around the code agree with it: changelog, citation, licence, commands."""

from __future__ import annotations

import re
import shutil
import subprocess
import tomllib
from pathlib import Path

import pytest

import kosmos2

ROOT = Path(__file__).parents[2]
TARGETS = ["demo", "test", "check", "fix", "clean"]


def test_the_changelog_opens_with_this_version() -> None:
    headings = re.findall(r"^## \[?([^]\s]+)\]?", (ROOT / "CHANGELOG.md").read_text(), re.M)
    released = [heading for heading in headings if heading != "Unreleased"]
    assert released[0] == kosmos2.__version__


def test_the_citation_names_this_version() -> None:
    text = (ROOT / "CITATION.cff").read_text()
    assert re.findall(r"^version: (.+)$", text, re.M) == [kosmos2.__version__]


def test_the_package_carries_its_licence_and_notice() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert project["license"] == "MIT"
    for name in project["license-files"]:
        assert (ROOT / name).read_text().strip(), f"{name} is empty"


@pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed here")
@pytest.mark.parametrize("target", TARGETS)
def test_each_make_target_can_be_planned(target: str) -> None:
    """`make -n` reads the Makefile and resolves every prerequisite without running a thing."""
    plan = subprocess.run(
        ["make", "-n", target], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert plan.returncode == 0, plan.stderr
    assert plan.stdout.strip()


def test_contributing_names_the_commands_that_ci_runs() -> None:
    contributing = (ROOT / "CONTRIBUTING.md").read_text()
    workflow = (ROOT / ".github" / "workflows" / "ci.yml").read_text()
    runs = re.findall(r"run: (make \w+)$", workflow, re.M)
    assert runs
    for command in runs:
        assert command in contributing
