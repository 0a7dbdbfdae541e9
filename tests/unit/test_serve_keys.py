"""Keys: read from a file, found in constant work, changed while the server runs, held to limits."""

from __future__ import annotations

import base64
import hashlib
import hmac
import logging
import os
from pathlib import Path

import pytest

pytest.importorskip("fastapi", reason="the server is an extra: pip install kosmos2[serve]")

from kosmos2.errors import ConfigError
from kosmos2.serve.credentials import challenge, offered
from kosmos2.serve.failures import Refused
from kosmos2.serve.keys import LOOK_S, Key, Keys, line_for, new_key
from kosmos2.serve.rates import Rates


class Clock:
    """Time that goes when it is told to."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def write(path: Path, *lines: str) -> Path:
    path.write_text("\n".join(lines) + "\n")
    return path


HEX = hashlib.sha256(b"k").hexdigest()


def test_a_new_key_is_found_by_the_line_made_for_it(tmp_path):
    key, other = new_key(), new_key()
    keys = Keys.read(write(tmp_path / "keys.txt", line_for("anna", key)))
    found = keys.find(key)
    assert found is not None
    assert found.name == "anna"
    assert keys.find(key.encode()) == found
    assert keys.find(other) is None


def test_the_file_never_holds_the_key_itself():
    key = new_key()
    assert len(key) > 40
    assert key not in line_for("anna", key)
    assert hashlib.sha256(key.encode()).hexdigest() in line_for("anna", key)


def test_what_resembles_a_key_is_none(tmp_path):
    key = new_key()
    keys = Keys.read(write(tmp_path / "keys.txt", line_for("anna", key)))
    digest = hashlib.sha256(key.encode()).hexdigest()
    for near in (key[:-1], key + "x", key.upper(), "", "\udc80", "é", digest, f"sha256:{digest}"):
        assert keys.find(near) is None, near


def test_every_line_is_compared_wherever_the_key_stands(tmp_path, monkeypatch):
    """Two roads to one time: neither the place nor the absence of a key changes the work done."""
    words = [new_key() for _ in range(5)]
    lines = [line_for(f"n{i}", word) for i, word in enumerate(words)]
    keys = Keys.read(write(tmp_path / "keys.txt", *lines))
    compared = []

    def counted(one: bytes, other: bytes) -> bool:
        compared.append((len(one), len(other)))
        return one == other

    monkeypatch.setattr(hmac, "compare_digest", counted)
    for offer in (words[0], words[4], "x", "x" * 5000):
        compared.clear()
        keys.find(offer)
        assert compared == [(32, 32)] * 5


def test_limits_comments_and_empty_lines_are_read(tmp_path):
    path = write(
        tmp_path / "keys.txt",
        "# who may ask",
        "",
        f"anna sha256:{HEX} rate=60/min concurrent=4  # from the desk",
    )
    assert Keys.read(path).find("k") == Key("anna", bytes.fromhex(HEX), 60, 4)


@pytest.mark.parametrize(
    "line",
    [
        "anna",
        "anna k2-a-key-in-plain",
        f"an/na sha256:{HEX}",
        f"anna sha256:{HEX[:-1]}",
        f"anna sha256:{HEX.upper()}",
        f"anna md5:{HEX}",
        f"anna sha256:{HEX} rate=0/min",
        f"anna sha256:{HEX} rate=60/s",
        f"anna sha256:{HEX} concurrent=-1",
        f"anna sha256:{HEX} concurrent=1 concurrent=2",
        f"anna sha256:{HEX} admin",
        f"first sha256:{HEX}",
        f"second sha256:{hashlib.sha256(b'first').hexdigest()}",
    ],
    ids=lambda line: " ".join(word[:12] for word in line.split()),
)
def test_a_faulty_line_is_named_and_its_words_are_not_repeated(tmp_path, line):
    path = write(tmp_path / "keys.txt", "# keys", line_for("first", "first"), line)
    with pytest.raises(ConfigError, match="line 3") as caught:
        Keys.read(path)
    assert "k2-a-key-in-plain" not in str(caught.value)
    assert HEX not in str(caught.value)


@pytest.mark.parametrize("content", [b"", b"# none yet\n", b"\xff\xfe\x00", b"#" * (2**20 + 1)])
def test_a_file_without_keys_says_the_way_out(tmp_path, content):
    path = tmp_path / "keys.txt"
    path.write_bytes(content)
    with pytest.raises(ConfigError, match=r"keys\.txt"):
        Keys.read(path)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(ConfigError, match=r"keys\.txt cannot be read"):
        Keys.read(tmp_path / "keys.txt")


def test_a_name_that_cannot_stand_in_the_file_makes_no_line():
    for name in ("", "a b", "#a", "a" * 65, "a\nb", "ä"):
        with pytest.raises(ConfigError, match="no name"):
            line_for(name, "k")


def test_a_changed_file_counts_without_a_restart(tmp_path, clock):
    path = write(tmp_path / "keys.txt", line_for("anna", "old"))
    keys = Keys.read(path, clock=clock)
    write(path, line_for("anna", "old"), line_for("ben", "new"))
    assert keys.find("new") is None, "the file was looked at twice within a second"
    clock.now += LOOK_S
    assert keys.find("new") is not None
    write(path, line_for("ben", "new"))
    clock.now += LOOK_S
    assert keys.find("old") is None
    assert keys.names == ("ben",)


def test_another_file_of_the_same_size_and_time_is_noticed(tmp_path, clock):
    path = write(tmp_path / "keys.txt", line_for("anna", "old"))
    keys, before = Keys.read(path, clock=clock), path.stat()
    other = write(tmp_path / "other.txt", line_for("anna", "new"))
    os.utime(other, ns=(before.st_atime_ns, before.st_mtime_ns))
    other.replace(path)
    clock.now += LOOK_S
    assert keys.find("new") is not None
    assert keys.find("old") is None


@pytest.mark.parametrize("broken", ["anna sha256:abc", "", None])
def test_a_broken_new_file_keeps_the_old_keys_and_is_logged_once(tmp_path, clock, caplog, broken):
    path = write(tmp_path / "keys.txt", line_for("anna", "old"))
    keys = Keys.read(path, clock=clock)
    if broken is None:
        path.unlink()
    else:
        write(path, broken)
    with caplog.at_level(logging.ERROR, logger="kosmos2.serve.keys"):
        for _ in range(3):
            clock.now += LOOK_S
            assert keys.find("old") is not None
    assert len(caplog.records) == 1
    assert "stay as they were" in caplog.text
    write(path, line_for("anna", "repaired"))
    clock.now += LOOK_S
    assert keys.find("repaired") is not None


def test_reload_does_not_wait_for_the_second_to_pass(tmp_path, clock):
    path = write(tmp_path / "keys.txt", line_for("anna", "old"))
    keys = Keys.read(path, clock=clock)
    write(path, line_for("anna", "new"))
    keys.reload()
    assert keys.find("new") is not None


def basic(text: bytes) -> bytes:
    return b"Basic " + base64.b64encode(text)


@pytest.mark.parametrize(
    ("name", "value", "key"),
    [
        (b"authorization", b"Bearer k", b"k"),
        (b"authorization", b"bearer   k ", b"k"),
        (b"authorization", basic(b"anybody:k"), b"k"),
        (b"authorization", basic(b":k:with:colons"), b"k:with:colons"),
        (b"x-moondream-auth", b"k", b"k"),
        (b"authorization", b"", None),
        (b"authorization", b"k", None),
        (b"authorization", b"Bearer", None),
        (b"authorization", b"Bearer ", None),
        (b"authorization", b"Bearerk", None),
        (b"authorization", b"Digest k", None),
        (b"authorization", b"Basic k", None),
        (b"authorization", b"Basic !!!!", None),
        (b"authorization", basic(b"no colon"), None),
        (b"authorization", basic(b"user:"), None),
        (b"x-moondream-auth", b" ", None),
        (b"proxy-authorization", b"Bearer k", None),
        (b"api-key", b"k", None),
    ],
)
def test_a_key_comes_in_one_of_three_ways(name, value, key):
    assert offered([(b"host", b"x"), (name, value)]) == key


@pytest.mark.parametrize("second", [b"authorization", b"x-moondream-auth"])
def test_two_keys_are_none_even_if_they_agree(second):
    assert offered([(b"authorization", b"Bearer k"), (second, b"Bearer k")]) is None


def test_only_a_browser_that_opens_a_page_is_asked_for_a_password():
    page = [(b"accept", b"text/html,application/xhtml+xml")]
    assert challenge("GET", page).startswith("Basic ")
    assert challenge("POST", page).startswith("Bearer ")
    assert challenge("GET", [(b"accept", b"*/*")]).startswith("Bearer ")
    assert challenge("GET", []).startswith("Bearer ")


def taken(rates: Rates, key: Key) -> str:
    try:
        with rates.taken(key):
            return "let in"
    except Refused as refused:
        return f"{refused.code}, {refused.retry_after_s} s"


def test_a_minutes_worth_may_be_used_at_once_and_then_goes_at_the_rate(clock):
    rates, key = Rates(clock), Key("anna", b"", per_minute=4)
    assert [taken(rates, key) for _ in range(5)] == ["let in"] * 4 + ["rate_limited, 15 s"]
    clock.now += 14
    assert taken(rates, key) == "rate_limited, 1 s"
    clock.now += 1
    assert [taken(rates, key) for _ in range(2)] == ["let in", "rate_limited, 15 s"]
    clock.now += 3600
    assert [taken(rates, key) for _ in range(5)][3:] == ["let in", "rate_limited, 15 s"]


def test_following_the_advice_is_always_enough(clock):
    for per_minute in (1, 7, 59, 60, 61, 1000):
        rates, key = Rates(clock), Key("anna", b"", per_minute=per_minute)
        for _ in range(3 * per_minute + 3):
            answer = taken(rates, key)
            if answer != "let in":
                clock.now += float(answer.split()[1])
                assert taken(rates, key) == "let in"


def test_one_key_does_not_use_anothers_rate(clock):
    rates = Rates(clock)
    anna, ben = Key("anna", b"", per_minute=1), Key("ben", b"", per_minute=1)
    assert taken(rates, anna) == "let in"
    assert taken(rates, ben) == "let in"
    assert taken(rates, anna).startswith("rate_limited")


def test_as_many_at_once_as_the_key_says_and_no_more(clock):
    rates, key = Rates(clock), Key("anna", b"", per_minute=100, concurrent=2)
    with rates.taken(key), rates.taken(key):
        assert taken(rates, key) == "concurrency_limited, 1 s"
        assert rates.running("anna") == 2
        assert taken(rates, Key("ben", b"", concurrent=1)) == "let in"
    assert taken(rates, key) == "let in"
    assert rates.running("anna") == 0


def test_a_request_that_breaks_gives_its_place_back(clock):
    rates, key = Rates(clock), Key("anna", b"", concurrent=1)
    with pytest.raises(LookupError), rates.taken(key):
        raise LookupError
    assert taken(rates, key) == "let in"


def test_refused_for_being_too_many_takes_nothing_of_the_rate(clock):
    rates, key = Rates(clock), Key("anna", b"", per_minute=2, concurrent=1)
    with rates.taken(key):
        for _ in range(10):
            assert taken(rates, key) == "concurrency_limited, 1 s"
    assert taken(rates, key) == "let in"


def test_a_lower_rate_counts_at_once_and_a_renewed_key_keeps_its_bucket(clock):
    rates = Rates(clock)
    with rates.taken(Key("anna", b"old", per_minute=60)):
        pass
    lower = Key("anna", b"new", per_minute=1)
    assert taken(rates, lower) == "let in"
    assert taken(rates, lower) == "rate_limited, 60 s"
