"""YOLO exports: beside each picture of `images/` a file of `labels/`, and the names of the classes.

A line of labels is `class x y width height`, the box's middle and size as fractions; six numbers
end with a score, more are a polygon, of which the bounding box is taken. A picture without a file
has nothing on it. Names stand in data.yaml (names, train, val, path: only these are read, and no
more of YAML than they are written in), or in classes.txt or obj.names.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from kosmos2.data.readers.boxes import box_of, class_turns
from kosmos2.data.readers.files import files_of, has
from kosmos2.data.readers.gallery import PICTURES
from kosmos2.data.readers.reader import FileReader
from kosmos2.data.sample import Picture, Sample
from kosmos2.errors import DataError
from kosmos2.geometry import Box

YAML = ("data.yaml", "data.yml", "dataset.yaml", "dataset.yml")
PLAIN = ("classes.txt", "obj.names", "labels/classes.txt")
Settings = dict[str, list[str]]


class Yolo(FileReader):
    """Pictures of a YOLO export and what lies on them."""

    format = "yolo"
    says = "a YOLO export (data.yaml or classes.txt, images/, labels/)"

    def __init__(self, path: Path, *, pictures: Path | None = None, split: str | None = None):
        super().__init__(path, pictures=pictures, split=split)
        folder = path if path.is_dir() else path.parent
        among = [path] if path.is_file() else [folder / name for name in (*YAML, *PLAIN)]
        told = next((file for file in among if file.is_file()), None)
        if told is None:
            raise DataError(f"there is neither {YAML[0]} nor {PLAIN[0]} in {folder}")
        if told.suffix in (".yaml", ".yml"):
            settings = _settings(told)
            self.classes = tuple(settings.get("names", ()))
            self.files = _pictures(settings, folder, pictures, split)
        else:
            lines = told.read_text("utf-8-sig").splitlines()
            self.classes = tuple(line.strip() for line in lines if line.strip())
            self.files = files_of(pictures or folder, *PICTURES, split=split)
        if not self.classes:
            raise DataError(f"{told} names no classes")
        if split is None and self.files and not any(map(_labels_of, self.files)):
            raise DataError(
                f"none of the {len(self.files)} pictures of {folder} has a file of labels, such as "
                f"{_places(self.files[0])[0]}"
            )

    @classmethod
    def recognises(cls, path: Path) -> bool:
        """By the file of the classes' names."""
        if path.is_file():
            return path.name in YAML
        return has(path, *YAML) or (has(path, *PLAIN) and has(path, "labels", "*.txt"))

    def __len__(self) -> int:
        return len(self.files)

    def name_of(self, row: int) -> str:
        """The picture."""
        return self.within(self.files[row])

    def sample(self, row: int, name: str) -> Sample:
        """A picture with its boxes by class."""
        labels = _labels_of(self.files[row])
        found = []
        for number, line in enumerate(labels.read_text().splitlines() if labels else (), 1):
            if line.strip():
                try:
                    which, box = _labelled([float(word) for word in line.split()])
                except ValueError as error:
                    raise DataError(f"line {number} of its labels: {error}") from error
                if not 0 <= which < len(self.classes):
                    raise DataError(
                        f"line {number} of its labels: class {which}, there are "
                        f"{len(self.classes)}, counted from 0"
                    )
                found.append((self.classes[which], box))
        return Sample(name, "objects", class_turns(found), (Picture(self.files[row]),))


def _labelled(values: Sequence[float]) -> tuple[int, Box]:
    count = len(values)
    if count in (5, 6):
        which, x, y, width, height = values[:5]
        corners = (x - width / 2, y - height / 2, x + width / 2, y + height / 2)
        return int(which), box_of(corners, score=values[5] if count == 6 else None)
    if count >= 7 and count % 2:
        across, down = values[1::2], values[2::2]
        return int(values[0]), box_of((min(across), min(down), max(across), max(down)))
    raise DataError(f"{count} numbers; a box has 5, with a score 6, a polygon 7 or 9 or more")


def _labels_of(picture: Path) -> Path | None:
    """The picture's labels, if it has any."""
    return next((file for file in _places(picture) if file.is_file()), None)


def _places(picture: Path) -> list[Path]:
    """`a/images/train/b.jpg` has `a/labels/train/b.txt`; else they stand beside one another."""
    places = [picture.with_suffix(".txt")]
    for at in reversed([i for i, part in enumerate(picture.parts) if part == "images"]):
        moved = Path(*picture.parts[:at], "labels", *picture.parts[at + 1 :])
        places.insert(0, moved.with_suffix(".txt"))
    return places


def _pictures(
    settings: Settings, folder: Path, pictures: Path | None, split: str | None
) -> list[Path]:
    """Those of a split; of the training one where none is named."""
    if pictures is not None:
        return files_of(pictures, *PICTURES, split=split)
    named = settings.get(split or "train")
    if named is None:
        if split is not None and any(key in settings for key in ("train", "val", "test")):
            raise DataError(f"the data.yaml in {folder} names no split {split!r}")
        return files_of(folder, *PICTURES, split=split)
    roots = [folder / part for part in settings.get("path", [])] + [folder]
    found: list[Path] = []
    for entry in named:
        # Some exporters write `../train/images` for what stands beside the file.
        inside = re.sub(r"^(\.\./)+", "", entry)
        tried = [*(root / entry for root in roots), folder / inside]
        place = next((path for path in tried if path.exists()), None)
        if place is None:
            raise DataError(f"there is no {entry}, which the data.yaml in {folder} names")
        if place.suffix == ".txt":  # a list of pictures
            listed = (line.strip() for line in place.read_text("utf-8-sig").splitlines())
            found += [place.parent / line for line in listed if line]
        else:
            found += files_of(place, *PICTURES)
    return found


def _settings(path: Path) -> Settings:
    """The top-level names of a data.yaml with their values: words, and lists of them by number."""
    settings: Settings = {}
    key = ""
    for line in path.read_text("utf-8-sig").splitlines():
        line = re.sub(r"(^|\s)#.*", "", line).rstrip()
        top = re.match(r"(\w+)\s*:\s*(.*)", line)
        if top:
            key = top[1]
            settings[key] = _words(top[2])
        elif key and (item := re.match(r"\s*-\s+(.*)|\s+['\"]?\d+['\"]?\s*:\s*(.*)", line)):
            settings[key] += [_word(item[1] or item[2])]
        elif key and line.strip():  # an inline list that goes on
            settings[key] += _words(line)
    return settings


def _words(value: str) -> list[str]:
    """`a`, `[a, 'b']` or `{0: a, 1: b}`, or a piece of the latter two."""
    text = value.strip()
    if not text.startswith(("[", "{")) and not text.endswith((",", "]", "}")):
        return [_word(text)] if text else []
    parts = re.findall(r"'[^']*'|\"[^\"]*\"|[^,\[\]{}]+", text)
    words = (re.sub(r"^\s*\d+\s*:\s*", "", part).strip() for part in parts)
    return [_word(word) for word in words if word]


def _word(text: str) -> str:
    text = text.strip()
    quoted = len(text) > 1 and text[0] == text[-1] and text[0] in "'\""
    return text[1:-1] if quoted else text
