"""COCO exports: one JSON file of images, categories and annotations with boxes in pixels.

Boxes are x, y, width, height from the top left. Crowds (iscrowd) are left out, as they are regions
of many things and not one. The file is read once and kept as arrays.
"""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Any

import numpy as np

from kosmos2.data.readers.boxes import box_of, class_turns
from kosmos2.data.readers.files import head, of_split, whole_json
from kosmos2.data.readers.gallery import Gallery
from kosmos2.data.readers.reader import FileReader
from kosmos2.data.sample import Sample
from kosmos2.errors import DataError

PATTERNS = ("*.coco.json", "*/*.coco.json", "annotations/instances*.json", "instances*.json",
            "annotations/*.json", "*.json")  # fmt: skip
_BEGINS = re.compile(r'"(images|annotations|categories)"\s*:')


class Coco(FileReader):
    """Pictures of a COCO export and what lies on them."""

    format = "coco"
    says = "a COCO export (.json with images, annotations, categories)"

    def __init__(self, path: Path, *, pictures: Path | None = None, split: str | None = None):
        super().__init__(path, pictures=pictures, split=split)
        self.file = path if path.is_file() else _export(path, split)
        beside = self.file.parent
        above = beside.parent
        named = [above / split, above / f"{split}2017", above / "images" / split] if split else []
        self.gallery = Gallery(
            pictures, beside, beside / "images", *named, above / "images", above,
            *(above / name for name in ("train2017", "val2017", "train", "val", "default")),
        )  # fmt: skip
        self._index(whole_json(self.file))

    @classmethod
    def recognises(cls, path: Path) -> bool:
        """By the three names, early in the file."""
        candidates = (f for p in PATTERNS for f in path.glob(p)) if path.is_dir() else (path,)
        return any(_looks(file) for _, file in zip(range(20), candidates))

    def __len__(self) -> int:
        return len(self.names)

    def name_of(self, row: int) -> str:
        """The export and the picture."""
        return f"{self.within(self.file)}:{self.names[row]}"

    def sample(self, row: int, name: str) -> Sample:
        """A picture with its boxes by class."""
        here = slice(self.starts[row], self.starts[row + 1])
        found = [
            (self.labels[number], box_of(corners))
            for number, corners in zip(self.categories[here].tolist(), self.boxes[here].tolist())
        ]
        return Sample(name, "objects", class_turns(found), (self.gallery.find(self.names[row]),))

    def _index(self, given: Any) -> None:
        """Keep what is needed as arrays: boxes by picture."""
        try:
            images, annotations = given["images"], given["annotations"]
            self.labels = [str(category["name"]) for category in given["categories"]]
            category_of = {c["id"]: i for i, c in enumerate(given["categories"])}
            self.names = [str(image["file_name"]) for image in images]
            sizes = np.array([(_number(i, "width"), _number(i, "height")) for i in images], float)
            image_of = {image["id"]: i for i, image in enumerate(images)}
            kept = [a for a in annotations if not a.get("iscrowd") and a["image_id"] in image_of]
            rows = np.array([image_of[a["image_id"]] for a in kept], int)
            categories = np.array([category_of[a["category_id"]] for a in kept], int)
            boxes = np.array([_corners(a.get("bbox")) for a in kept], float).reshape(-1, 4)
        except (LookupError, TypeError, AttributeError) as error:
            raise DataError(f"{self.file} is no COCO export: {error!r}") from error
        order = np.argsort(rows, kind="stable")
        boxes[:, 2:] += boxes[:, :2]  # corners
        boxes /= np.tile(sizes.reshape(-1, 2)[rows], 2)  # fractions
        self.categories, self.boxes = categories[order], boxes[order]
        self.starts = np.searchsorted(rows[order], np.arange(len(images) + 1))
        # Some exporters add a category over all others, which nothing belongs to.
        self.classes = tuple(self.labels[i] for i in np.unique(categories))


def _looks(file: Path) -> bool:
    begins = head(file) if file.suffix == ".json" else ""
    return begins.lstrip().startswith("{") and _BEGINS.search(begins) is not None


def _export(folder: Path, split: str | None) -> Path:
    """The one file in a folder that is meant."""
    for pattern in PATTERNS:
        found = sorted(f for f in folder.glob(pattern) if of_split(f, folder, split) and _looks(f))
        if split is None and len(found) > 1:
            found = [f for f in found if of_split(f, folder, "train")] or found
        if len(found) == 1:
            return found[0]
        if found:
            names = ", ".join(str(file.relative_to(folder)) for file in found[:5])
            raise DataError(f"several exports in {folder}: {names}; name one, or its split")
    which = f" of split {split!r}" if split is not None else ""
    raise DataError(f"there is no COCO export{which} in {folder}")


def _number(image: dict[str, Any], key: str) -> float:
    value = image.get(key)
    return value if isinstance(value, int | float) and value > 0 else math.nan


def _corners(box: Any) -> tuple[float, ...]:
    """The four numbers; without them NaN, by which the row will be known as bad when it is read."""
    if isinstance(box, list) and len(box) == 4 and all(isinstance(v, int | float) for v in box):
        return tuple(box)
    return (math.nan,) * 4
