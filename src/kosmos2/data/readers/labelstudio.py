"""Label Studio's JSON exports, full or JSON-MIN: rectangles in percent, perhaps turned.

A rectangle is turned clockwise about its top left corner; its bounding box is taken. Tasks that
nobody has labelled are left out; where several people have, the one marked as ground truth counts,
else the last. Where the picture's path is one inside Label Studio, it is looked for by name, with
and without the `1a2b3c4d-` that uploading puts before it.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from kosmos2.data.readers.boxes import box_of, class_turns
from kosmos2.data.readers.files import head, whole_json
from kosmos2.data.readers.gallery import PICTURES, Gallery
from kosmos2.data.readers.reader import FileReader
from kosmos2.data.sample import Picture, Sample
from kosmos2.errors import DataError
from kosmos2.geometry import Box

KEYS = ("image", "picture", "img", "photo")
_BEGINS = re.compile(r'"(rectanglelabels|annotations|completions)"\s*:')
Region = Mapping[str, Any]


class LabelStudio(FileReader):
    """Pictures of a Label Studio project and what lies on them."""

    format = "labelstudio"
    says = "a Label Studio export (.json, a list of tasks with rectanglelabels)"

    def __init__(self, path: Path, *, pictures: Path | None = None, split: str | None = None):
        super().__init__(path, pictures=pictures, split=split)
        self.file = _export(path)
        folder = self.file.parent
        self.gallery = Gallery(pictures, folder, folder / "images", folder / "upload")
        tasks = whole_json(self.file)
        if not isinstance(tasks, list) or not all(isinstance(task, dict) for task in tasks):
            raise DataError(f"{self.file} is no list of tasks")
        labelled = [(number, task, _regions(task)) for number, task in enumerate(tasks)]
        self.tasks = [(n, task.get("data", task), r) for n, task, r in labelled if r is not None]
        labels = {label for _, _, regions in self.tasks for r in regions for label in _labels(r)}
        self.classes = tuple(sorted(labels))

    @classmethod
    def recognises(cls, path: Path) -> bool:
        """By a list, and a name in it."""
        candidates = path.glob("*.json") if path.is_dir() else (path,)
        return any(_looks(file) for _, file in zip(range(20), candidates))

    def __len__(self) -> int:
        return len(self.tasks)

    def name_of(self, row: int) -> str:
        """The export and the number of the task in it, from 0."""
        return f"{self.within(self.file)}:{self.tasks[row][0]}"

    def sample(self, row: int, name: str) -> Sample:
        """A picture with its boxes by class."""
        _, data, regions = self.tasks[row]
        found = [(label, _box(region)) for region in regions for label in _labels(region)]
        return Sample(name, "objects", class_turns(found), (self._picture(data),))

    def _picture(self, data: Region) -> Picture:
        given = next((data[key] for key in KEYS if isinstance(data.get(key), str)), None)
        if given is None:
            words = (value for value in data.values() if isinstance(value, str))
            given = next((w for w in words if w.lower().split("?")[0].endswith(PICTURES)), None)
        if given is None:
            raise DataError("names no picture")
        address = urlsplit(given)
        local = parse_qs(address.query).get("d", [])
        path = unquote(local[0] if local else address.path or given)
        file = Path(path).name
        return self.gallery.find(given, path.lstrip("/"), file, re.sub(r"^[0-9a-f]{8}-", "", file))


def _looks(file: Path) -> bool:
    begins = head(file) if file.suffix == ".json" else ""
    return begins.lstrip().startswith("[") and _BEGINS.search(begins) is not None


def _export(path: Path) -> Path:
    if path.is_file():
        return path
    found = sorted(file for file in path.glob("*.json") if _looks(file))
    if len(found) != 1:
        raise DataError(f"{len(found)} Label Studio exports in {path}; name the file itself")
    return found[0]


def _regions(task: Region) -> Sequence[Region] | None:
    """What somebody drew, or None where nobody has looked."""
    answers = task.get("annotations", task.get("completions"))
    if answers is None:  # JSON-MIN: values beside the picture's path, none where nothing was drawn
        return [r for v in task.values() if isinstance(v, list) for r in v if isinstance(r, dict)]
    given = [answer for answer in answers if not answer.get("was_cancelled")]
    if not given:
        return None
    chosen = next((answer for answer in given if answer.get("ground_truth")), given[-1])
    return list(_values(chosen.get("result") or ()))


def _values(result: Sequence[Region]) -> Iterator[Region]:
    for drawn in result:
        value = drawn.get("value")
        if isinstance(value, dict) and _labels(value):
            sizes = {k: drawn[k] for k in ("original_width", "original_height") if k in drawn}
            yield {**sizes, **value}


def _labels(region: Region) -> Sequence[str]:
    return region.get("rectanglelabels") or () if "width" in region else ()


def _box(region: Region) -> Box:
    x, y, width, height = (float(region[key]) / 100 for key in ("x", "y", "width", "height"))
    turned = math.radians(float(region.get("rotation") or 0))
    if not turned:
        return box_of((x, y, x + width, y + height))
    # Angles are those seen on the screen, so pixels and not fractions are turned.
    across, down = float(region["original_width"]), float(region["original_height"])
    cos, sin = math.cos(turned), math.sin(turned)
    corners = [(a * width * across, b * height * down) for a in (0, 1) for b in (0, 1)]
    xs = [x + (right * cos - under * sin) / across for right, under in corners]
    ys = [y + (right * sin + under * cos) / down for right, under in corners]
    return box_of((min(xs), min(ys), max(xs), max(ys)))
