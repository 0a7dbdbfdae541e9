"""The strict reader of bodies, against documents that readers have disagreed about."""

from __future__ import annotations

import json
import time

import pytest

pytest.importorskip("fastapi", reason="the server is an extra: pip install kosmos2[serve]")

from hypothesis import given
from hypothesis import strategies as some

from hostile import documents
from kosmos2.serve.bodies import DEPTH, SYMBOLS, check_json
from kosmos2.serve.failures import Refused


def refused(data: bytes) -> bool:
    try:
        check_json(data)
    except Refused as error:
        return error.code == "invalid_json"
    return False


BROKEN, WHOLE = list(documents.broken()), list(documents.whole())


@pytest.mark.parametrize("data", [d for _, d in BROKEN], ids=[name for name, _ in BROKEN])
def test_what_is_broken_is_refused(data):
    assert refused(data)


@pytest.mark.parametrize("data", [d for _, d in WHOLE], ids=[name for name, _ in WHOLE])
def test_what_is_whole_is_read_as_everybody_reads_it(data):
    assert check_json(data) == json.loads(data)


texts = some.text(max_size=8).filter(lambda text: all(not 0xD800 <= ord(c) < 0xE000 for c in text))
numbers = some.integers(-(10**19), 10**19) | some.floats(allow_nan=False, allow_infinity=False)
documents_of_all_kinds = some.recursive(
    some.none() | some.booleans() | numbers | texts,
    lambda inner: some.lists(inner, max_size=4) | some.dictionaries(texts, inner, max_size=4),
    max_leaves=12,
)


@given(documents_of_all_kinds, some.booleans())
def test_whatever_was_written_is_read_back(document, escaped):
    data = json.dumps(document, ensure_ascii=escaped).encode()
    assert check_json(data) == document


@given(
    some.binary(max_size=40)
    | some.text(alphabet='[]{}":,0-.eE\\u dntf', max_size=40).map(str.encode)
)
def test_any_bytes_are_read_or_refused(data):
    """And what we read, a reader that is known to be lenient reads the same way."""
    if not refused(data):
        assert check_json(data) == json.loads(data)


@pytest.mark.parametrize("opening", [(b"[", b"]"), (b'{"a":', b"}")])
@pytest.mark.parametrize("inside", [b"", b"1", b'"x"'])
def test_depth_is_counted_the_same_for_lists_and_objects(opening, inside):
    begin, end = opening
    inside = inside or (b"[]" if begin == b"[" else b"{}")
    deep = DEPTH - (inside in (b"[]", b"{}"))
    assert not refused(begin * deep + inside + end * deep)
    assert refused(begin * (deep + 1) + inside + end * (deep + 1))


def test_wide_is_not_deep():
    assert not refused(b"[" + b",".join([b"[[[]]]"] * 1000) + b"]")


def test_brackets_and_commas_of_texts_count_as_symbols_too_but_few_are_refused():
    assert not refused(json.dumps({"a": "," * (SYMBOLS - 1)}).encode())
    assert refused(json.dumps({"a": "," * SYMBOLS}).encode())


@pytest.mark.parametrize("number", ["1" * 21, "-" + "1" * 21, "1e309", "-1e309", "1." + "1" * 64])
def test_numbers_beyond_use_are_refused(number):
    assert refused(f"[{number}]".encode())


@pytest.mark.parametrize("number", ["1" * 20, "-" + "1" * 20, "1e308", "5e-324", "0.1", "-0.0"])
def test_numbers_of_use_are_not(number):
    assert check_json(f"[{number}]".encode()) == [json.loads(number)]


def test_a_pair_of_halves_is_one_character_and_half_is_none():
    assert check_json(rb'["\ud83d\ude00"]') == ["\U0001f600"]
    assert check_json(rb'["\\ud83d"]') == [r"\ud83d"]
    for half in (rb'["\ud83d"]', rb'{"\ude00": 1}', rb'[[[{"a": ["x\ud83dx"]}]]]'):
        assert refused(half)


def test_a_large_picture_is_read_without_looking_at_each_letter(monkeypatch):
    """Work is counted, not time: the one loop in Python sees values, not characters."""
    seen = []
    monkeypatch.setattr("kosmos2.serve.bodies._check_text", seen.append)
    url = "data:image/png;base64," + "A" * (10 * 2**20)
    begun = time.process_time()
    assert check_json(json.dumps({"url": url, "x": "é"}).encode()) == {"url": url, "x": "é"}
    assert time.process_time() - begun < 30  # a failure only
    assert len(seen) <= 1
