"""The image files keep to the rules, as far as can be read from them; no engine is needed."""

from __future__ import annotations

import json
import re
import tomllib
from fnmatch import fnmatch
from pathlib import Path
from typing import NamedTuple

import pytest

from kosmos2.cli.arguments import read

ROOT = Path(__file__).resolve().parents[2]
FILES = sorted((ROOT / "docker").glob("*.Dockerfile"))
SECRET = re.compile(
    r"(?i)(password|passwd|token|secret|api_?key)\s*=|k2-[\w-]{20}|hf_[A-Za-z0-9]{20}"
)


class Step(NamedTuple):
    name: str
    words: str


def steps(path: Path) -> list[Step]:
    """The instructions, each on one line."""
    lines = [line for line in path.read_text().splitlines() if not line.lstrip().startswith("#")]
    joined = "\n".join(lines).replace("\\\n", " ")
    found = []
    for line in joined.splitlines():
        if line.strip():
            name, words = line.split(maxsplit=1)
            found.append(Step(name, " ".join(words.split())))
    return found


def stages(path: Path) -> list[list[Step]]:
    found: list[list[Step]] = []
    for step in steps(path):
        if step.name == "FROM":
            found.append([])
        found[-1].append(step)
    return found


def only(stage: list[Step], name: str) -> str:
    (words,) = [step.words for step in stage if step.name == name]
    return words


@pytest.fixture(params=FILES, ids=lambda path: path.stem)
def file(request: pytest.FixtureRequest) -> Path:
    return request.param


def test_there_is_one_for_each_kind_of_machine() -> None:
    assert [path.stem for path in FILES] == ["cpu", "gpu"]


def test_instructions_are_known_and_begin_with_an_image(file: Path) -> None:
    known = {"FROM", "ENV", "WORKDIR", "RUN", "COPY", "USER", "VOLUME", "EXPOSE", "STOPSIGNAL"}
    known |= {"HEALTHCHECK", "ENTRYPOINT", "CMD"}  # no ADD, which fetches and unpacks
    found = steps(file)
    assert found[0].name == "FROM"
    assert {step.name for step in found} <= known


def test_images_to_start_from_are_small_and_named_to_the_last_number(file: Path) -> None:
    for stage in stages(file):
        assert re.match(r"python:3\.12\.\d+-slim-\w+( AS \w+)?$", stage[0].words)
    assert len({stage[0].words.split()[0] for stage in stages(file)}) == 1  # or a venv breaks


def test_what_is_built_stays_behind_but_for_the_environment(file: Path) -> None:
    build, image = stages(file)
    assert [step.words for step in image if step.name == "COPY"] == [
        "--from=build /opt/kosmos2 /opt/kosmos2"
    ]
    installs = [step.words for step in build if "pip" in step.words and step.name == "RUN"]
    assert all("/opt/kosmos2" in words for words in installs)
    assert not any(
        word in step.words
        for step in (*build, *image)
        for word in ("apt", "gcc", "build-essential", "curl", "wget", "git ")
    )
    assert not any("pip " in step.words for step in image)


def test_what_seldom_changes_comes_first(file: Path) -> None:
    build, _ = stages(file)
    places = [
        next(at for at, step in enumerate(build) if part in step.words)
        for part in ("venv", '"torch', "pyproject.toml", "src src", '".[serve]"')
    ]
    assert places == sorted(places)


def test_torch_is_the_one_that_the_package_wants(file: Path) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    (torch,) = [words for words in project["dependencies"] if words.startswith("torch")]
    (install,) = [step.words for step in steps(file) if '"torch' in step.words]
    assert f'"{torch}"' in install
    assert ("whl/cpu" in install) == (file.stem == "cpu")


def test_it_runs_as_nobody_special(file: Path) -> None:
    image = stages(file)[-1]
    assert only(image, "USER") == "10001"
    names = [step.name for step in image]
    assert "RUN" not in names[names.index("USER") :]
    assert names[-2:] == ["ENTRYPOINT", "CMD"]


def test_it_serves_with_keys_on_the_port_that_is_told(file: Path) -> None:
    image = stages(file)[-1]
    words = json.loads(only(image, "ENTRYPOINT"))
    assert words[:2] == ["kosmos2", "serve"]
    assert words[words.index("--host") + 1] == "0.0.0.0"
    assert words[words.index("--api-key-file") + 1].startswith("/run/secrets/")
    assert "--no-auth" not in words
    assert only(image, "EXPOSE") == "8000"
    assert only(image, "STOPSIGNAL") == "SIGTERM"


def test_its_words_are_words_that_the_command_takes(file: Path) -> None:
    image = stages(file)[-1]
    _, *words = [*json.loads(only(image, "ENTRYPOINT")), *json.loads(only(image, "CMD"))]
    assert read(words).port == int(only(image, "EXPOSE"))


def test_its_health_is_asked_for_without_a_key_and_without_another_program(file: Path) -> None:
    words = only(stages(file)[-1], "HEALTHCHECK")
    assert {"--interval", "--timeout", "--start-period", "--retries"} == set(
        re.findall(r"--[a-z-]+", words)
    )
    program, flag, code = json.loads(words.partition("CMD ")[2])
    assert (program, flag) == ("python", "-c")
    compile(code, "HEALTHCHECK", "exec")
    assert "http://127.0.0.1:8000/health/live" in code


def test_nothing_secret_is_in_it(file: Path) -> None:
    assert not SECRET.search(file.read_text())


def test_only_what_is_needed_is_sent_to_be_built(file: Path) -> None:
    lines = (ROOT / ".dockerignore").read_text().splitlines()
    rules = [line for line in lines if line and not line.startswith("#")]
    assert rules[0] == "*"
    sent = {rule[1:] for rule in rules if rule.startswith("!")}
    copied = [
        word for step in stages(file)[0] if step.name == "COPY" for word in step.words.split()[:-1]
    ]
    assert set(copied) == sent
    assert all((ROOT / name).exists() for name in sent)
    assert not any(fnmatch(name, "*key*") for name in sent)


def test_the_page_about_them_builds_each() -> None:
    page = (ROOT / "docker/README.md").read_text()
    for path in FILES:
        assert f"]({path.name})" in page
        assert f"docker build -f docker/{path.name}" in path.read_text().splitlines()[0]
