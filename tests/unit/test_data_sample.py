"""A sample is checked where it is built, and its pictures are opened where they are needed."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from exports import encoded, pixels, write
from kosmos2.data.sample import Picture, Sample, Span, Turn
from kosmos2.errors import DataError
from kosmos2.geometry import Box

BOX = Box(0.1, 0.2, 0.5, 0.9)
PICTURE = Picture(Path("nowhere.jpg"))
PAIR = Sample("row 1", "pair", (Turn("a dog", (Span(0, 5, (BOX,)),)),), (PICTURE,))
TALK = (Turn("What is it?", learn=False, picture=0), Turn("A dog."))


def spanned(start: int, end: int, *boxes: Box, score: float = 1.0) -> tuple[Turn, ...]:
    return (Turn("a dog", (Span(start, end, boxes, score),)),)


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"turns": spanned(0, 6, BOX)}, "beyond the text's 5 characters"),
        ({"turns": spanned(3, 3, BOX)}, "span 3 to 3 is empty"),
        ({"turns": spanned(-1, 3, BOX)}, "span -1 to 3"),
        ({"turns": spanned(0, 5)}, "has no box"),
        ({"turns": spanned(0, 5, BOX, score=1.5)}, "score 1.5"),
        ({"turns": spanned(0, 5, Box(0.1, 0.2, 0.5, 1.01))}, "beyond the picture"),
        ({"turns": spanned(0, 5, BOX, Box(0.5, 0.2, 0.5, 0.9))}, "empty"),
        ({"turns": spanned(0, 5, Box(float("nan"), 0.2, 0.5, 0.9))}, "beyond the picture"),
        ({"turns": ()}, "0 turns in a pair"),
        ({"turns": (Turn(""),)}, "nothing to learn"),
        ({"turns": (Turn("a", picture=1),)}, "picture 1 of 1"),
        ({"pictures": ()}, "0 pictures"),
        ({"kind": "text"}, "call it interleaved"),
        ({"kind": "text", "pictures": ()}, "no picture that they lie on"),
        ({"kind": "poem"}, "no kind is called 'poem'"),
        ({"weight": 0.0}, "weight 0.0"),
        ({"weight": float("inf")}, "weight inf"),
        ({"kind": "dialogue", "turns": TALK[::-1]}, "alternate"),
        ({"kind": "dialogue", "turns": TALK[:1]}, "nothing to learn"),
    ],
)
def test_what_is_wrong_is_told_with_the_row(changes: dict[str, object], complaint: str) -> None:
    with pytest.raises(DataError, match=r"^row 1: ") as caught:
        replace(PAIR, **changes)  # type: ignore[arg-type]
    assert complaint in str(caught.value)


def test_what_is_right_is_taken() -> None:
    replace(PAIR, kind="objects", turns=())  # somebody looked, and nothing is there
    replace(PAIR, kind="dialogue", turns=TALK)
    replace(PAIR, kind="interleaved", turns=(Turn("", picture=0), Turn("words")))
    replace(PAIR, kind="text", turns=(Turn("words"),), pictures=())


def test_a_path_bytes_and_pixels_are_the_same_picture(tmp_path: Path) -> None:
    file = write(tmp_path / "a.png", encoded(4))
    for source in (file, encoded(4), pixels(4)):
        assert np.array_equal(np.array(Picture(source).open()), pixels(4))


def test_a_picture_is_turned_as_its_camera_was_held(tmp_path: Path) -> None:
    held = Image.Exif()
    held[0x0112] = 6
    Image.fromarray(pixels(1)).save(tmp_path / "a.png", exif=held)
    seen = np.array(Picture(tmp_path / "a.png").open())
    assert np.array_equal(seen, np.rot90(pixels(1), -1))


def test_a_picture_that_cannot_be_opened_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"missing\.jpg"):
        Picture(tmp_path / "missing.jpg").open()
    with pytest.raises(DataError, match=r"^shard\.tar:7 \(000\.jpg\): .*cut short"):
        Picture(encoded(0, "JPEG")[:-500], "shard.tar:7 (000.jpg)").open()
