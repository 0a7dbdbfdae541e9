"""However a text is broken, and however its stream is cut, the reading is the same and complete."""

import re

from hypothesis import given, settings
from hypothesis import strategies as st

from kosmos2.geometry import SIDE, box_of
from kosmos2.markup import (
    KINDS,
    SPECIALS,
    TAG,
    TAGS,
    Entity,
    Reader,
    cell_tag,
    gather,
    joined,
    location,
    parse,
    reference_extract,
    render,
)

cells = st.integers(0, 1100).map(lambda cell: f"<patch_index_{cell:04d}>")
blocks = st.lists(cells, min_size=1, max_size=3).map(
    lambda tags: f"<object>{''.join(tags)}</object>"
)
phrases = st.sampled_from(["<phrase> a dog</phrase>", "<phrase>☃ \n</phrase>", "<phrase>"])
broken = st.sampled_from(
    ["<", "</", "<p", "<patch_index_", "<patch_index_7", "12345678>", ">", "e>"]
)
words = st.sampled_from([" ", "\n", "a", " dog", " an image of ", "\u3000", "é", ".", "\x1f"])
fragments = st.one_of(
    st.sampled_from(TAGS + SPECIALS), cells, blocks, phrases, broken, words, st.text(max_size=4)
)
markups = st.lists(fragments, max_size=25).map("".join)
widths = st.lists(st.integers(0, 9), min_size=1, max_size=30)


unhurried = settings(deadline=None)  # how fast is no part of these tests


def cut(text, widths):
    """Pieces of these widths, over and over, some of them empty."""
    pieces, done, turn = [], 0, 0
    while done < len(text):
        width = widths[turn % len(widths)] or (turn >= len(widths))
        pieces.append(text[done : done + width])
        done, turn = done + width, turn + 1
    return pieces


def events(pieces):
    reader = Reader()
    read = [event for piece in pieces for event in reader.feed(*piece)]
    return joined([*read, *reader.close()])


@unhurried
@given(markups, widths)
def test_cutting_the_stream_changes_nothing(markup, widths):
    assert events((piece,) for piece in cut(markup, widths)) == events([(markup,)])


@unhurried
@given(markups)
def test_one_character_at_a_time_changes_nothing(markup):
    assert events((character,) for character in markup) == events([(markup,)])


@unhurried
@given(markups, widths, st.data())
def test_cutting_the_stream_changes_no_score(markup, widths, data):
    logprobs = st.none() | st.floats(-20, 0)
    tokens, done = [], 0
    for tag in TAG.finditer(markup):
        tokens.append((markup[done : tag.start()], None))
        is_location = location(tag[0]) is not None
        tokens.append((tag[0], data.draw(logprobs) if is_location else None))
        done = tag.end()
    tokens.append((markup[done:], None))
    pieces = []
    for text, logprob in tokens:
        whole = logprob is not None
        pieces += [(text, logprob)] if whole else [(piece,) for piece in cut(text, widths)]
    assert events(pieces) == events(tokens)


@unhurried
@given(markups)
def test_what_is_read_fits_together(markup):
    parsed = parse(markup)
    assert parsed.text == parsed.text.strip()
    done = 0
    for entity in parsed.entities:
        assert done <= entity.start <= entity.end <= len(parsed.text)
        assert parsed.text[entity.start : entity.end] == entity.phrase == entity.phrase.strip()
        assert entity.boxes
        assert all(0 <= box.x1 < box.x2 <= 1 and 0 <= box.y1 < box.y2 <= 1 for box in entity.boxes)
        done = entity.end
    assert {problem.kind for problem in parsed.problems} <= KINDS.keys()
    assert all(0 <= problem.at < len(markup) for problem in parsed.problems)


@unhurried
@given(markups)
def test_no_word_is_lost(markup):
    assert "".join(parse(markup).text.split()) == "".join(TAG.sub("", markup).split())


@unhurried
@given(markups)
def test_every_location_is_in_a_box_or_in_a_problem(markup):
    parsed = parse(markup)
    boxed = 2 * sum(len(entity.boxes) for entity in parsed.entities)
    blamed = 0
    for problem in parsed.problems:
        if problem.kind == "lone_location":
            blamed += 1
        elif problem.kind == "inverted_box":
            blamed += 2
        elif problem.kind == "odd_locations":
            blamed += int(re.search(r"here are (\d+)", problem.detail)[1])
    unknown = [tag for tag in TAG.findall(markup) if (location(tag) or 0) > 1023]
    known = sum(location(tag) is not None for tag in TAG.findall(markup))
    if not unknown:
        assert boxed + blamed == known


@unhurried
@given(st.text())
def test_any_text_at_all_is_read(text):
    assert "".join(parse(text).text.split()) == "".join(TAG.sub("", text).split())


plain = st.text(st.sampled_from("ab é☃\n.<>"), max_size=8)
pairs = st.tuples(*[st.integers(0, SIDE - 1)] * 4).map(
    lambda c: box_of(
        min(c[1], c[3]) * SIDE + min(c[0], c[2]), max(c[1], c[3]) * SIDE + max(c[0], c[2])
    )
)


@st.composite
def grounded(draw, between=plain, named=False):
    """A clean text and entities that fit it, as reading would give them."""
    text, entities = draw(between).lstrip(), []
    for _ in range(draw(st.integers(0, 4))):
        phrase = draw(between).strip()
        if named and not phrase:
            phrase = "b"
        if not phrase:
            text = text.rstrip()
        boxes = tuple(draw(st.lists(pairs, min_size=1, max_size=3)))
        entities.append(Entity(phrase, len(text), len(text) + len(phrase), boxes))
        after = draw(between)
        text += phrase + (after if phrase or text else after.lstrip())
    text = text.rstrip()
    return text, tuple(entities)


@unhurried
@given(grounded())
def test_what_was_written_is_read_again(value):
    text, entities = value
    parsed = parse(render(text, entities))
    unnamed = [entity for entity in entities if not entity.phrase]
    assert (parsed.text, parsed.entities) == (text, entities)
    assert [problem.kind for problem in parsed.problems] == ["box_without_phrase"] * len(unnamed)


@unhurried
@given(markups)
def test_what_was_read_is_written_and_read_the_same(markup):
    parsed = parse(markup)
    if not TAG.search(parsed.text):  # removing a tag can leave words that look like one
        again = parse(render(parsed.text, parsed.entities))
        assert (again.text, again.entities) == (parsed.text, parsed.entities)


@unhurried
@given(grounded(between=st.text(st.sampled_from("ab é☃\n."), max_size=8), named=True))
def test_well_formed_markup_reads_as_in_the_reference(value):
    markup = render(*value)
    parsed = parse(markup, strict=True)
    ours = [(e.phrase, (e.start, e.end), [box.corners for box in e.boxes]) for e in parsed.entities]
    assert (parsed.text, ours) == reference_extract(markup)


@unhurried
@given(st.lists(st.integers(0, 1023), max_size=6))
def test_gathering_the_events_of_a_stream_is_parsing(numbers):
    markup = "".join(f"<phrase> {n}</phrase><object>{cell_tag(n) * 2}</object>" for n in numbers)
    assert gather(events([(markup,)])) == parse(markup, strict=True)
