"""Rows by position: the same wherever they are made, and what cannot be used is told."""

import pickle
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from data_kit import CAT, DOG, Shelf, config, learnt, objects, pair, picture, prepared, read
from data_kit import tokenizer as small_tokenizer
from kosmos2.data.mixture import Mixture
from kosmos2.data.prepared import Prepared
from kosmos2.data.rows import Row
from kosmos2.data.sample import Picture, Sample, Span, Turn
from kosmos2.data.transforms import see
from kosmos2.data.wording import Wording
from kosmos2.errors import DataError
from kosmos2.geometry import SIDE, Box, cells_of
from kosmos2.markup import parse


def same(one: Row, other: Row) -> bool:
    return all(
        np.array_equal(a, b) if isinstance(a, np.ndarray) else a == b
        for a, b in ((getattr(one, name), getattr(other, name)) for name in Row.__slots__)
    )


def boxes(row: Row, segment: int = 1) -> list[Box]:
    return [box for found in parse(read(row, segment)).entities for box in found.boxes]


DOGS = pair("a dog and a cat", Span(0, 5, (DOG,)), Span(10, 15, (CAT,)))
LABELS = objects(dog=[DOG], cat=[CAT, Box(0.0, 0.0, 0.2, 0.2)])


def test_a_row_is_a_function_of_its_position_in_any_process():
    rows = prepared(DOGS, LABELS, classes=["dog", "cat", "cup"], flip=0.5)
    other = pickle.loads(pickle.dumps(rows))
    assert all(same(rows[at], other[at]) for at in (7, 2, 2, 31))
    again = prepared(DOGS, LABELS, classes=["dog", "cat", "cup"], flip=0.5, seed=6)
    assert not all(same(rows[at], again[at]) for at in range(8))


def test_every_epoch_teaches_a_sample_anew():
    rows = prepared(LABELS, classes=["dog", "cat", "cup"])
    assert len(rows) == 1
    assert len({rows[epoch].ids.tobytes() for epoch in range(6)}) > 1


def test_pixels_are_what_the_transform_sees():
    wide = picture(80, 40)
    for how in ("squash", "crop"):
        row = prepared(pair("a dog", seen=wide), transform=how)[0]
        expected = see(wide.open(), config().vision.image_size, how).pixels
        assert np.array_equal(row.pixels, expected[None])


def test_boxes_go_with_the_picture_when_it_is_cropped():
    wide = picture(80, 40)
    edge = Box(0.0, 0.0, 0.2, 0.5)  # beyond what is seen
    sample = pair("a dog and a cat", Span(0, 5, (edge,)), Span(10, 15, (CAT,)), seen=wide)
    row = prepared(sample, transform="crop", boxes_share=1.0)[0]
    (found,) = boxes(row)
    place = see(wide.open(), 30, "crop").place(CAT)
    assert place is not None
    assert cells_of(found) == cells_of(place)
    assert read(row, 1).count("<phrase>") == 1


def test_what_is_out_of_sight_is_neither_there_nor_absent():
    wide = picture(80, 40)
    sample = objects(wide, cup=[Box(0.0, 0.0, 0.2, 0.5)], dog=[Box(0.4, 0.1, 0.6, 0.9)])
    rows = prepared(sample, classes=["cup", "dog"], transform="crop", negatives=0.9)
    assert all("cup" not in read(rows[at], seg + 1) for at in range(20)
               for seg in range(len(rows[at].kinds)))  # fmt: skip


def test_no_class_that_is_there_is_ever_said_to_be_absent():
    rows = prepared(LABELS, classes=["dog", "cat", "cup", "fire"], negatives=0.8)
    absent = {
        read(row, segment)
        for row in map(rows.__getitem__, range(40))
        for segment, kind in enumerate(row.kinds, start=1)
        if kind == "absent"
    }
    assert absent
    assert not any("dog" in text or "cat" in text for text in absent)


def test_mirroring_mirrors_picture_and_boxes():
    row = prepared(DOGS, flip=1.0, boxes_share=1.0)[0]
    plain = prepared(DOGS, boxes_share=1.0)[0]
    assert np.array_equal(row.pixels, see(picture().open(), 30, mirrored=True).pixels[None])
    for one, other in zip(boxes(row), boxes(plain), strict=True):
        assert one.x1 == pytest.approx(1 - other.x2, abs=1 / SIDE)
        assert (one.y1, one.y2) == (other.y1, other.y2)


def test_a_text_with_sides_keeps_its_picture_unless_told_to_swap_them():
    sample = pair("a dog left of a cat", Span(0, 5, (DOG,)))
    kept = prepared(sample, flip=1.0)[0]
    assert np.array_equal(kept.pixels, see(picture().open(), 30).pixels[None])
    swapped = prepared(sample, flip=1.0, flip_words=True, boxes_share=0.0)[0]
    assert learnt(swapped, 1) == "a dog right of a cat"
    assert np.array_equal(swapped.pixels, see(picture().open(), 30, mirrored=True).pixels[None])


