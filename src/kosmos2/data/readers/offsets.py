"""Lines of large files, by where they begin."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Sequence
from itertools import accumulate
from pathlib import Path

import numpy as np

from kosmos2.data.readers.files import pieces

_CHUNK = 2**23


class Lines:
    """Lines of files, by their offsets; empty ones do not count.

    Args:
        files: one after the other.
        call: what people call a file.
    """

    def __init__(self, files: Sequence[Path], call: Callable[[Path], str]) -> None:
        self.files = list(files)
        self.names = [call(file) for file in files]
        places = [_lines(file) for file in self.files]
        self.first = [0, *accumulate(len(starts) for starts, _ in places)]
        self.starts = np.concatenate([starts for starts, _ in places])
        self.sizes = np.concatenate([sizes for _, sizes in places])

    def __len__(self) -> int:
        return len(self.starts)

    def name_of(self, row: int) -> str:
        """The file and the how manyth line of it, from 1."""
        file = bisect_right(self.first, row) - 1
        return f"{self.names[file]}:{row - self.first[file] + 1}"

    def text(self, row: int) -> str:
        """A line, without its end."""
        file = self.files[bisect_right(self.first, row) - 1]
        (data,) = pieces(file, (int(self.starts[row]), int(self.sizes[row])))
        return data.decode("utf-8-sig").rstrip("\r\n")


def _lines(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Where the lines of a file begin, and how long they are."""
    ends: list[np.ndarray] = []
    size = 0
    with path.open("rb", buffering=0) as file:
        while chunk := file.read(_CHUNK):
            ends.append(np.flatnonzero(np.frombuffer(chunk, np.uint8) == ord("\n")) + size)
            size += len(chunk)
        stops = np.concatenate([*ends, np.array([size])]).astype(np.int64)
        starts = np.concatenate([np.zeros(1, np.int64), stops[:-1] + 1])
        sizes = stops - starts
        kept = sizes > 0
        for line in np.flatnonzero(sizes == 1):  # an empty one, of Windows
            file.seek(starts[line])
            kept[line] = file.read(1) != b"\r"
    return starts[kept], sizes[kept]
