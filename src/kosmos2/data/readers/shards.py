"""Webdataset shards as img2dataset writes them: NAME.json, NAME.jpg and NAME.txt in tar files.

Nothing is unpacked and no link followed: the headers say where the bytes of ordinary files lie, and
those are read. A shard is indexed when its first row is wanted; how many rows it has, img2dataset's
`00000_stats.json` tells beside it, or else its headers do.
"""

from __future__ import annotations

import json
import logging
import tarfile
from bisect import bisect_right
from collections.abc import Sequence
from itertools import accumulate
from pathlib import Path, PurePosixPath
from typing import Any

from kosmos2.data.order import MIXED_BLOCKS
from kosmos2.data.readers.files import files_of, has, pieces
from kosmos2.data.readers.gallery import PICTURES
from kosmos2.data.readers.pairs import pair
from kosmos2.data.readers.reader import FileReader
from kosmos2.data.readers.recent import Recent
from kosmos2.data.sample import Picture, Sample
from kosmos2.errors import DataError

log = logging.getLogger(__name__)

_ORDINARY = (tarfile.REGTYPE, tarfile.AREGTYPE)  # no links, no devices, no folders
Places = dict[str, tuple[int, int]]  # ending -> where its bytes begin and how many there are


class Shards(FileReader):
    """Rows of tar files."""

    format = "webdataset"
    says = "webdataset shards (.tar) with NAME.json, NAME.jpg and perhaps NAME.txt"
    scattered = False

    def __init__(self, path: Path, *, pictures: Path | None = None, split: str | None = None):
        super().__init__(path, pictures=pictures, split=split)
        self.files = files_of(path, ".tar", split=split)
        self.names = [self.within(file) for file in self.files]
        self.indexes: Recent[int, list[tuple[str, Places]]] = Recent(self._index, 2 * MIXED_BLOCKS)
        self._blocks = [_told(file) for file in self.files]
        for number, rows in enumerate(self._blocks):
            if rows < 0:
                self._blocks[number] = len(self.indexes[number])
        self.starts = [0, *accumulate(self._blocks)]

    @classmethod
    def recognises(cls, path: Path) -> bool:
        """By the ending."""
        return path.suffix == ".tar" or has(path, "*.tar", "*/*.tar")

    def __len__(self) -> int:
        return self.starts[-1]

    @property
    def blocks(self) -> Sequence[int]:
        """Shards."""
        return self._blocks

    def name_of(self, row: int) -> str:
        """Shard and row in it, from 0."""
        number = bisect_right(self.starts, row) - 1
        return f"{self.names[number]}:{row - self.starts[number]}"

    def sample(self, row: int, name: str) -> Sample:
        """Its caption, boxes and picture."""
        number = bisect_right(self.starts, row) - 1
        rows = self.indexes[number]
        if row - self.starts[number] >= len(rows):
            raise DataError(f"the shard has only {len(rows)} rows, fewer than its stats file tells")
        key, places = rows[row - self.starts[number]]
        file = self.files[number]
        ending = next((ending for ending in PICTURES if ending in places), None)
        if ending is None:
            raise DataError(f"{key} has no picture")
        wanted = [one for one in (ending, ".txt", ".json") if one in places]
        data = dict(zip(wanted, pieces(file, *(places[one] for one in wanted))))
        given: dict[str, Any] = {}
        if ".txt" in data:
            given["txt"] = data[".txt"].decode("utf-8")
        if ".json" in data:
            given |= json.loads(data[".json"])
        return pair(name, given, Picture(data[ending], f"{name} ({key}{ending})"))

    def _index(self, number: int) -> list[tuple[str, Places]]:
        """The rows of a shard: files of the same name follow one another."""
        rows: list[tuple[str, Places]] = []
        file = self.files[number]
        try:
            with tarfile.open(file, "r:") as tar:
                while (member := tar.next()) is not None:
                    if member.type not in _ORDINARY or member.issparse():
                        continue
                    path = PurePosixPath(member.name)
                    stem, _, ending = path.name.partition(".")
                    key = str(path.with_name(stem)) if stem else ""
                    if not key:
                        continue  # a hidden file
                    if not rows or rows[-1][0] != key:
                        rows.append((key, {}))
                    rows[-1][1][f".{ending.lower()}"] = member.offset_data, member.size
        except tarfile.TarError as error:
            if not rows:
                raise DataError(f"{file} is no tar file, or a packed one: {error}") from error
            log.warning("%s is cut short after %d rows: %s", file, len(rows), error)
        return rows


def _told(file: Path) -> int:
    """How many rows a shard has, as whoever wrote it noted; -1 where nobody did."""
    try:
        note = json.loads(file.with_name(f"{file.stem}_stats.json").read_bytes())
        return int(note["successes"])
    except (OSError, ValueError, LookupError, TypeError):
        return -1
