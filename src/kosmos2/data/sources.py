"""Where data comes from: one source's settings, and the reader of its format.

A format is recognised by looking: endings, the names in a folder, how a file begins.
"""

from __future__ import annotations

import logging
import math
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path

from kosmos2.data.readers.captions import Captions
from kosmos2.data.readers.coco import Coco
from kosmos2.data.readers.files import wild
from kosmos2.data.readers.grit import GritTables
from kosmos2.data.readers.grit_tsv import GritTsv
from kosmos2.data.readers.interleaved import Documents
from kosmos2.data.readers.kept import without
from kosmos2.data.readers.labelstudio import LabelStudio
from kosmos2.data.readers.lines import JsonLines
from kosmos2.data.readers.reader import FileReader, Reader
from kosmos2.data.readers.shards import Shards
from kosmos2.data.readers.text import Text
from kosmos2.data.readers.voc import Voc
from kosmos2.data.readers.yolo import Yolo
from kosmos2.data.wording import Wording
from kosmos2.errors import DataError, RecipeError

__all__ = ["AUTO", "FORMATS", "Reader", "Source", "is_here", "open_source"]

log = logging.getLogger(__name__)

AUTO = "auto"
# In the order in which they are looked for: img2dataset leaves tables beside its shards, JSON Lines
# may be documents, and what has pictures and words may be much else.
_READERS: tuple[type[FileReader], ...] = (
    Shards, GritTables, Documents, JsonLines, GritTsv, Yolo, Coco, LabelStudio, Voc, Captions, Text,
)  # fmt: skip
FORMATS: dict[str, type[FileReader]] = {reader.format: reader for reader in _READERS}


@dataclass(frozen=True, kw_only=True, slots=True)
class Source:
    """Where rows come from, how often they are drawn, and how they are taught."""

    path: str  # a file, a folder, or files by a pattern such as shards/*.tar
    format: str = AUTO  # or one of FORMATS
    weight: float = 1.0  # compared with the other sources
    split: str | None = None  # train, val, ... where there are several
    pictures: str | None = None  # the pictures' folder, where the data does not tell
    leave_out: str | None = None  # a file of pictures never to learn from: a name on each line
    wording: Wording = field(default_factory=Wording)

    def __post_init__(self) -> None:
        if self.format != AUTO and self.format not in FORMATS:
            near = get_close_matches(self.format, FORMATS, 1)
            hint = f"; did you mean {near[0]}?" if near else ""
            raise RecipeError(f"no format is called {self.format!r}{hint}; known are {_known()}")
        if not (math.isfinite(self.weight) and self.weight > 0):
            raise RecipeError(f"weight of {self.path} is {self.weight}; give more than 0")


def open_source(source: Source) -> Reader:
    """The rows of a source.

    Raises:
        DataError: there is nothing, of no known format, or not as that format has it.
    """
    path = Path(source.path).expanduser()
    pictures = None if source.pictures is None else Path(source.pictures).expanduser()
    if pictures is not None and not pictures.is_dir():
        raise DataError(f"there is no folder {pictures} of pictures for {source.path}")
    kind = _recognised(path) if source.format == AUTO else FORMATS[source.format]
    reader = kind(path, pictures=pictures, split=source.split)
    if not len(reader):
        raise DataError(f"{source.path} has no rows")
    if source.leave_out is None:
        return reader
    rest = without(reader, Path(source.leave_out).expanduser())
    log.info("%s: %d rows of %d are left out", source.path, len(reader) - len(rest), len(reader))
    return rest


def is_here(source: Source) -> bool:
    """Whether there is anything at a source's path."""
    folder, pattern = wild(Path(source.path).expanduser())
    return any(folder.glob(pattern))


def _recognised(path: Path) -> type[FileReader]:
    if not path.exists():
        folder, pattern = wild(path)
        path = next(iter(sorted(folder.glob(pattern))), path)
    if not path.exists():
        raise DataError(f"there is no {path}; check the path")
    kind = next((reader for reader in _READERS if reader.recognises(path)), None)
    if kind is None:
        raise DataError(
            f"{path} is of no format that is known; if it is one of these, put its name before "
            f"the path, as in coco:{path.name}. {_known()}"
        )
    return kind


def _known() -> str:
    return "; ".join(f"{name}: {reader.says}" for name, reader in FORMATS.items())
