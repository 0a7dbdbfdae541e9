"""The tab-separated file that GRIT's released script makes of downloaded pictures.

Columns, without a header: MD5 of the picture, caption, the picture as base64, width, height, and a
dict as Python prints it: {'phrase': noun_chunks, 'expression_v1': ref_exps}. The released training
code skips such files unless their path names a folder of its authors; here any path will do.
"""

from __future__ import annotations

import ast
import base64
import re
from pathlib import Path
from typing import Any

from kosmos2.data.readers.files import files_of, has, head
from kosmos2.data.readers.offsets import Lines
from kosmos2.data.readers.pairs import pair
from kosmos2.data.readers.reader import FileReader
from kosmos2.data.sample import Picture, Sample
from kosmos2.errors import DataError

MOST_CHARACTERS = 2**20  # of the dict
# What a dict of lists of numbers is written with.
_PLAIN = re.compile(r"[\[\](),{}:'\"\w.+\-\s]*", re.ASCII)
_BEGINS = re.compile(r"[0-9a-f]{32}\t[^\t]*\t[A-Za-z0-9+/=]+")


class GritTsv(FileReader):
    """Rows of .tsv files."""

    format = "grit-tsv"
    says = "the .tsv that GRIT's prepare_grit.py writes"

    def __init__(self, path: Path, *, pictures: Path | None = None, split: str | None = None):
        super().__init__(path, pictures=pictures, split=split)
        self.lines = Lines(files_of(path, ".tsv", split=split), self.within)

    @classmethod
    def recognises(cls, path: Path) -> bool:
        """By the MD5 and the base64 of the first line."""
        first = next(path.glob("*.tsv"), path) if has(path, "*.tsv") else path
        return first.suffix == ".tsv" and _BEGINS.match(head(first)) is not None

    def __len__(self) -> int:
        return len(self.lines)

    def name_of(self, row: int) -> str:
        """File and line, from 1."""
        return self.lines.name_of(row)

    def sample(self, row: int, name: str) -> Sample:
        """Its caption, boxes and picture."""
        _, tab, rest = self.lines.text(row).partition("\t")
        # The script writes captions as they are, so one with a tab in it makes more columns.
        columns = rest.rsplit("\t", 4)
        if not tab or len(columns) != 5:
            raise DataError(f"{len(columns) + bool(tab)} columns, not 6; is a caption broken up?")
        caption, picture, _, _, boxes = columns
        lists = _dict(boxes)
        given = {
            "caption": caption,
            "noun_chunks": lists.get("phrase"),
            "ref_exps": lists.get("expression_v1"),
        }
        return pair(name, given, Picture(base64.b64decode(picture, validate=True), name))


def _dict(text: str) -> dict[str, Any]:
    if len(text) > MOST_CHARACTERS:
        raise DataError(f"{len(text):,} characters of boxes, the limit is {MOST_CHARACTERS:,}")
    if not _PLAIN.fullmatch(text):
        raise DataError("the last column is no dict of lists of numbers")
    value = ast.literal_eval(text.strip())
    if not isinstance(value, dict):
        raise DataError("the last column is no dict")
    return value
