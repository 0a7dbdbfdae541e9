"""Some rows of a reader, as a reader: those of a split, or those that may be learnt from.

What a model is to be measured on must not be among what it learns from. COCO's photographs are the
usual leak: RefCOCO's test pictures are among COCO's training pictures, under another name.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from kosmos2.data.readers.reader import Reader
from kosmos2.data.sample import Picture, Sample
from kosmos2.data.tolerance import BadRow
from kosmos2.errors import DataError


class Kept:
    """Rows of a reader by their numbers; those that were stored together still are."""

    def __init__(self, reader: Reader, rows: Sequence[int] | np.ndarray) -> None:
        self.reader = reader
        self.rows = np.sort(np.asarray(rows, dtype=np.int64))
        self.name, self.classes, self.scattered = reader.name, reader.classes, reader.scattered
        edges = np.cumsum([0, *reader.blocks])
        self.blocks: Sequence[int] = np.diff(np.searchsorted(self.rows, edges)).tolist()

    def __len__(self) -> int:
        return len(self.rows)

    def read(self, row: int) -> Sample:
        """One of them."""
        if not 0 <= row < len(self.rows):
            raise IndexError(f"row {row} of {len(self.rows)}")
        return self.reader.read(int(self.rows[row]))


def without(reader: Reader, listed: Path) -> Kept:
    """The rows that show no picture of a list; reads every row once, but no picture.

    Args:
        reader: all rows.
        listed: a file with the name of a picture, or its number in COCO, on each line.

    Raises:
        DataError: there is no such list, or pictures have no names to go by.
    """
    if not listed.is_file():
        raise DataError(f"there is no list {listed} of pictures to leave out")
    unwanted = {_identity(line.strip()) for line in listed.read_text("utf-8-sig").splitlines()}
    return Kept(reader, [row for row in range(len(reader)) if not _shows(reader, row, unwanted)])


def _shows(reader: Reader, row: int, unwanted: set[str]) -> bool:
    try:
        sample = reader.read(row)
    except BadRow:
        return False  # it is counted when it is drawn
    return any(
        _identity(_file_name(picture, sample.name)) in unwanted for picture in sample.pictures
    )


def _file_name(picture: Picture, row: str) -> str:
    if not isinstance(picture.source, Path):
        raise DataError(f"{row}: its picture is no file, so it cannot be left out by name")
    return picture.source.name


def _identity(name: str) -> str:
    """`COCO_train2014_000000000042.jpg` and `000000000042.png` are both picture 42."""
    stem = re.sub(r"\.[A-Za-z]+$", "", name.replace("\\", "/").rpartition("/")[2])
    number = re.fullmatch(r"(?:COCO_\w+_)?0*(\d+)", stem)
    return number[1] if number else stem
