"""Our extraction against the one of transformers, on text nobody would write."""

import os
import random

os.environ["HF_HUB_OFFLINE"] = "1"

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kosmos2.errors import MarkupError
from kosmos2.geometry import SIDE, Box, box_of, cells_of
from kosmos2.markup import SPECIALS, TAGS, reference_extract

theirs = pytest.importorskip(
    "transformers.models.kosmos2.processing_kosmos2", reason="transformers is the reference"
)

FRAGMENTS = [
    *TAGS,
    *SPECIALS,
    *("<phrase> a dog</phrase>", "<phrase>", "</phrase>", "<object>", "</object>") * 3,
    *(
        " ",
        "\n",
        "  ",
        "\u3000",
        "a",
        " dog",
        " é☃",
        "<",
        ">",
        "</",
        "<x>",
        "< y",
        "\x1f",
        "\u0663",
    ),
    "</phrase><object>",
    "<patch_index_0044><patch_index_0863>",
    "<patch_index_\u0661\u0662><patch_index_5>",
]


unhurried = settings(deadline=None)  # how fast is no part of these tests


def reference(text):
    """The body of post_process_generation, which needs no tokenizer."""
    return theirs.clean_text_and_extract_entities_with_bboxes(text.split("</image>")[-1])


def some_object(rng):
    pairs = [f"<patch_index_{rng.randrange(1100):04d}>" * 2 for _ in range(rng.randint(1, 3))]
    return f"<object>{'</delimiter_of_multi_objects/>'.join(pairs)}</object>"


def some_markup(rng):
    """Mostly nearly right: entities with something odd in, before or after them."""
    pieces = []
    for _ in range(rng.randint(0, 12)):
        draw = rng.random()
        if draw < 0.3:
            name = rng.choice([" a dog", "b", " ", "  c d ", " x\ny", " <b", "é"])
            pieces.append(f"<phrase>{name}</phrase>{some_object(rng)}")
        elif draw < 0.4:
            pieces.append(some_object(rng))
        else:
            pieces.append(rng.choice(FRAGMENTS))
    return "".join(pieces)


@pytest.mark.parametrize("seed", range(10))
def test_twenty_thousand_texts_are_extracted_as_in_the_reference(seed):
    rng = random.Random(seed)
    entities = 0
    for _ in range(2000):
        text = some_markup(rng)
        assert reference_extract(text) == reference(text), text
        entities += len(reference(text)[1])
    assert entities > 2000  # the texts are worth reading


@unhurried
@given(st.lists(st.sampled_from(FRAGMENTS) | st.text(max_size=5), max_size=25).map("".join))
def test_any_text_is_extracted_as_in_the_reference(text):
    assert reference_extract(text) == reference(text)


@unhurried
@given(st.integers(0, 5000), st.integers(0, 5000))
def test_two_cells_are_the_box_of_the_reference(first, last):
    assert box_of(first, last).corners == theirs.patch_index_to_coordinate(first, last, SIDE)


@unhurried
@given(*[st.floats(0, 1)] * 4)
def test_a_box_has_the_cells_of_the_reference(x1, y1, x2, y2):
    # Below a cell's 2**-53rd part the reference rounds into cell -1.
    if x1 < x2 and y1 < y2 and min(x2, y2) > 1e-15:
        expected = theirs.coordinate_to_patch_index((x1, y1, x2, y2), SIDE)
        assert cells_of(Box(x1, y1, x2, y2)) == expected


def test_absurd_numbers_raise_here_as_they_do_there():
    text = f"<object><patch_index_{'9' * 5000}><patch_index_1></object>"
    with pytest.raises(ValueError, match="digits"):
        reference(text)
    with pytest.raises(MarkupError, match="digits"):
        reference_extract(text)


@pytest.mark.parametrize(
    "text",
    [
        "<" * 100_000,
        "<object>" * 100_000,
        "<phrase> a</phrase><object><patch_index_1><patch_index_2></object>" * 20_000,
        "<object>" + "<patch_index_1><patch_index_2></delimiter_of_multi_objects/>" * 50_000,
        "<phrase>" + "a" * 500_000,
    ],
    ids=["angles", "objects", "entities", "delimiters", "phrase"],
)
def test_a_long_text_is_extracted_to_its_end(text):
    # The reference needs minutes for some of these.
    clean, entities = reference_extract(text)
    assert len(entities) == text.count("</object>")
    assert len(clean) <= len(text)
