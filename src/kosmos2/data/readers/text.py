"""Words alone: .txt files, each line that is not empty a row."""

from __future__ import annotations

from pathlib import Path

from kosmos2.data.readers.files import files_of, has
from kosmos2.data.readers.gallery import PICTURES
from kosmos2.data.readers.offsets import Lines
from kosmos2.data.readers.reader import FileReader
from kosmos2.data.sample import Sample, Turn


class Text(FileReader):
    """Lines of .txt files."""

    format = "text"
    says = "plain text (.txt), one row a line"

    def __init__(self, path: Path, *, pictures: Path | None = None, split: str | None = None):
        super().__init__(path, pictures=pictures, split=split)
        self.lines = Lines(files_of(path, ".txt", split=split), self.within)

    @classmethod
    def recognises(cls, path: Path) -> bool:
        """By the ending, with no pictures about."""
        return path.suffix == ".txt" or (
            has(path, "*.txt") and not has(path, *(f"*{ending}" for ending in PICTURES))
        )

    def __len__(self) -> int:
        return len(self.lines)

    def name_of(self, row: int) -> str:
        """File and line, from 1."""
        return self.lines.name_of(row)

    def sample(self, row: int, name: str) -> Sample:
        """A line."""
        return Sample(name, "text", (Turn(self.lines.text(row)),))
