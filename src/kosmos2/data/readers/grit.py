"""GRIT's parquet tables as released, and any other table with a caption and a picture.

The released columns are key, clip_similarity_vitb32, clip_similarity_vitl14, id, url, caption,
width, height, noun_chunks, ref_exps. There are no pictures in it: they are found by key or id in
the folder `pictures` (`KEY.jpg`, `ID.jpg`, or `00012/000123456.jpg` as img2dataset leaves them),
or in a column of bytes. A row group is read at once, so rows come group by group.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from itertools import accumulate
from pathlib import Path
from typing import Any

from kosmos2.data.order import MIXED_BLOCKS
from kosmos2.data.readers.files import files_of, has
from kosmos2.data.readers.gallery import Gallery
from kosmos2.data.readers.pairs import CAPTIONS, pair
from kosmos2.data.readers.reader import FileReader
from kosmos2.data.readers.recent import Recent
from kosmos2.data.sample import Picture, Sample
from kosmos2.errors import DataError

ROW = (*CAPTIONS, "noun_chunks", "ref_exps", "status", "error_message")
KEYS = ("key", "id")
BYTES = ("image", "picture", "jpg", "jpeg", "png", "webp", "bytes", "image_bytes")
Group = tuple[int, int]  # number of the file, number of the row group in it


class GritTables(FileReader):
    """Rows of parquet files."""

    format = "grit"
    says = "GRIT's parquet tables (with `pictures`, or a column of bytes)"
    scattered = False

    def __init__(self, path: Path, *, pictures: Path | None = None, split: str | None = None):
        super().__init__(path, pictures=pictures, split=split)
        self.files = files_of(path, ".parquet", split=split)
        self.names = [self.within(file) for file in self.files]
        self.gallery = Gallery(pictures, self.files[0].parent)
        self.groups: list[Group] = []
        self.firsts: list[int] = []  # of each file
        self._blocks: list[int] = []
        for number, file in enumerate(self.files):
            self.firsts.append(sum(self._blocks))
            metadata = _opened(file).metadata
            for group in range(metadata.num_row_groups):
                self.groups.append((number, group))
                self._blocks.append(metadata.row_group(group).num_rows)
        self.starts = [0, *accumulate(self._blocks)]
        self.tables: Recent[Group, dict[str, Any]] = Recent(self._columns, MIXED_BLOCKS)

    @classmethod
    def recognises(cls, path: Path) -> bool:
        """By the ending."""
        return path.suffix == ".parquet" or has(path, "*.parquet", "*/*.parquet")

    def __len__(self) -> int:
        return self.starts[-1]

    @property
    def blocks(self) -> Sequence[int]:
        """Row groups."""
        return self._blocks

    def name_of(self, row: int) -> str:
        """File and row in it, from 0."""
        number, _ = self.groups[bisect_right(self.starts, row) - 1]
        return f"{self.names[number]}:{row - self.firsts[number]}"

    def sample(self, row: int, name: str) -> Sample:
        """Its caption, boxes and picture."""
        group = bisect_right(self.starts, row) - 1
        columns = self.tables[self.groups[group]]
        within = row - self.starts[group]
        given = {key: column[within].as_py() for key, column in columns.items()}
        return pair(name, given, self._picture(given, name))

    def _picture(self, row: dict[str, Any], name: str) -> Picture:
        for key in BYTES:
            data = row.get(key)
            if isinstance(data, dict):  # {"bytes": ..., "path": ...}
                data = data.get("bytes") or data.get("path")
            if isinstance(data, bytes):
                return Picture(data, name)
            if isinstance(data, str):
                return self.gallery.find(data)
        keys = [str(row[key]) for key in KEYS if row.get(key) is not None]
        if not keys:
            raise DataError("has no key, no id and no bytes of a picture")
        return self.gallery.find_stem(*keys, *(f"{key[:5]}/{key}" for key in keys))

    def _columns(self, group: Group) -> dict[str, Any]:
        number, place = group
        file = _opened(self.files[number])
        there = [name for name in (*ROW, *KEYS, *BYTES) if name in file.schema_arrow.names]
        table = file.read_row_group(place, columns=there)
        return {name: table.column(name) for name in there}


def _opened(path: Path) -> Any:
    try:
        import pyarrow  # type: ignore[import-untyped]
        import pyarrow.parquet  # type: ignore[import-untyped]
    except ImportError as error:
        raise DataError(
            f"{path.name} is a parquet table, read by pyarrow; pip install 'kosmos2[train]'"
        ) from error
    try:
        return pyarrow.parquet.ParquetFile(path)
    except (pyarrow.ArrowException, OSError) as error:
        raise DataError(f"{path} is no parquet table, or is cut short: {error}") from error
