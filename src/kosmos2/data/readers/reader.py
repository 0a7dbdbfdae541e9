"""What a reader is: rows counted from 0 and read one by one; and what all of ours share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Protocol, runtime_checkable

from kosmos2.data.sample import Sample
from kosmos2.data.tolerance import BadRow
from kosmos2.errors import DataError, Kosmos2Error

# What reading a row that somebody else wrote may raise: anything that wrong data leads to.
_DAMAGE = (
    LookupError, TypeError, ValueError, ArithmeticError, AttributeError, OSError, EOFError,
    RecursionError, MemoryError, SyntaxError,
)  # fmt: skip


@runtime_checkable
class Reader(Protocol):
    """Rows of one source."""

    name: str
    classes: tuple[str, ...]  # of a labelling export
    scattered: bool  # rows cost the same in any order

    @property
    def blocks(self) -> Sequence[int]:
        """Numbers of rows that are cheap to read one after the other."""
        ...

    def __len__(self) -> int:
        """How many rows there are."""
        ...

    def read(self, row: int) -> Sample:
        """One row.

        Raises:
            BadRow: it cannot be read.
        """
        ...


class FileReader:
    """A reader of files: indexes where rows are, reads one when asked, keeps no file open.

    So it is copied to loader processes for little, and survives a fork.
    """

    format: ClassVar[str]
    says: ClassVar[str]  # what it reads, for people
    classes: tuple[str, ...] = ()
    scattered = True

    def __init__(self, path: Path, *, pictures: Path | None = None, split: str | None = None):
        self.path, self.pictures, self.split = path, pictures, split
        self.name = path.name or str(path)

    @classmethod
    def recognises(cls, path: Path) -> bool:
        """Whether a file or folder looks like one of these."""
        raise NotImplementedError

    def __len__(self) -> int:
        raise NotImplementedError

    @property
    def blocks(self) -> Sequence[int]:
        """Numbers of rows that are cheap to read one after the other."""
        return (len(self),)

    def name_of(self, row: int) -> str:
        """Where a row stands, for people."""
        raise NotImplementedError

    def sample(self, row: int, name: str) -> Sample:
        """A row that is there, or any error that its data leads to."""
        raise NotImplementedError

    def read(self, row: int) -> Sample:
        """One row.

        Raises:
            BadRow: it cannot be read.
        """
        if not 0 <= row < len(self):
            raise IndexError(f"row {row} of {len(self)}")
        name = self.name_of(row)
        try:
            return self.sample(row, name)
        except _DAMAGE as error:
            raise BadRow(name, _why(error, name)) from error

    def within(self, file: Path) -> str:
        """A file's name as seen from beside the source: "grit/00000.parquet"."""
        inside = file != self.path and file.is_relative_to(self.path)
        return str(Path(self.path.name) / file.relative_to(self.path)) if inside else file.name


def _why(error: BaseException, name: str) -> str:
    if isinstance(error, DataError | Kosmos2Error):
        return str(error).removeprefix(f"{name}: ")
    if isinstance(error, KeyError):
        return f"has no {error}"
    return f"{error} ({type(error).__name__})"


def text_of(row: Mapping[str, Any], *keys: str) -> str:
    """The words under the first of these keys that is there."""
    for key in keys:
        if key in row:
            words = row[key]
            if not isinstance(words, str):
                raise DataError(f"{key} is {type(words).__name__}, not text")
            return words
    raise DataError(f"has no {' or '.join(map(repr, keys))}")
