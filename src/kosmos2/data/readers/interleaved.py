"""Documents of pictures and text, one a line, as public collections write them.

    {"text_list": ["one", "two"], "image_info": [{"image_name": "a.jpg", "matched_text_index": 1}]}
    {"texts": ["one", null, "two"], "images": [null, "a.jpg", null]}

In the first kind (mmc4) a picture is shown just before the sentence it was matched to; in the
second (OBELICS) where it stands. A picture that was not downloaded leaves its place empty as long
as the document has another: links die, and the words are still worth reading.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from kosmos2.data.readers.files import files_of, has, head
from kosmos2.data.readers.gallery import Gallery
from kosmos2.data.readers.offsets import Lines
from kosmos2.data.readers.reader import FileReader
from kosmos2.data.sample import Picture, Sample, Turn
from kosmos2.errors import DataError

_BEGINS = re.compile(r'"(text_list|image_info|texts)"\s*:')


class Documents(FileReader):
    """Rows of .jsonl files of documents."""

    format = "interleaved"
    says = "documents of pictures and text (.jsonl with text_list and image_info, or texts, images)"

    def __init__(self, path: Path, *, pictures: Path | None = None, split: str | None = None):
        super().__init__(path, pictures=pictures, split=split)
        self.lines = Lines(files_of(path, ".jsonl", split=split), self.within)
        folder = self.lines.files[0].parent
        self.gallery = Gallery(pictures, folder, folder / "images")

    @classmethod
    def recognises(cls, path: Path) -> bool:
        """By the names in the first line."""
        first = next(path.glob("*.jsonl"), path) if has(path, "*.jsonl") else path
        return first.suffix == ".jsonl" and bool(_BEGINS.search(head(first).partition("\n")[0]))

    def __len__(self) -> int:
        return len(self.lines)

    def name_of(self, row: int) -> str:
        """File and line, from 1."""
        return self.lines.name_of(row)

    def sample(self, row: int, name: str) -> Sample:
        """A document."""
        given = json.loads(self.lines.text(row))
        turns: list[Turn] = []
        pictures: list[Picture] = []
        missing: list[str] = []
        shown: int | None = None
        for words, picture in _pieces(given):
            if picture is not None:
                try:
                    pictures.append(self.gallery.find(picture))
                except DataError as error:
                    missing.append(str(error))
                    continue
                if shown is not None:  # two pictures in a row
                    turns.append(Turn("", picture=shown))
                shown = len(pictures) - 1
            elif words:
                turns.append(Turn(words, picture=shown))
                shown = None
        if shown is not None:
            turns.append(Turn("", picture=shown))
        if missing and not pictures:
            raise DataError(missing[0])
        return Sample(name, "interleaved" if pictures else "text", tuple(turns), tuple(pictures))


def _pieces(row: Mapping[str, Any]) -> Iterator[tuple[str | None, str | None]]:
    """Words or the name of a picture, in order."""
    if "texts" in row:
        for words, picture in zip(row["texts"], row["images"], strict=True):
            if picture:
                yield None, picture
            if words:
                yield words, None
        return
    before: dict[int, list[str]] = {}
    for info in row.get("image_info") or ():
        name = info.get("image_name") or info["raw_url"]
        before.setdefault(info["matched_text_index"], []).append(name)
    for number, words in enumerate(row["text_list"]):
        for name in before.get(number, ()):
            yield None, name
        yield words, None
