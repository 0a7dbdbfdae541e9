"""Our own lines, captions beside pictures, documents, words, and how formats are told apart."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from exports import encoded, parquet, pixels, shard, write
from kosmos2.data.readers.offsets import Lines
from kosmos2.data.readers.reader import Reader
from kosmos2.data.sample import Sample, Span, Turn
from kosmos2.data.sources import FORMATS, Source, open_source
from kosmos2.data.tolerance import BadRow
from kosmos2.errors import DataError, RecipeError
from kosmos2.geometry import Box

DOG, CAT = [0.1, 0.2, 0.5, 0.9], [0.5, 0.25, 0.75, 0.5]


def opened(path: Path, **settings: Any) -> Reader:
    return open_source(Source(path=str(path), **settings))


def read(folder: Path, *rows: object) -> list[Sample]:
    for number, name in enumerate(("a.png", "b.png")):
        write(folder / name, encoded(number))
    file = write(folder / "rows.jsonl", "".join(json.dumps(row) + "\n" for row in rows))
    reader = opened(file)
    return [reader.read(row) for row in range(len(reader))]


# Our JSON Lines


def test_words_are_tied_by_place_or_by_themselves(tmp_path: Path) -> None:
    by_place = [{"start": 0, "end": 5, "boxes": [DOG, CAT]}]
    by_words = [{"phrase": "a dog", "boxes": [DOG]}, {"start": 0, "end": 5, "boxes": [CAT]}]
    row = {"picture": "a.png", "text": "a dog and a cat"}
    one, other = read(tmp_path, {**row, "spans": by_place}, {**row, "spans": by_words, "weight": 2})
    assert one.turns == (Turn("a dog and a cat", (Span(0, 5, (Box(*DOG), Box(*CAT))),)),)
    assert other.turns[0].spans[0].start == 0
    assert (one.kind, one.weight, other.weight) == ("pair", 1.0, 2.0)
    assert np.array_equal(np.array(one.pictures[0].open()), pixels(0))


def test_pitfall_7_a_phrase_said_twice_means_its_places_in_turn(tmp_path: Path) -> None:
    """The release matches all that say the same to the first; here the second is the second."""
    spans = [{"phrase": "a dog", "boxes": [box]} for box in (DOG, CAT)]
    row = {"picture": "a.png", "text": "a dog bites a dog", "spans": spans}
    (sample,) = read(tmp_path, row)
    assert [(s.start, s.end, s.boxes[0]) for s in sample.turns[0].spans] == [
        (0, 5, Box(*DOG)),
        (12, 17, Box(*CAT)),
    ]


def test_boxes_in_pixels_thousandths_and_with_scores(tmp_path: Path) -> None:
    row = {"picture": "a.png", "text": "dog"}
    pixel = {**row, "coords": "px", "width": 200, "height": 100,
             "spans": [{"phrase": "dog", "boxes": [[20, 20, 100, 90]], "score": 0.5}]}  # fmt: skip
    thousandth = {**row, "coords": "norm1000",
                  "spans": [{"phrase": "dog", "boxes": [[100, 200, 500, 900]]}]}  # fmt: skip
    one, other = read(tmp_path, pixel, thousandth)
    assert one.turns[0].spans[0].boxes[0].corners == other.turns[0].spans[0].boxes[0].corners
    assert (one.turns[0].spans[0].score, other.turns[0].spans[0].score) == (0.5, 1.0)


def test_dialogues_of_ours_and_of_llava(tmp_path: Path) -> None:
    ours = [
        {"text": "What is it?"},
        {"text": "A dog.", "spans": [{"phrase": "dog", "boxes": [DOG]}]},
    ]
    theirs = [
        {"from": "human", "value": "<image>\nWhat is it?"},
        {"from": "gpt", "value": "A dog."},
    ]
    one, other = read(
        tmp_path, {"picture": "a.png", "turns": ours}, {"image": "a.png", "conversations": theirs}
    )
    assert one.kind == other.kind == "dialogue"
    assert one.turns[0] == other.turns[0] == Turn("What is it?", learn=False, picture=0)
    assert (one.turns[1].text, one.turns[1].learn) == (other.turns[1].text, other.turns[1].learn)
    assert one.turns[1].spans == (Span(2, 5, (Box(*DOG),)),)


def test_pieces_make_a_document(tmp_path: Path) -> None:
    pieces = [{"text": "First"}, {"picture": "b.png"}, {"picture": "a.png"},
              {"text": "a dog", "spans": [{"phrase": "dog", "boxes": [DOG]}]}]  # fmt: skip
    (sample,) = read(tmp_path, {"pieces": pieces})
    assert sample.kind == "interleaved"
    assert [(turn.text, turn.picture) for turn in sample.turns] == [
        ("First", None), ("", 0), ("a dog", 1),
    ]  # fmt: skip
    assert [picture.source for picture in sample.pictures] == [
        tmp_path / "b.png",
        tmp_path / "a.png",
    ]


@pytest.mark.parametrize(
    ("row", "complaint"),
    [
        ({"picture": "a.png"}, "has no 'text'"),
        ({"picture": "a.png", "text": 5}, "text is int, not text"),
        ({"picture": "z.png", "text": "x"}, r"no picture z\.png .*pictures"),
        ({"picture": "http://x.invalid/z.png", "text": "x"}, "nothing is fetched"),
        ({"text": "x", "spans": [{"phrase": "y", "boxes": [DOG]}]}, "'y' is not in the text"),
        ({"picture": "a.png", "text": "x", "spans": [{"phrase": "x"}]}, "has no 'boxes'"),
        ({"picture": "a.png", "text": "x", "spans": [{"phrase": "x", "boxes": []}]}, "no box"),
        ({"picture": "a.png", "text": "x", "spans": [{"phrase": "x", "boxes": [[1]]}]}, "not 1"),
        ({"text": "x", "spans": [{"phrase": "x", "boxes": [DOG]}]}, "no picture"),
        ({"picture": "a.png", "text": "x", "coords": "px",
          "spans": [{"phrase": "x", "boxes": [DOG]}]}, "picture's size"),
        ({"picture": "a.png", "turns": [{"text": "What?"}]}, "nothing to learn"),
        ({"text": "x", "weight": 0}, "weight 0"),
        ([1], "no JSON object"),
    ],
)  # fmt: skip
def test_what_is_wrong_with_a_line_is_told(tmp_path: Path, row: Any, complaint: str) -> None:
    with pytest.raises(BadRow, match=complaint) as caught:
        read(tmp_path, {"text": "fine"}, row)
    assert caught.value.name == "rows.jsonl:2"


def test_a_line_that_is_no_json_is_a_bad_row(tmp_path: Path) -> None:
    reader = opened(write(tmp_path / "rows.jsonl", '{"text": "fine"}\n{"text": "cut'))
    assert reader.read(0).turns == (Turn("fine"),)
    with pytest.raises(BadRow, match="Unterminated"):
        reader.read(1)


@given(st.lists(st.text("ab é\r\t", max_size=6), max_size=8), st.booleans())
def test_lines_by_offset_are_the_lines(tmp_path_factory: Any, texts: list[str], last: bool) -> None:
    file = tmp_path_factory.mktemp("lines") / "x.txt"
    data = "\n".join(texts) + "\n" * last
    file.write_bytes(data.encode())
    lines = Lines([file, file], str)
    whole = [line.rstrip("\r") for line in data.split("\n") if line not in ("", "\r")]
    assert [lines.text(row) for row in range(len(lines))] == whole * 2


def test_a_byte_order_mark_and_windows_ends_are_no_words(tmp_path: Path) -> None:
    reader = opened(write(tmp_path / "a.txt", b"\xef\xbb\xbfone\r\n\r\ntwo\r\n"))
    assert [reader.read(row).turns[0].text for row in range(2)] == ["one", "two"]


# Captions beside pictures, or in a table


def test_captions_beside_pictures(tmp_path: Path) -> None:
    for number, name in enumerate(("b/one.PNG", "two.png", "three.png")):
        write(tmp_path / name, encoded(number))
    write(tmp_path / "b" / "one.txt", "a dog\non grass \n")
    write(tmp_path / "two.txt", "a cat")
    reader = opened(tmp_path)
    samples = [reader.read(row) for row in range(len(reader))]
    assert [sample.turns[0].text for sample in samples] == ["a dog on grass", "a cat"]
    assert [np.array(s.pictures[0].open()).tolist() for s in samples] == [
        pixels(0).tolist(), pixels(1).tolist(),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("name", "table"),
    [
        ("captions.csv", 'file_name,caption\na.png,"a dog, barking"\n'),
        ("captions.tsv", "Image\tText\na.png\ta dog, barking\n"),
        ("metadata.csv", '\ufeffid,text,file_name\n1,"a dog, barking",a.png\n'),
    ],
)
def test_captions_in_a_table(name: str, table: str, tmp_path: Path) -> None:
    write(tmp_path / "a.png", encoded(0))
    file = write(tmp_path / name, table)
    for path in (tmp_path, file):
        sample = opened(path).read(0)
        assert (sample.kind, sample.turns) == ("pair", (Turn("a dog, barking"),))
        assert sample.name.endswith(f"{name}:1")
        assert sample.pictures[0].source == tmp_path / "a.png"


def test_a_table_without_captions_is_told(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="columns a, b; one has to name the picture"):
        opened(write(tmp_path / "captions.csv", "a,b\n1,2\n"))


# Documents


def test_documents_of_two_collections_say_the_same(tmp_path: Path) -> None:
    write(tmp_path / "images" / "a.png", encoded(0))
    write(tmp_path / "images" / "b.png", encoded(1))
    mmc4 = {
        "text_list": ["one", "two", "three"],
        "image_info": [
            {"image_name": "b.png", "matched_text_index": 2, "raw_url": "x"},
            {"image_name": "a.png", "matched_text_index": 0},
            {"image_name": "gone.png", "matched_text_index": 1},
        ],
        "similarity_matrix": [],
    }
    obelics = {
        "images": ["a.png", None, "gone.png", None, "b.png", None],
        "texts": [None, "one", None, "two", None, "three"],
    }
    reader = opened(write(tmp_path / "docs.jsonl", f"{json.dumps(mmc4)}\n{json.dumps(obelics)}\n"))
    one, other = reader.read(0), reader.read(1)
    assert one.turns == (Turn("one", picture=0), Turn("two"), Turn("three", picture=1))
    assert (other.turns, other.pictures) == (one.turns, one.pictures)
    assert one.kind == "interleaved"


def test_a_document_of_dead_links_is_a_bad_row_and_one_without_is_text(tmp_path: Path) -> None:
    rows = [
        {"text_list": ["one"], "image_info": [{"image_name": "z.png", "matched_text_index": 0}]},
        {"text_list": ["one"], "image_info": []},
        {"texts": ["one"], "images": []},
    ]
    reader = opened(write(tmp_path / "d.jsonl", "".join(json.dumps(row) + "\n" for row in rows)))
    with pytest.raises(BadRow, match=r"no picture z\.png"):
        reader.read(0)
    assert reader.read(1).kind == "text"
    with pytest.raises(BadRow, match="shorter"):
        reader.read(2)


# Formats


def test_what_is_unknown_is_told_with_what_is_known(tmp_path: Path) -> None:
    write(tmp_path / "a.docx", b"PK")
    for path in (tmp_path, tmp_path / "a.docx"):
        with pytest.raises(DataError, match="no format that is known") as caught:
            opened(path)
        for name, reader in FORMATS.items():
            assert f" {name}: {reader.says}" in str(caught.value)


def test_what_is_not_there_is_told(tmp_path: Path) -> None:
    for path in (tmp_path / "gone", tmp_path / "gone" / "*.tar"):
        with pytest.raises(DataError, match=r"there is no .*gone"):
            opened(path)
    for format in set(FORMATS):
        with pytest.raises(DataError):
            opened(tmp_path / "gone", format=format)
    write(tmp_path / "a.txt", "words")
    with pytest.raises(DataError, match=r"no folder .*far of pictures"):
        opened(tmp_path / "a.txt", pictures=str(tmp_path / "far"))
    with pytest.raises(DataError, match="of split 'val'"):
        opened(tmp_path, format="text", split="val")


def test_settings_that_cannot_be_are_refused() -> None:
    with pytest.raises(RecipeError, match="did you mean coco"):
        Source(path="x", format="cocoo")
    with pytest.raises(RecipeError, match="weight of x is -1"):
        Source(path="x", weight=-1)


def test_empty_files_have_no_rows(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="has no rows"):
        opened(write(tmp_path / "a.txt", "\n\n"))


def test_files_by_a_pattern_and_by_a_split(tmp_path: Path) -> None:
    for split in ("train", "val"):
        for number in range(2):
            write(tmp_path / split / f"{number}.txt", f"{split} {number}")
    every = opened(tmp_path, format="text")
    assert [every.read(row).name for row in (0, 3)] == [
        f"{tmp_path.name}/train/0.txt:1", f"{tmp_path.name}/val/1.txt:1",
    ]  # fmt: skip
    for reader in (
        opened(tmp_path / "val" / "*.txt"),
        opened(tmp_path / "*" / "*.txt", split="val"),
        opened(tmp_path, format="text", split="val"),
    ):
        assert [reader.read(row).turns[0].text for row in range(len(reader))] == ["val 0", "val 1"]


def test_folders_with_notes_beside_the_data_are_taken_for_what_they_are(tmp_path: Path) -> None:
    """img2dataset leaves tables and notes beside its shards, and shards are meant."""
    shard(tmp_path / "a" / "00000.tar")
    write(tmp_path / "a" / "00000_stats.json", {"successes": 2})
    parquet(tmp_path / "a" / "00000.parquet")
    assert opened(tmp_path / "a").read(0).name == "a/00000.tar:0"
