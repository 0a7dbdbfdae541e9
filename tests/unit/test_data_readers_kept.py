"""What is kept of a source, and what must never be learnt from."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from exports import coco, encoded, parquet, shard, write
from kosmos2.data.mixture import Mixture
from kosmos2.data.readers.kept import Kept
from kosmos2.data.readers.reader import Reader
from kosmos2.data.sources import Source, open_source
from kosmos2.data.tolerance import BadRow
from kosmos2.errors import DataError

TRAIN = "COCO_train2014_000000000042.jpg"


def names(reader: Reader) -> list[str]:
    return [reader.read(row).name for row in range(len(reader))]


def test_kept_rows_are_those_rows_and_keep_their_blocks(tmp_path: Path) -> None:
    table = parquet(tmp_path / "a.parquet", group=4, repeat=5)
    reader = open_source(Source(path=str(table), pictures=str(tmp_path / "by_key")))
    some, rest = Kept(reader, [9, 1, 0, 3]), Kept(reader, np.array([2, 4, 5, 6, 7, 8]))
    assert list(reader.blocks) == [4, 4, 2]
    assert (list(some.blocks), list(rest.blocks)) == ([3, 0, 1], [1, 4, 1])
    assert (some.scattered, len(some)) == (False, 4)
    assert names(some) == [f"a.parquet:{row}" for row in (0, 1, 3, 9)]
    assert sorted(names(some) + names(rest)) == names(reader)
    drawn = {Mixture([some], [1], seed=1).draw(position).sample.name for position in range(4)}
    assert drawn == set(names(some))
    with pytest.raises(IndexError):
        some.read(4)


@pytest.mark.parametrize("listed", [TRAIN, "000000000042.png", "42", "some/where/000000000042"])
def test_pitfall_11_pictures_to_be_measured_on_are_left_out_under_any_name(
    tmp_path: Path, listed: str
) -> None:
    """Instruction data names COCO's pictures in one way, RefCOCO's tests in another."""
    talk = [{"from": "human", "value": "<image>\nWhat?"}, {"from": "gpt", "value": "A dog."}]
    for file in ("000000000042.jpg", "000000000420.jpg", TRAIN):
        write(tmp_path / file, encoded(0))
    rows = [
        {"image": file, "conversations": talk}
        for file in sorted(p.name for p in tmp_path.iterdir())
    ]
    write(tmp_path / "talk.jsonl", "".join(json.dumps(row) + "\n" for row in rows))
    write(tmp_path / "out.txt", f"{listed}\nother.jpg\n")
    source = Source(path=str(tmp_path / "talk.jsonl"), leave_out=str(tmp_path / "out.txt"))
    reader = open_source(source)
    assert [reader.read(row).pictures[0].source for row in range(len(reader))] == [
        tmp_path / "000000000420.jpg"
    ]


def test_rows_that_cannot_be_read_stay_to_be_counted(tmp_path: Path) -> None:
    folder = coco(tmp_path / "export")
    (folder / "images" / "b.png").unlink()
    write(tmp_path / "out.txt", "a.png")
    reader = open_source(Source(path=str(folder), leave_out=str(tmp_path / "out.txt")))
    assert len(reader) == 2
    with pytest.raises(BadRow, match=r"b\.png"):
        reader.read(0)
    assert reader.classes


def test_what_cannot_be_told_apart_is_no_silent_leak(tmp_path: Path) -> None:
    tar = shard(tmp_path / "0.tar")
    write(tmp_path / "out.txt", "a.png")
    with pytest.raises(DataError, match="cannot be left out by name"):
        open_source(Source(path=str(tar), leave_out=str(tmp_path / "out.txt")))
    with pytest.raises(DataError, match="no list"):
        open_source(Source(path=str(tar), leave_out=str(tmp_path / "gone.txt")))
