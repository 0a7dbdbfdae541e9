"""Whatever is taught reads back as it was meant, and only answers count."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data_kit import CAT, DOG, LETTERS, WORDS, config, tokenizer
from kosmos2 import prompts
from kosmos2.data.encoding import CORNERS, NOWHERE, encode, go_on, unilm_cells
from kosmos2.data.lesson import Lesson, Linked, Said
from kosmos2.data.sample import Span
from kosmos2.data.spans import parts_of
from kosmos2.geometry import SIDE, Box, box_of, cells_of
from kosmos2.images import Picture
from kosmos2.markup import DELIMITER, GROUNDING, IMAGE_END, OBJECT, PHRASE, parse
from kosmos2.processor import Processor
from kosmos2.prompts import PICTURE, Markup, Words

edges = st.lists(st.floats(0, 1), min_size=2, max_size=2, unique=True).map(sorted)
boxes = st.builds(lambda x, y: Box(x[0], y[0], x[1], y[1]), edges, edges)
words = st.one_of(st.sampled_from(WORDS.split()), st.text(LETTERS, min_size=1, max_size=6))


@st.composite
def captions(draw):
    """A text, and spans over words of it or over parts of words."""
    text = " ".join(draw(st.lists(words, min_size=1, max_size=8)))
    cuts = sorted(draw(st.sets(st.integers(0, len(text)), max_size=6)))
    spans = []
    for start, end in zip(cuts[::2], cuts[1::2], strict=False):
        phrase = text[start:end]
        if phrase.strip() == phrase:
            tied = tuple(draw(st.lists(boxes, min_size=1, max_size=3)))
            spans.append(Span(start, end, tied))
    return text, spans


def lesson(*said: Said, grounded: bool = True) -> Lesson:
    return Lesson(said, "test", grounded)


def taught(text, spans=()):
    return encode(lesson(Said(parts_of(text, spans), True)), tokenizer())


@settings(max_examples=100, deadline=None)
@given(captions())
def test_what_is_encoded_reads_back_as_the_words_and_the_boxes_within_a_cell(caption):
    text, spans = caption
    found = parse(tokenizer().decode(taught(text, spans).ids))
    assert found.problems == ()
    assert found.text == text
    assert [(e.start, e.end) for e in found.entities] == [(s.start, s.end) for s in spans]
    for entity, span in zip(found.entities, spans, strict=True):
        for box, true in zip(entity.boxes, span.boxes, strict=True):
            for one, other in zip(box.corners, true.corners, strict=True):
                assert abs(one - other) <= 1 / SIDE


@settings(max_examples=100, deadline=None)
@given(captions())
def test_tags_move_no_piece_of_a_text_whose_phrases_end_between_pieces(caption):
    text, spans = caption
    whole = tokenizer().encode(text, markup=False)
    pieces = [tokenizer().encode(text[:at], markup=False) for s in spans for at in (s.start, s.end)]
    tokens = taught(text, spans)
    plain = [id for id in tokens.ids[:-1] if id < tokenizer().tag("</doc>")]
    if all(whole[: len(before)] == before for before in pieces):
        assert plain == whole
    else:  # a boundary within a piece
        assert tokenizer().decode(plain) == tokenizer().decode(whole)


def test_words_that_go_on_keep_the_piece_they_have_in_the_whole():
    whole = tokenizer().encode("a dog's cup", markup=False)
    before = tokenizer().encode("a dog", markup=False)
    assert go_on(" a dog", "'s cup", tokenizer()) == whole[len(before) :]
    piece = tokenizer().backend.token_to_id
    # Within a piece (▁hot) pieces are chosen anew; what has no piece is not lost.
    assert go_on(" a ho", "td", tokenizer()) == [piece("t"), piece("d")]
    assert go_on(" a dog", "☃ cup", tokenizer()) == [tokenizer().unk, piece("▁cup")]


def test_a_grounded_text_is_the_released_form():
    spans = [Span(0, 5, (DOG,)), Span(10, 18, (DOG, CAT))]
    tokens = encode(
        lesson(
            Said((Markup(GROUNDING),), False),
            Said(parts_of("a dog and two cats.", spans), True),
        ),
        tokenizer(),
    )
    ids = [tokenizer().backend.id_to_token(id) for id in tokens.ids]
    places = [f"<patch_index_{cell:04d}>" for box in (DOG, CAT) for cell in cells_of(box)]
    assert ids == [
        *(GROUNDING, PHRASE, "▁a", "▁dog", "</phrase>", OBJECT, *places[:2], "</object>", "▁and"),
        *(PHRASE, "▁two", "▁cats", "</phrase>", OBJECT, *places[:2], DELIMITER, *places[2:]),
        *("</object>", ".", "</s>"),
    ]
    assert tokens.learnt == [False] + [True] * (len(ids) - 1)
    assert tokens.corners[6:8] == [
        (0.1 * SIDE, 0.2 * SIDE),
        (0.5 * SIDE, 0.6 * SIDE),
    ]
    assert all(
        (corner == NOWHERE) != id.startswith("<patch")
        for corner, id in zip(tokens.corners, ids, strict=True)
    )


def test_pitfall_6_no_lone_space_gets_between_a_tag_and_the_words_beside_it():
    lone = tokenizer().backend.token_to_id("▁")
    spans = [Span(0, 5, (DOG,)), Span(7, 14, (CAT,))]
    assert lone not in taught("a dog, two cat.", spans[:1]).ids
    assert lone not in taught("a dog, two cat.", spans).ids
    # As soon as words stand apart from the tag, another piece begins them.
    assert lone in tokenizer().encode("</object>.")


def test_pitfall_6_the_switch_stands_right_before_the_text():
    said = (Said((Markup(GROUNDING),), True), Said(parts_of(" a dog", [Span(1, 6, (DOG,))]), True))
    first = [tokenizer().backend.id_to_token(id) for id in encode(lesson(*said), tokenizer()).ids]
    assert first[:3] == [GROUNDING, PHRASE, "▁a"]
    plain = encode(lesson(Said(parts_of(" a dog", ()), True)), tokenizer()).ids
    assert tokenizer().backend.id_to_token(plain[0]) == "▁a"


def test_pitfall_4_an_edge_on_a_grid_line_moves_a_cell_between_the_two_corner_rules():
    on_lines = Box(0.25, 0.25, 0.5, 0.75)
    assert CORNERS["reference"](on_lines) == (8 * SIDE + 8, 23 * SIDE + 15)
    assert CORNERS["unilm"](on_lines) == (8 * SIDE + 8, 24 * SIDE + 16)
    assert CORNERS["unilm"](Box(0, 0, 1, 1)) == CORNERS["reference"](Box(0, 0, 1, 1)) == (0, 1023)


@given(boxes)
def test_the_two_corner_rules_agree_off_the_grid_lines(box):
    off_lines = all((edge * SIDE) % 1 for edge in (box.x2, box.y2)) and max(box.x2, box.y2) < 0.9999
    if off_lines:
        assert unilm_cells(box) == cells_of(box)


def test_pitfall_2_places_that_repeat_are_taught_although_three_in_a_row_may_not_be_written_twice():
    spans = [Span(0, 1, (DOG,)), Span(2, 3, (DOG,)), Span(4, 5, (DOG,))]
    tokens = taught("a b c", spans)
    assert sum(id in tokenizer().cells for id in tokens.ids) == 6
    assert all(tokens.learnt)


def test_pitfall_8_all_boxes_of_a_phrase_stand_in_their_order_behind_it():
    tokens = taught("two cats", [Span(0, 8, (CAT, DOG))])
    places = [tokenizer().cells.index(id) for id in tokens.ids if id in tokenizer().cells]
    assert places == [*cells_of(CAT), *cells_of(DOG)]


@pytest.mark.parametrize(
    "prompt",
    [
        prompts.caption(),
        prompts.caption(grounded=False, detailed=True),
        prompts.ground("a dog"),
        prompts.describe(DOG),
        prompts.ask("What is [this]?", boxes=[DOG]),
        prompts.ask("Where is the dog?", grounded=False),
    ],
    ids=lambda prompt: prompt.markup[:30],
)
def test_what_is_read_has_the_ids_that_generation_would_send(prompt):
    from PIL import Image

    sent = Processor(tokenizer(), config())(
        [prompt], [[Picture(Image.new("RGB", (9, 9)))]], look=False
    )
    tokens = encode(lesson(Said(prompt.parts, False)), tokenizer())
    assert sent.ids[0, config().latents + 3 :].tolist() == tokens.ids[:-1]
    assert tokens.learnt == [False] * (len(tokens) - 1) + [True]


def test_words_that_look_like_tags_stay_words():
    tokens = taught("a </s> <phrase> dog")
    assert tokens.ids.count(tokenizer().eos) == 1
    assert tokenizer().tag(PHRASE) not in tokens.ids


def test_without_grounding_links_are_plain_words_but_what_is_read_keeps_its_boxes():
    said = (
        Said((Linked(" It", (DOG,)), Words(" is")), False),
        Said((Linked(" a dog", (DOG,)),), True),
    )
    tokens = encode(lesson(*said, grounded=False), tokenizer())
    assert sum(id in tokenizer().cells for id in tokens.ids) == 2
    assert not any(
        learn and id in tokenizer().cells
        for id, learn in zip(tokens.ids, tokens.learnt, strict=True)
    )
    assert tokenizer().decode(tokens.ids).endswith("</object> is a dog")


def test_a_picture_among_words_is_read_and_never_learnt():
    said = Said((Words(" a"), PICTURE, Words(" dog")), True)
    tokens = encode(lesson(said), tokenizer(), latents=4)
    assert tokens.slots == [False] * 2 + [True] * 4 + [False] * 3
    assert tokens.learnt == [True] + [False] * 6 + [True] * 2
    assert tokens.ids[6] == tokenizer().tag(IMAGE_END)


def test_every_answer_teaches_its_end_and_only_the_last_end_stands_there():
    said = [
        Said((Words(f" {word}"),), learn)
        for word, learn in (("where", False), ("dog", True), ("is", False), ("cat", True))
    ]
    tokens = encode(lesson(*said), tokenizer())
    assert tokens.ids.count(tokenizer().eos) == 1
    assert tokens.ends == [1]


@settings(max_examples=60, deadline=None)
@given(captions(), st.integers(-3, 60))
def test_a_cut_takes_no_part_of_a_link_and_no_end(caption, most):
    tokens = taught(*caption)
    cut = tokens.cut(most)
    assert len(cut) <= max(most, 0)
    assert cut.ids == tokens.ids[: len(cut)]
    found = parse(tokenizer().decode(cut.ids))
    assert found.problems == ()
    assert (tokenizer().eos in cut.ids) == (len(cut) == len(tokens))
    # Nothing is given up without need: what comes next is a link, or there is no room for more.
    starts = {start for start, _ in tokens.whole}
    assert len(cut) == min(max(most, 0), len(tokens)) or len(cut) in starts


def test_boxes_are_found_again_in_cells_whatever_cells_they_came_from():
    for first, last in ((0, 0), (44, 863), (5, 911), (31, 31), (992, 1023)):
        assert cells_of(box_of(first, last)) == (first, last)
