"""What the server and the engine's process say to each other comes out as it went in."""

from __future__ import annotations

import dataclasses
import json
import math

import numpy as np
import pytest

pytest.importorskip("fastapi", reason="the server's libraries are an extra")

from kosmos2.engine import Cancelled, Grammar, Late, NoRepeat, Request, Tags, Token
from kosmos2.errors import Busy, ConfigError, EngineError, ImageError, InputError, PromptError
from kosmos2.geometry import Box
from kosmos2.grounder import Located
from kosmos2.options import Options
from kosmos2.serve.engines import wire

TAGS = Tags(
    phrase=1, phrase_end=2, object=3, object_end=4, delimiter=5, locations=range(10, 74), columns=8
)
# Every setting differs from its default.
OPTIONS = Options(
    max_new_tokens=7, min_new_tokens=2, temperature=0.5, top_p=0.9, top_k=3, length_penalty=0.5,
    no_repeat_ngram_size=4, seed=11, stop=("a", "ü"), grammar=True, max_boxes=2, every=True,
    min_score=0.25, min_presence=0.4, top_logprobs=3,
)  # fmt: skip
REQUEST = Request(
    prompt=(0, 5, 6, 7),
    eos=2,
    pad=1,
    locations=range(10, 74),
    slots=(False, True, True, False),
    prefix_key=(("one", "two"), (-(2**62), "anna")),
    prefix_length=3,
    options=OPTIONS,
    stop_ids=frozenset({4, 9}),
    no_repeat_ngram_size=3,
    filters=(
        Grammar(tags=TAGS, stops={2, 4}, limit=7, max_boxes=2, more_above=1e-4, min_presence=0.4),
    ),
    own_logprobs=True,
    deadline_s=1.5,
)


def sent(note: dict) -> dict:
    return wire.unpack(wire.pack(note))[0]


def test_a_request_is_the_same_on_the_other_side():
    found = wire.request_of_note(sent(wire.note_of_request(REQUEST)), TAGS)
    for field in dataclasses.fields(Request):
        assert getattr(found, field.name) == getattr(REQUEST, field.name), field.name
        if field.name not in ("prompt", "eos", "pad", "locations", "latents"):
            assert getattr(found, field.name) != field.default, "the test would see no loss"
    for one in dataclasses.fields(Options):
        if one.name != "beams":  # those are searched, not streamed
            assert getattr(found.options, one.name) != one.default, one.name
    assert hash(found.prefix_key) == hash(REQUEST.prefix_key)


def test_rules_that_others_do_not_know_do_not_travel():
    request = dataclasses.replace(REQUEST, filters=(NoRepeat(3),))
    with pytest.raises(EngineError, match="NoRepeat"):
        wire.note_of_request(request)


@pytest.mark.parametrize(
    "token",
    [
        Token(id=3, logprob=-0.1),
        Token(id=40, logprob=-1 / 3, location_logprob=-math.pi, finish="stop"),
        Token(id=5, logprob=-math.inf, finish="length", top=((5, -0.1), (6, -2 / 3))),
    ],
)
def test_a_token_keeps_every_digit(token):
    note = sent({"token": wire.sent_of_token(token)})
    assert wire.token_of_sent(note["token"]) == token


@pytest.mark.parametrize("kind", [np.float32, np.uint8])
@pytest.mark.parametrize("shape", [(2, 3, 4, 4), (0, 5), (1,)])
def test_an_array_comes_whole(shape, kind):
    array = (100 * np.random.default_rng(0).random(size=shape)).astype(kind)
    note, found = wire.unpack(wire.pack({"do": "look", "number": 3}, array))
    assert note["do"] == "look"
    assert (found.shape, found.dtype) == (shape, kind)
    assert np.array_equal(found, array)
    assert found.flags.writeable
    turned = np.ascontiguousarray(array).T
    assert np.array_equal(wire.unpack(wire.pack({}, turned))[1], turned)


@pytest.mark.parametrize(
    "kind", [Busy, Cancelled, ConfigError, EngineError, InputError, Late, PromptError]
)
def test_an_error_keeps_its_kind_and_words(kind):
    found = wire.error_of_note(sent({"error": wire.note_of_error(kind("so it is"))})["error"])
    assert type(found) is kind
    assert str(found) == "so it is"


def test_other_errors_become_the_nearest_that_is_known():
    found = wire.error_of_note(wire.note_of_error(ImageError("not a picture")))
    assert type(found) is InputError
    found = wire.error_of_note(wire.note_of_error(ZeroDivisionError("1/0")))
    assert type(found) is EngineError
    assert str(found) == "ZeroDivisionError: 1/0"


def test_where_a_phrase_may_be_is_the_same_on_the_other_side():
    found = Located(
        phrase="a dog",
        boxes=(Box(0.1, 0.2, 1 / 3, 0.4, 0.5), Box(0.0, 0.0, 1.0, 1.0)),
        presence=2 / 3,
        heat=((0.1, 0.2), (0.3, 1 / 7)),
    )
    assert wire.located_of_note(sent({"it": wire.note_of_located(found)})["it"]) == found


def test_a_message_that_is_none_is_an_error():
    with pytest.raises(json.JSONDecodeError):
        wire.unpack(b"\0\0\0\4abcd")