def test_a_class_with_a_side_keeps_every_picture_of_its_source():
    rows = prepared(LABELS, classes=["dog", "cat", "left hand"], flip=1.0)
    assert np.array_equal(rows[0].pixels, see(picture().open(), 30).pixels[None])
    assert rows[0].name == "objects:0"


def test_rows_that_cannot_be_used_give_way_and_are_told():
    damaged = pair("a dog", seen=Picture(b"no picture", name="torn.jpg"))
    half = pair("half of \ud800 a character")
    rows = prepared(None, damaged, half, DOGS)
    row = rows[0]
    assert row.name == "pairs:0"
    assert [bad.name for bad in row.bad] == ["shelf:0", "pairs:0", "pairs:0"]
    assert "torn.jpg" in row.bad[1].why
    assert "U+D800" in row.bad[2].why
    assert rows[3].bad == ()


def test_a_picture_without_labels_teaches_what_is_absent_or_gives_way_unblamed():
    (kind,) = prepared(objects(), classes=["dog"])[0].kinds
    assert kind == "absent"
    row = prepared(objects(), LABELS)[0]
    assert row.bad == ()
    assert "find" in row.kinds


def test_nothing_but_rubbish_is_an_error_that_names_it():
    with pytest.raises(DataError, match=r"shelf: 2 rows .* cannot be used; shelf:0: torn out"):
        _ = prepared(None, None)[0]
    half = pair("half of \ud800 a character")
    with pytest.raises(DataError, match=r"shelf: 2 rows .* be used; pairs:0: .*U\+D800"):
        _ = prepared(half, half)[0]
    with pytest.raises(DataError, match=r"shelf: 1 rows .* be used; nothing is labelled in any"):
        _ = prepared(objects())[0]


def test_pictures_of_a_document_are_in_the_order_it_shows_them():
    first, second = picture(seed=1), picture(seed=2)
    turns = (Turn("a dog", picture=1), Turn("a cat", picture=0))
    row = prepared(Sample("page", "interleaved", turns, (first, second)))[0]
    expected = [see(one.open(), 30).pixels for one in (second, first)]
    assert np.array_equal(row.pixels, np.stack(expected))
    assert row.slots.sum() == 2 * config().latents


def test_boxes_of_a_document_lie_on_the_picture_shown_last():
    wide, square = picture(80, 40), picture(40, 40)
    middle = Box(0.25, 0.0, 0.75, 1.0)
    turns = (Turn("a dog", (Span(0, 5, (middle,)),), picture=0),
             Turn("a cat", (Span(0, 5, (middle,)),), picture=1))  # fmt: skip
    sample = Sample("page", "interleaved", turns, (wide, square))
    row = prepared(sample, transform="crop", boxes_share=1.0)[0]
    on_wide, on_square = boxes(row)
    assert cells_of(on_wide) == (0, 1023)
    assert cells_of(on_square) == cells_of(middle)


def test_a_document_is_cut_to_the_room_and_keeps_whole_pictures():
    turns = tuple(Turn("a dog and a cat " * 5, picture=number) for number in range(20))
    sample = Sample("page", "interleaved", turns, tuple(picture(seed=n) for n in range(20)))
    row = prepared(sample, most_tokens=10_000)[0]
    assert len(row.ids) <= config().text.positions
    assert row.slots.sum() == len(row.pixels) * config().latents
    assert 1 < len(row.pixels) < 20
    short = prepared(sample, most_tokens=20)[0]
    assert 0 < len(short.pixels) <= len(row.pixels)
    assert len(short.ids) < len(row.ids)


def test_a_long_caption_is_cut_before_the_link_that_does_not_fit():
    text = "a dog " * 30 + "and a cat"
    sample = pair(text, Span(len(text) - 5, len(text), (CAT,)))
    row = prepared(sample, most_tokens=64, boxes_share=1.0)[0]
    assert "<phrase>" not in read(row, 1)
    assert learnt(row, 1).endswith("and")
    assert "</s>" not in read(row, 1)


def test_words_alone_make_a_row_without_pictures():
    row = prepared(Sample("text", "text", (Turn("a dog and a cat"),)))[0]
    assert row.pixels.shape == (0, 30, 30, 3)
    assert learnt(row, 1) == "a dog and a cat"


def test_each_source_has_a_wording_of_its_own():
    shelves = [Shelf([DOGS]), Shelf([LABELS], ("dog", "cat"))]
    wordings = [Wording(boxes_share=0.0), Wording(lessons=("find",))]
    mixture = Mixture(shelves, [1.0, 1.0], seed=0)
    rows = Prepared(mixture, wordings, config(), small_tokenizer(), seed=0)
    kinds = {(rows[at].name, *sorted(set(rows[at].kinds))) for at in range(12)}
    assert kinds == {("pairs:0", "caption"), ("objects:0", "find")}
    with pytest.raises(DataError, match="1 wordings for 2 sources"):
        Prepared(mixture, wordings[:1], config(), small_tokenizer(), seed=0)


def test_a_picture_may_be_a_file(tmp_path):
    path = tmp_path / "dog.png"
    Image.new("RGB", (50, 30), "red").save(path)
    row = prepared(replace(DOGS, pictures=(Picture(path),)))[0]
    assert (row.pixels == [255, 0, 0]).all()
