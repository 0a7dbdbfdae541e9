"""Which files there are, how they begin, and pieces of them."""

from __future__ import annotations

import json
import re
from io import FileIO
from pathlib import Path
from typing import Any

from kosmos2.errors import DataError

MOST_BYTES = 96 * 2**20  # of one row: the largest picture that is opened, as base64, and words
HEAD = 2**16  # bytes by which a file is recognised


def files_of(path: Path, *endings: str, split: str | None = None) -> list[Path]:
    """The file itself, those of a folder, or those that a pattern such as `shards/*.tar` names.

    Raises:
        DataError: there are none.
    """
    if path.is_file():
        return [path]
    base, pattern = (path, "**/*") if path.is_dir() else wild(path)
    found = [
        file
        for file in base.glob(pattern)
        if file.suffix.lower() in endings and of_split(file, base, split) and file.is_file()
    ]
    if not found:
        which = f" of split {split!r}" if split is not None else ""
        raise DataError(f"there is no {' or '.join(endings)} file{which} in {path}")
    return sorted(found)


def wild(path: Path) -> tuple[Path, str]:
    """A path with `*`, `?` or `[` in it as the folder before that, and a pattern from there."""
    parts = path.parts
    at = next((i for i, part in enumerate(parts) if re.search(r"[*?\[]", part)), len(parts) - 1)
    return Path(*parts[:at]), str(Path(*parts[at:]))


def of_split(file: Path, base: Path, split: str | None) -> bool:
    """Whether the name of a file, below `base`, has the word: train in train2017 or a/train/b."""
    word = f"(?<![a-z]){re.escape((split or '').lower())}(?![a-z])"
    return split is None or re.search(word, str(file.relative_to(base)).lower()) is not None


def has(path: Path, *patterns: str) -> bool:
    """Whether a folder holds something of such a name."""
    return path.is_dir() and any(next(path.glob(pattern), None) for pattern in patterns)


def head(path: Path) -> str:
    """How a file begins, as text; nothing where there is no file."""
    if not path.is_file():
        return ""
    with path.open("rb") as file:
        return file.read(HEAD).decode("utf-8-sig", errors="replace")


def pieces(path: Path, *places: tuple[int, int]) -> list[bytes]:
    """Bytes of a file: where each piece begins, and how long it is.

    Raises:
        DataError: they are too many, or the file ends before.
    """
    # Opened anew each time: no handle that would not survive being sent to a loader process.
    with path.open("rb", buffering=0) as file:
        return [_piece(file, start, size) for start, size in places]


def _piece(file: FileIO, start: int, size: int) -> bytes:
    if size > MOST_BYTES:
        raise DataError(f"{size:,} bytes in one row, the limit is {MOST_BYTES:,}")
    file.seek(start)
    data = file.read(size)
    while len(data) < size and (more := file.read(size - len(data))):
        data += more
    if len(data) < size:
        raise DataError(f"{file.name} is cut short; fetch it again")
    return data


def whole_json(path: Path) -> Any:
    """A JSON file.

    Raises:
        DataError: it is none.
    """
    try:
        return json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path} is no JSON: {error}") from error
