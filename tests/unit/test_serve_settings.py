"""What a server is told before it starts, and what it then refuses to do."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from kosmos2.cli import main
from kosmos2.errors import ConfigError
from kosmos2.serve.settings import Limits, Settings, is_loopback

KEYS = Path("keys.txt")


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.5", "example.org", "", "127.0.0.1.x"])
@pytest.mark.parametrize("is_open", [False, True])
def test_others_are_let_in_with_keys_only(host: str, is_open: bool) -> None:
    with pytest.raises(ConfigError, match="keys"):
        Settings(host=host, open=is_open)
    assert not Settings(host=host, key_file=KEYS).loopback


@pytest.mark.parametrize("host", ["127.0.0.1", "127.9.8.7", "::1", "localhost"])
def test_on_this_machine_alone_keys_are_a_choice(host: str) -> None:
    assert Settings(host=host, open=True).loopback
    assert Settings(host=host, key_file=KEYS).loopback
    assert is_loopback(host)


def test_keys_and_no_keys_contradict_each_other() -> None:
    with pytest.raises(ConfigError, match="contradict"):
        Settings(key_file=KEYS, open=True)


@pytest.mark.parametrize("port", [-1, 65_536, True, "8000", 80.0])
def test_a_port_that_is_none_is_named(port: object) -> None:
    with pytest.raises(ConfigError, match="port is"):
        Settings(port=port)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "hosts", ["example.org", ("https://example.org",), ("a/b",), ("user@host",), ("",), ("ä.de",)]
)
def test_hosts_to_fetch_from_are_names_of_hosts(hosts: object) -> None:
    with pytest.raises(ConfigError, match="names of hosts"):
        Settings(fetch_hosts=hosts)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("running", 0), ("running", 2.0), ("running", True), ("queued", -1), ("body_bytes", "16"),
        ("deadline_s", 0), ("deadline_s", float("nan")), ("drain_s", -1.0), ("drain_s", None),
    ],
)  # fmt: skip
def test_a_limit_that_cannot_be_is_named(name: str, value: object) -> None:
    with pytest.raises(ConfigError, match=rf"limits\.{name} is"):
        Limits(**{name: value})  # type: ignore[arg-type]


def test_nobody_need_be_able_to_wait_and_a_stop_may_be_immediate() -> None:
    assert Limits(queued=0, drain_s=0).queued == 0


@pytest.mark.parametrize("words", [["serve", "--no-auth"], ["demo"], ["keys", "new", "anna"]])
@pytest.mark.parametrize("missing", ["fastapi", "uvicorn", "prometheus_client"])
def test_without_its_libraries_the_command_says_what_to_install(
    words: list[str], missing: str, monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    monkeypatch.setitem(sys.modules, missing, None)
    assert main(words) == 64
    said = capsys.readouterr().err
    assert missing in said
    assert "pip install 'kosmos2[serve]'" in said
