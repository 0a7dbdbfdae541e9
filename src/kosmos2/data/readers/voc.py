"""Pascal VOC exports: an XML file for each picture, in Annotations/ or beside it.

Corners are pixels counted from 1, and the last one belongs to the box: xmin 1, xmax 10 is ten
pixels wide. The files are strangers': no DTD, no entities, UTF-8 alone.
"""

from __future__ import annotations

import re
from pathlib import Path
from xml.etree import ElementTree

from kosmos2.data.readers.boxes import box_of, class_turns
from kosmos2.data.readers.files import files_of, head
from kosmos2.data.readers.gallery import Gallery
from kosmos2.data.readers.reader import FileReader
from kosmos2.data.sample import Sample
from kosmos2.errors import DataError
from kosmos2.geometry import Box

MOST_BYTES = 4 * 2**20
_DECLARATION = re.compile(r"\s*<\?xml[^>]*\?>")
_CORNERS = ("xmin", "ymin", "xmax", "ymax")


class Voc(FileReader):
    """Pictures of a Pascal VOC export and what lies on them."""

    format = "voc"
    says = "a Pascal VOC export (Annotations/*.xml, JPEGImages/)"

    def __init__(self, path: Path, *, pictures: Path | None = None, split: str | None = None):
        super().__init__(path, pictures=pictures, split=split)
        folder = path if path.is_dir() else path.parent
        listed = folder / "ImageSets" / "Main" / f"{split}.txt"
        if split is not None and listed.is_file():
            stems = [line.split()[0] for line in listed.read_text().splitlines() if line.strip()]
            self.files = [folder / "Annotations" / f"{stem}.xml" for stem in stems]
        else:
            self.files = files_of(path, ".xml", split=split)
        self.gallery = Gallery(
            pictures, folder / "JPEGImages", folder / "images", *{f.parent for f in self.files},
            folder,
        )  # fmt: skip
        # The classes are told nowhere, but each file is small.
        names = (
            re.findall(r"<object>.*?<name>\s*([^<]*?)\s*</name>", head(f), re.S) for f in self.files
        )
        self.classes = tuple(sorted({name for found in names for name in found}))

    @classmethod
    def recognises(cls, path: Path) -> bool:
        """By the root of one of the files."""
        patterns = ("Annotations/*.xml", "*.xml", "*/*.xml")
        if path.is_dir():
            path = next((file for p in patterns for file in path.glob(p)), path)
        return path.suffix == ".xml" and "<annotation" in head(path)

    def __len__(self) -> int:
        return len(self.files)

    def name_of(self, row: int) -> str:
        """The XML file."""
        return self.within(self.files[row])

    def sample(self, row: int, name: str) -> Sample:
        """A picture with its boxes by class."""
        root = tree(self.files[row])
        file = root.findtext("filename", "").strip()
        size = [_number(root, f"size/{side}") for side in ("width", "height")]
        found = [
            (_text(thing, "name"), _box(thing, size[0], size[1])) for thing in root.iter("object")
        ]
        stem = self.files[row].stem
        picture = self.gallery.find(file) if file else self.gallery.find_stem(stem)
        return Sample(name, "objects", class_turns(found), (picture,))


def tree(path: Path) -> ElementTree.Element:
    """The root of an XML file that says nothing but what it says.

    Raises:
        DataError: it defines entities, is too large, not UTF-8, or no XML.
    """
    data = path.read_bytes()
    if len(data) > MOST_BYTES:
        raise DataError(f"{len(data):,} bytes of XML, the limit is {MOST_BYTES:,}")
    # Decoded here: a declared encoding could hide a DTD from the look for one.
    text = _DECLARATION.sub("", data.decode("utf-8-sig"), count=1)
    if re.search(r"<!\s*(DOCTYPE|ENTITY)", text, re.I):
        raise DataError("defines a document type or entities, which is not read; take that out")
    try:
        return ElementTree.fromstring(text)
    except ElementTree.ParseError as error:
        raise DataError(f"is no XML: {error}") from error


def _box(thing: ElementTree.Element, width_px: float, height_px: float) -> Box:
    left, top, right, bottom = (_number(thing, f"bndbox/{corner}") for corner in _CORNERS)
    return box_of((left - 1, top - 1, right, bottom), "px", width_px, height_px)


def _number(element: ElementTree.Element, path: str) -> float:
    return float(_text(element, path))


def _text(element: ElementTree.Element, path: str) -> str:
    text = element.findtext(path, "").strip()
    if not text:
        raise DataError(f"has no <{path}>")
    return text
