"""The reader: scores, what a stream shows and when, and every way to get the grammar wrong."""

import math
from pathlib import Path

import pytest

from kosmos2.errors import MarkupError
from kosmos2.geometry import Box, box_of
from kosmos2.markup import (
    DELIMITER,
    KINDS,
    TAGS,
    Entity,
    Problem,
    Reader,
    Text,
    cell_tag,
    joined,
    parse,
)

A, B = cell_tag(44), cell_tag(863)
BOX = box_of(44, 863)
DOCS = Path(__file__).parents[2] / "docs" / "markup.md"

# markup, kind of the problem, its place, our text, phrases of the entities
ODD = [
    ("a</phrase> b", "stray_tag", 1, "a b", []),
    ("a</object> b", "stray_tag", 1, "a b", []),
    (f"a{DELIMITER} b", "stray_tag", 1, "a b", []),
    ("a<image> b", "stray_tag", 1, "a b", []),
    ("a<unk> b", "stray_tag", 1, "a b", []),
    (f"a{A} b", "lone_location", 1, "a b", []),
    ("<phrase> a dog runs", "unclosed_phrase", 0, "a dog runs", []),
    (f"<phrase> a dog<object>{A}{B}</object> x", "unclosed_phrase", 0, "a dog x", ["a dog"]),
    (f"<phrase> a<phrase> b</phrase><object>{A}{B}</object>", "unclosed_phrase", 0, "a b", ["b"]),
    ("a<phrase> </phrase> b", "empty_phrase", 1, "a  b", []),
    ("<phrase> a</phrase> b", "phrase_without_box", 0, "a b", []),
    ("see<phrase> a</phrase>", "phrase_without_box", 3, "see a", []),
    (f"at<object>{A}{B}</object> x", "box_without_phrase", 2, "at x", [""]),
    (f"<phrase> a</phrase><object>{A}{B} x", "unclosed_object", 19, "a x", ["a"]),
    (f"<phrase> a</phrase><object>{A}{B}", "unclosed_object", 19, "a", ["a"]),
    ("a<object></object>", "empty_object", 1, "a", []),
    (f"a<object>{A}</object>", "odd_locations", 9, "a", []),
    (f"a<object>{A}{B}{A}{B}</object>", "odd_locations", 9, "a", []),
    (f"a<object>{A}<patch_index_1024></object>", "unknown_location", 27, "a", []),
    (f"a<object>{B}{A}</object>", "inverted_box", 9, "a", []),
    (f"a<object>{cell_tag(1)}{cell_tag(0)}</object>", "inverted_box", 9, "a", []),
]


@pytest.mark.parametrize(("markup", "kind", "at", "text", "phrases"), ODD)
def test_a_mistake_is_reported_where_it_stands_and_reading_goes_on(markup, kind, at, text, phrases):
    parsed = parse(markup)
    assert [(problem.kind, problem.at) for problem in parsed.problems] == [(kind, at)]
    assert parsed.text == text
    assert [entity.phrase for entity in parsed.entities] == phrases
    with pytest.raises(MarkupError, match=kind) as error:
        parse(markup, strict=True)
    assert error.value.at == at


def test_every_kind_of_problem_is_shown_above_and_in_the_docs():
    assert {row[1] for row in ODD} == set(KINDS)
    if not DOCS.is_file():
        pytest.skip("docs/ is not beside these tests")
    words = DOCS.read_text(encoding="utf-8")
    assert [kind for kind in KINDS if f"`{kind}`" not in words] == []


def test_one_bad_box_does_not_spoil_the_others():
    parsed = parse(f"<phrase> a</phrase><object>{A}{B}{DELIMITER}{B}{A}{DELIMITER}{A}{A}</object>")
    assert parsed.entities == (Entity("a", 0, 1, (BOX, box_of(44, 44))),)
    assert [problem.kind for problem in parsed.problems] == ["inverted_box"]


def test_text_without_mistakes_reads_strictly():
    markup = f"<grounding> An image of<phrase> a snowman</phrase><object>{A}{B}</object>."
    parsed = parse(markup, strict=True)
    assert parsed.text == "An image of a snowman."
    assert parsed.entities == (Entity("a snowman", 12, 21, (BOX,)),)


