"""Pictures by the names that data sets give them."""

from __future__ import annotations

from pathlib import Path

from kosmos2.data.sample import Picture
from kosmos2.errors import DataError

PICTURES = (".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff")


class Gallery:
    """Finds the pictures that a data set names, in the folders where they may be."""

    def __init__(self, *folders: Path | None) -> None:
        there = (folder for folder in folders if folder is not None and folder.is_dir())
        self.folders = list(dict.fromkeys(there))

    def find(self, *names: str) -> Picture:
        """By its path as somebody wrote it down, or by the first of several that leads to it.

        Raises:
            DataError: it is not there, or all there is is an address.
        """
        for name in names:
            given = Path(name.removeprefix("file://").replace("\\", "/"))
            forms = (given,) if len(given.parts) == 1 else (given, given.name)
            for folder in self.folders:
                for form in forms:
                    if (candidate := folder / form).is_file():
                        return Picture(candidate)
        if "://" in names[0]:
            raise DataError(
                f"{names[0]} is an address, and nothing is fetched; download the pictures and name "
                "their folder as `pictures`"
            )
        raise self._missing(names[0])

    def find_stem(self, *stems: str) -> Picture:
        """By a name that lacks its ending."""
        for stem in stems:
            for folder in self.folders:
                for ending in PICTURES:
                    for candidate in (folder / (stem + ending), folder / (stem + ending.upper())):
                        if candidate.is_file():
                            return Picture(candidate)
        raise self._missing(f"{stems[0]}.*" if stems else "without a name")

    def _missing(self, name: str) -> DataError:
        places = ", ".join(str(folder) for folder in self.folders)
        return DataError(f"no picture {name} in {places}; name its folder as `pictures`")
