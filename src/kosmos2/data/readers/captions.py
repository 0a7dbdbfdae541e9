"""Folders of pictures with captions: a file of the same stem beside each, or one table.

Beside `a.jpg` stands `a.txt`, or `a.json` as img2dataset writes it (caption, and GRIT's boxes). The
table is captions.csv or .tsv, or metadata.csv, with a header: one column that names the picture
(picture, image, file_name, filename, file, path) and one with the words (caption, text).
"""

from __future__ import annotations

import csv
import json
from pathlib import Path

from kosmos2.data.readers.files import files_of, has
from kosmos2.data.readers.gallery import PICTURES, Gallery
from kosmos2.data.readers.pairs import CAPTIONS, pair
from kosmos2.data.readers.reader import FileReader
from kosmos2.data.sample import Picture, Sample
from kosmos2.errors import DataError

TABLES = ("captions.csv", "captions.tsv", "metadata.csv")
NAMES = ("picture", "image", "file_name", "filename", "file", "path", "image_path", "filepath")


class Captions(FileReader):
    """Pictures of a folder that has words for them."""

    format = "captions"
    says = "a folder of pictures with .txt beside them, or with captions.csv or .tsv"

    def __init__(self, path: Path, *, pictures: Path | None = None, split: str | None = None):
        super().__init__(path, pictures=pictures, split=split)
        folder = path if path.is_dir() else path.parent
        tables = (
            [path] if path.is_file() else [folder / t for t in TABLES if (folder / t).is_file()]
        )
        self.gallery = Gallery(pictures, folder, folder / "images")
        self.table: list[tuple[str, str]] = []
        self.beside: list[Path] = []
        if tables:
            self.table = _table(tables[0])
            self.name = self.within(tables[0])
        else:
            found = files_of(folder, *PICTURES, split=split)
            self.beside = [file for file in found if _words(file) is not None]
        if not len(self):
            raise DataError(f"no picture in {path} has a caption; give each a .txt of its name")

    @classmethod
    def recognises(cls, path: Path) -> bool:
        """By the table, or by one picture that has a text beside it."""
        if path.is_file():
            return path.name in TABLES
        if has(path, *TABLES):
            return True
        firsts = (f for f in path.rglob("*") if f.suffix.lower() in PICTURES)
        return path.is_dir() and any(_words(f) for _, f in zip(range(100), firsts))

    def __len__(self) -> int:
        return len(self.table) or len(self.beside)

    def name_of(self, row: int) -> str:
        """The picture, or the table's row, from 1."""
        return f"{self.name}:{row + 1}" if self.table else self.within(self.beside[row])

    def sample(self, row: int, name: str) -> Sample:
        """A picture and its caption."""
        if self.table:
            file, caption = self.table[row]
            return pair(name, {"caption": caption}, self.gallery.find(file))
        words = _words(self.beside[row])
        assert words is not None
        data = words.read_bytes()
        if words.suffix == ".json":
            return pair(name, json.loads(data), Picture(self.beside[row]))
        caption = " ".join(data.decode("utf-8-sig").split())
        return pair(name, {"caption": caption}, Picture(self.beside[row]))


def _words(picture: Path) -> Path | None:
    """The file beside a picture that tells about it; one with boxes before one without."""
    beside = (picture.with_suffix(ending) for ending in (".json", ".txt"))
    return next((file for file in beside if file.is_file()), None)


def _table(path: Path) -> list[tuple[str, str]]:
    with path.open(encoding="utf-8-sig", newline="") as file:
        rows = csv.DictReader(file, delimiter="\t" if path.suffix == ".tsv" else ",")
        header = [name.strip().lower() for name in rows.fieldnames or ()]
        picture = next((header.index(name) for name in NAMES if name in header), None)
        words = next((header.index(name) for name in CAPTIONS if name in header), None)
        if picture is None or words is None or rows.fieldnames is None:
            raise DataError(
                f"{path} has columns {', '.join(header)}; one has to name the picture "
                f"({', '.join(NAMES[:4])}) and one the caption ({', '.join(CAPTIONS[:2])})"
            )
        names = list(rows.fieldnames)
        return [(row[names[picture]] or "", row[names[words]] or "") for row in rows]