def test_a_stream_shows_words_and_entities_as_soon_as_they_are_certain():
    reader = Reader()
    assert reader.feed("<grounding>") == []
    assert reader.feed(" An") == [Text("An")]
    assert reader.feed(" image of") == [Text(" image of")]
    assert reader.feed(" ") == []
    assert reader.feed("<phrase>") == []
    assert reader.feed(" a snow") == [Text("  a snow")]
    assert reader.feed("man") == [Text("man")]
    assert reader.feed("</phrase>") == reader.feed("<object>") == []
    assert reader.feed(A, math.log(0.5)) == reader.feed(B, math.log(0.125)) == []
    [entity] = reader.feed("</object>")
    assert (entity.phrase, entity.start, entity.end) == ("a snowman", 13, 22)
    assert entity.boxes[0].score == pytest.approx(0.25)
    assert reader.feed(". ") == [Text(".")]
    assert reader.close() == []


def test_the_score_is_the_geometric_mean_of_two_location_probabilities():
    def score(*logprobs):
        reader = Reader()
        pieces = [("<object>", -1.0), (A, logprobs[0]), (B, logprobs[1]), ("</object>", -2.0)]
        events = [event for piece, logprob in pieces for event in reader.feed(piece, logprob)]
        return next(event for event in events if isinstance(event, Entity)).boxes[0].score

    assert score(math.log(0.9), math.log(0.4)) == pytest.approx(0.6)
    assert score(0.0, 0.0) == 1.0
    assert score(-math.inf, 0.0) == 0.0
    assert score(None, -0.1) is score(-0.1, None) is score(None, None) is None


def test_a_log_probability_counts_only_for_a_whole_location():
    reader = Reader()
    for piece in ("<object>", A[:5], A[5:], B + "</object>"):
        events = reader.feed(piece, -0.5)
    assert events[-1].boxes == (Box(*BOX.corners, None),)


def test_whitespace_between_the_tags_of_an_entity_means_nothing():
    spaced = f"see<phrase> a dog </phrase> \n<object> {A} {B} {DELIMITER} {B} {B} </object>  run"
    tight = f"see<phrase> a dog</phrase><object>{A}{B}{DELIMITER}{B}{B}</object>  run"
    assert parse(spaced).entities == parse(tight).entities
    assert parse(tight).text == "see a dog  run"
    assert parse(spaced).text == "see a dog   run"  # one space stands inside the phrase


@pytest.mark.parametrize("text", ["a < b", "<", "<<phrase", "a <b> c", "<patch_index_>", "x</obj"])
def test_an_angle_that_begins_no_known_tag_is_text(text):
    assert parse(text, strict=True).text == text


def test_a_location_may_be_written_without_zeros():
    assert parse("<object><patch_index_44><patch_index_863></object>").entities[0].boxes == (BOX,)
    assert parse("<patch_index_123456789>").text == "<patch_index_123456789>"


def test_frame_tags_leave_no_trace_except_inside_an_entity():
    assert parse("<s><grounding> a</s><pad><pad>").problems == ()
    assert parse("<phrase> a<grounding></phrase>").problems[0].kind == "stray_tag"
    assert parse(f"<object>{A}<pad>{B}</object>").entities[0].boxes == (BOX,)


def test_a_closed_reader_says_so():
    reader = Reader()
    reader.feed("a")
    reader.close()
    assert reader.close() == []
    with pytest.raises(MarkupError, match="closed"):
        reader.feed("b")


def test_joined_makes_neighbouring_words_one():
    problem = Problem("stray_tag", 1, "")
    assert joined([Text("a"), Text(" b"), problem, Text("c")]) == [
        Text("a b"),
        problem,
        Text("c"),
    ]


def test_tags_stand_in_the_order_of_their_ids():
    assert (len(TAGS), TAGS[0], TAGS[5], TAGS[-1]) == (11, "</doc>", "<phrase>", "<grounding>")


@pytest.mark.parametrize(
    "unit",
    [
        "<",
        "<object>",
        "<phrase>",
        "<phrase> a</phrase>",
        f"<object>{A}{B}",
        f"{A}",
        f"{DELIMITER}",
        " ",
        "</object>",
        "<patch_index_",
        f"<phrase> a</phrase><object>{A}{B}</object>",
    ],
)
def test_a_long_and_broken_text_is_read_to_its_end(unit):
    # A quadratic reader would need minutes for each of these.
    times = min(100_000, 1_000_000 // len(unit))
    markup = unit * times
    parsed = parse(markup)
    streamed = Reader()
    pieces = [streamed.feed(unit) for _ in range(times)]
    events = [event for piece in [*pieces, streamed.close()] for event in piece]
    assert "".join(event.text for event in events if isinstance(event, Text)) == parsed.text
    assert sum(isinstance(event, Problem) for event in events) == len(parsed.problems)
