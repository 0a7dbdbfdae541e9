"""Harnesses that ask for boxes in their own words get them in the form that they read."""

from __future__ import annotations

import pytest

pytest.importorskip("fastapi", reason="the server needs the serve extra")

from kosmos2.dialects import DIALECTS
from kosmos2.serve.harnesses import READ_AS, recognise

LMMS_EVAL = (
    "Locate every object that matches the description {} in the image. "
    "Report bbox coordinates in JSON format."
)
VLMEVALKIT = (
    "Please provide the bounding box coordinate of the region this sentence describes: "
    "<ref>{}</ref>"
)


@pytest.mark.parametrize(
    ("text", "name", "phrases"),
    [
        (LMMS_EVAL.format('"a cat"'), "lmms-eval", ("a cat",)),
        (LMMS_EVAL.format('"a cat", "the dog to its left"'), "lmms-eval",
         ("a cat", "the dog to its left")),
        (LMMS_EVAL.format('"a sign that says "stop""'), "lmms-eval",
         ('a sign that says "stop"',)),
        (VLMEVALKIT.format("the man in red"), "VLMEvalKit", ("the man in red",)),
        (f"\n{VLMEVALKIT.format(' a cat ')}\n", "VLMEvalKit", ("a cat",)),
    ],
)  # fmt: skip
def test_their_prompts_are_known_word_for_word(text, name, phrases):
    found = recognise(text)
    assert found is not None
    assert (found.name, found.phrases) == (name, phrases)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "Locate every object in the image.",
        f"Is this nonsense: {VLMEVALKIT.format('a cat')}?",
        LMMS_EVAL.format('""'),
        LMMS_EVAL.format('"a", " "'),
        VLMEVALKIT.format("  "),
    ],
)
def test_other_words_are_not_taken_for_theirs(text):
    assert recognise(text) is None


def test_the_form_they_read_is_one_that_can_be_written():
    assert READ_AS in DIALECTS


def test_an_endless_prompt_takes_no_time_to_be_passed_over():
    # Each of these would be read over and over by a pattern that looks back.
    assert recognise('Locate every object that matches the description "' + '", "' * 10_000) is None
    assert recognise("<ref>" * 10_000) is None
