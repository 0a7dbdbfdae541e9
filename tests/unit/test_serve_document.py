"""What `docs/serve.md` says of limits, refusals, figures, fields and routes is so."""

from __future__ import annotations

import re
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("fastapi", reason="the server needs the serve extra")

from doors import random_model
from kosmos2.cli import main
from kosmos2.serve import Limits, Settings
from kosmos2.serve.app import create_app
from kosmos2.serve.texts import TEXTS
from kosmos2.serve.wire.parts import GroundingWish

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs/serve.md").read_text()
NEVER = {499}  # nobody is there to read it


@pytest.fixture(scope="module")
def app() -> Any:
    return create_app(Settings(open=True), model=random_model())


def block(name: str) -> str:
    """What stands between two comments."""
    found = re.search(rf"<!-- {name} -->\n(.*?)<!-- end of {name} -->", PAGE, re.DOTALL)
    assert found is not None, f"docs/serve.md has no block {name}"
    return found[1].strip()


def rows(heading: str) -> list[list[str]]:
    """The first table below a heading, without its head."""
    section = re.split(r"^## ", PAGE.partition(f"## {heading}\n")[2], flags=re.MULTILINE)[0]
    lines = [line for line in section.splitlines() if line.startswith("|")]
    table = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    return table[2:]


def test_the_refusals_are_those_of_the_table() -> None:
    lines = ["| status | `code` | what is told |", "|---|---|---|"]
    for status, texts in TEXTS.items():
        if status not in NEVER:
            lines += [f"| {status} | `{code}` | {text} |" for code, text in texts.items()]
    assert block("errors") == "\n".join(lines)


def test_the_figures_are_those_that_are_counted(app: Any) -> None:
    metrics = app.state.desk.metrics
    named = {one._name: one._labelnames for one in vars(metrics).values() if hasattr(one, "_name")}
    lines = ["| name | kind | labels | what it is |", "|---|---|---|---|"]
    for metric in metrics.registry.collect():
        name = f"{metric.name}_total" if metric.type == "counter" else metric.name
        labels = ", ".join(f"`{label}`" for label in named.get(metric.name, ()))
        lines.append(f"| `{name}` | {metric.type} | {labels} | {metric.documentation} |")
    assert block("metrics") == "\n".join(lines)


def test_the_limits_are_all_there_with_their_defaults() -> None:
    told = {row[0].strip("`"): float(row[1].replace(",", "")) for row in rows("Limits")}
    assert told == {one.name: one.default for one in fields(Limits)}


def test_the_options_of_limits_exist(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["serve", "--help"]) == 0
    offered = capsys.readouterr().out
    options = [row[2].strip("`") for row in rows("Limits") if row[2]]
    assert len(options) == 4
    for option in [*options, *re.findall(r"`?(--[a-z-]+)", block_of_commands())]:
        assert option in offered, option


def block_of_commands() -> str:
    lines = [line for line in PAGE.splitlines() if line.startswith("kosmos2 serve")]
    assert lines
    return "\n".join(lines)


def test_the_fields_of_grounding_are_all_there() -> None:
    told = " ".join(row[0] for row in rows("The `grounding` of a chat"))
    assert set(re.findall(r"`(\w+)`", told)) == set(GroundingWish.model_fields)


def test_every_route_is_told_of(app: Any) -> None:
    told = set(re.findall(r"`(?:GET |POST )?(/[^`\s]*)`", PAGE))
    assert set(app.openapi()["paths"]) <= told


def test_exit_codes_are_those_of_the_process() -> None:
    from kosmos2.serve import run

    said = re.search(r"The exit code is (\d+) .*?, (\d+) .*?,\s+(\d+) if", PAGE, re.DOTALL)
    assert said is not None
    assert [int(code) for code in said.groups()] == [run.DONE, run.STOPPED, run.OURS]
