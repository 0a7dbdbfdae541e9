"""Every way to hand in a picture, and every way in which it can be none."""

from __future__ import annotations

import io
import os
import pickle
import re
import struct
import zipfile
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from kosmos2.config import VisionConfig
from kosmos2.errors import ConfigError, ImageError, MissingImageError
from kosmos2.images import Limits, Picture, open_picture, to_pixels

RNG = np.random.default_rng(7)
SMALL = RNG.integers(0, 256, (20, 30, 3), dtype=np.uint8)


def file(image: Image.Image, kind: str = "PNG", **settings) -> bytes:
    made = io.BytesIO()
    image.save(made, kind, **settings)
    return made.getvalue()


def png_header(width: int, height: int) -> bytes:
    """A PNG that says how large it is, and nothing more."""
    head = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + head + struct.pack(">I", zlib.crc32(head))
        + struct.pack(">I", 0) + b"IDAT" + struct.pack(">I", zlib.crc32(b"IDAT"))
    )  # fmt: skip


def zipped() -> bytes:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as archive:
        archive.writestr("a.png", file(Image.new("RGB", (3, 3))))
    return made.getvalue()


def message(source, limits: Limits = Limits()) -> str:  # noqa: B008  frozen
    with pytest.raises(ImageError) as caught:
        open_picture(source, limits)
    text = str(caught.value)
    assert not re.search(r"0x[0-9a-f]{4,}|object at|<[\w.]+ ", text), text
    return text


def test_every_kind_of_source_gives_the_same_picture(tmp_path: Path) -> None:
    image = Image.fromarray(SMALL)
    path = tmp_path / "a.png"
    path.write_bytes(file(image))
    first = open_picture(path)
    assert (first.width, first.height, first.image.mode) == (30, 20, "RGB")
    assert np.array_equal(np.asarray(first.image), SMALL)
    sources = [
        str(path),
        file(image),
        bytearray(file(image)),
        memoryview(file(image)),
        image,
        SMALL,
    ]
    for source in sources:
        again = open_picture(source)
        assert again == first
        assert again.digest == first.digest
    assert open_picture(first) is first


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "GIF", "BMP", "TIFF", "JPEG"])
def test_the_six_formats_are_opened(kind: str) -> None:
    image = Image.new("RGB", (12, 9), (200, 30, 60))
    opened = open_picture(file(image, kind))
    assert np.abs(np.asarray(opened.image).astype(int) - (200, 30, 60)).max() <= 4


@pytest.mark.parametrize("kind", ["PPM", "TGA", "ICO", "EPS"])
def test_other_formats_of_pillow_are_not(kind: str) -> None:
    assert "JPEG, PNG" in message(file(Image.new("RGB", (16, 16)), kind)) or kind == "EPS"
    if kind == "EPS":
        assert "PostScript" in message(file(Image.new("RGB", (16, 16)), kind))


@pytest.mark.parametrize(
    ("array", "mode"),
    [(SMALL[..., 0], "L"), (SMALL, "RGB"), (np.dstack([SMALL, SMALL[..., :1]]), "RGBA")],
    ids=["grey", "colours", "with alpha"],
)
def test_arrays_are_the_images_that_pillow_makes_of_them(array: np.ndarray, mode: str) -> None:
    assert open_picture(array) == open_picture(Image.fromarray(array, mode=None).convert(mode))


def test_a_picture_does_not_change_with_the_array_or_image_it_came_from() -> None:
    array = SMALL.copy()
    image = Image.fromarray(SMALL)
    from_array, from_image = open_picture(array), open_picture(image)
    array[:] = 0
    image.paste((0, 0, 0), (0, 0, 30, 20))
    assert np.array_equal(np.asarray(from_array.image), SMALL)
    assert np.array_equal(np.asarray(from_image.image), SMALL)


@pytest.mark.parametrize(
    ("array", "way_out"),
    [
        (SMALL / 255, r"float64, not uint8; give \(array \* 255\)\.round\(\)"),
        (SMALL.astype(np.float16), "float16"),
        (SMALL.astype(np.int64), "int64, not uint8; scale it"),
        (SMALL[..., 0] > 3, "bool"),
        (SMALL.transpose(2, 0, 1), r"3 x 20 x 30; channels go last"),
        (SMALL[None], "several pictures"),
        (SMALL[..., :2], "20 x 30 x 2; give H x W"),
        (SMALL[0, 0], "the array is 3; give H x W"),
        (SMALL[:0], "0 x 30 x 3, without a pixel"),
    ],
)
def test_other_arrays_are_refused_with_the_way_out(array: np.ndarray, way_out: str) -> None:
    assert re.search(way_out, message(array))


@pytest.mark.parametrize("source", [None, 3, ["a.png"], object(), io.BytesIO(b"x")])
def test_what_is_no_picture_at_all_is_named_by_its_kind(source) -> None:
    assert message(source).startswith(f"a {type(source).__name__} is no picture; give a path")


def test_a_missing_file_is_missing(tmp_path: Path) -> None:
    for source in (tmp_path / "no.png", str(tmp_path / "no" / "no.png"), "a\0b.png", ""):
        with pytest.raises(MissingImageError):
            open_picture(source)
    with pytest.raises(MissingImageError, match=r"there is no file .*no\.png; check the path"):
        open_picture(tmp_path / "no.png")


def test_a_long_name_is_not_repeated_whole() -> None:
    assert len(message("x" * 100_000)) < 400


def test_a_folder_is_no_picture(tmp_path: Path) -> None:
    assert message(tmp_path).startswith(f"{tmp_path} is a folder")


def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    assert "not an ordinary file" in message(tmp_path / "pipe")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_forbidden_file_says_so(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(b"x")
    path.chmod(0)
    assert "Permission denied" in message(path)


def test_an_address_is_not_fetched() -> None:
    assert "nothing is fetched" in message("https://example.org/a.jpg")


@pytest.mark.parametrize(
    ("data", "way_out"),
    [
        (b"", "is empty"),
        (b'<svg xmlns="http://www.w3.org/2000/svg"/>', "SVG drawing; export it as PNG"),
        (b'\n<?xml version="1.0"?><svg/>', "SVG drawing; export it as PNG"),
        (b"<!DOCTYPE html><html>", "a web page"),
        (b"%PDF-1.7", "PDF"),
        (zipped(), "zip archive"),
        (pickle.dumps([1, 2]), "a pickle, which is never opened"),
        (b"\0\0\0\x20ftypheic" + bytes(30), "HEIC, AVIF"),
        (b"hello", "damaged or no picture"),
        (bytes(5000), "damaged or no picture"),
        (b"\x89PNG\r\n\x1a\n", "damaged"),
        (b"\xff\xd8\xff\xe0", "damaged"),
    ],
)
def test_what_is_no_picture_is_called_what_it_is(tmp_path: Path, data: bytes, way_out: str) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(data)
    assert way_out in message(data)
    assert message(path).startswith(f"{path} is ")


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "GIF", "WEBP", "TIFF", "BMP"])
def test_a_file_cut_in_half_is_refused(photo: Image.Image, kind: str) -> None:
    data = file(photo.resize((100, 100)), kind)
    assert "damaged" in message(data[: len(data) // 2])


@pytest.mark.filterwarnings("ignore::UserWarning")  # Pillow's, about what it found
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "GIF", "WEBP", "TIFF", "BMP"])
def test_damage_anywhere_is_refused_or_survived(kind: str) -> None:
    data = file(Image.fromarray(SMALL), kind)
    draw = np.random.default_rng(1)
    for _ in range(150):
        damaged = bytearray(data)
        for at in draw.integers(0, len(data), 3):
            damaged[at] = draw.integers(0, 256)
        try:
            assert open_picture(bytes(damaged)).image.mode == "RGB"
        except ImageError as error:
            assert "0x" not in str(error)  # noqa: PT017  either is fine; the message may not leak


def test_one_pixel_is_a_picture() -> None:
    picture = open_picture(file(Image.new("RGB", (1, 1), (9, 8, 7))))
    assert (picture.width, picture.height) == (1, 1)
    assert to_pixels(picture, VisionConfig()).shape == (3, 224, 224)


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_a_header_of_fifty_thousand_pixels_a_side_is_refused_before_decoding() -> None:
    assert "limit" in message(png_header(50_000, 50_000))
    assert "10,000 x 9,000 pixels, the limit is 40,000,000" in message(png_header(10_000, 9_000))
    assert "7,000 x 7,000 pixels, the limit is" in message(png_header(7_000, 7_000))
    assert "damaged" in message(png_header(6_000, 6_000))  # within the limit, but without pixels


def test_limits_hold_for_every_kind_of_source(tmp_path: Path) -> None:
    path = tmp_path / "a.bmp"
    path.write_bytes(file(Image.fromarray(SMALL), "BMP"))
    for source in (path, path.read_bytes(), Image.fromarray(SMALL), SMALL):
        assert "30 x 20 pixels, the limit is 599" in message(source, Limits(pixels=599))
        assert open_picture(source, Limits(pixels=600)).width == 30
    for source in (path, path.read_bytes()):
        size = path.stat().st_size
        assert f"{size:,} bytes, the limit is {size - 1:,}" in message(
            source, Limits(bytes=size - 1)
        )
        assert open_picture(source, Limits(bytes=size)).width == 30


def test_a_thread_is_no_picture() -> None:
    assert "200 times as long as wide" in message(np.zeros((1, 201), np.uint8))
    assert open_picture(np.zeros((1, 200), np.uint8)).width == 200


@pytest.mark.parametrize("name", ["pixels", "bytes", "aspect"])
def test_limits_of_nothing_are_refused(name: str) -> None:
    with pytest.raises(ConfigError, match=f"limits.{name} is 0"):
        Limits(**{name: 0})


def test_a_closed_image_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(file(Image.fromarray(SMALL)))
    image = Image.open(path)
    image.close()
    message(image)


def test_a_picture_tells_its_name_and_size_and_no_address() -> None:
    assert repr(open_picture(SMALL)) == "Picture('the array', 30 x 20)"


def test_a_picture_is_rgb() -> None:
    with pytest.raises(ImageError, match="is L, not RGB"):
        Picture(Image.new("L", (3, 3)), "grey")


def test_digests_tell_pictures_apart() -> None:
    flat = open_picture(SMALL.reshape(10, 60, 3))
    other = SMALL.copy()
    other[-1, -1, -1] ^= 1
    digests = {open_picture(SMALL).digest, flat.digest, open_picture(other).digest}
    assert len(digests) == 3
    assert all(re.fullmatch("[0-9a-f]{64}", digest) for digest in digests)
    assert len({open_picture(SMALL), open_picture(SMALL.copy())}) == 1


def test_a_picture_as_jpeg_is_the_picture(photo: Image.Image) -> None:
    picture = open_picture(photo)
    again = open_picture(picture.jpeg())
    assert (again.width, again.height) == (picture.width, picture.height)
    seen = np.asarray(again.image).astype(int) - np.asarray(picture.image)
    assert np.abs(seen).mean() < 3


def test_a_picture_longer_than_jpeg_allows_is_shown_smaller() -> None:
    picture = Picture(Image.new("RGB", (66_000, 2)))
    assert Image.open(io.BytesIO(picture.jpeg())).width == 65_500


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
@pytest.mark.parametrize(
    ("data", "fault"),
    [
        (b"hello", "format"),
        (b"%PDF-1.7", "format"),
        (b"\0\0\0\x20ftypheic" + bytes(30), "format"),
        (b"", "unreadable"),
        (b"\xff\xd8\xff\xe0", "unreadable"),
        (b"\x89PNG\r\n\x1a\n", "unreadable"),
        (b"RIFF\x10\0\0\0WEBPVP8L", "unreadable"),
        (png_header(60, 60), "unreadable"),
        (png_header(50_000, 50_000), "large"),
        (png_header(7_000, 7_000), "large"),
        (png_header(1, 201), "large"),
        (bytes(50 * 2**20 + 1), "large"),
    ],
)
def test_what_is_wrong_can_be_told_without_reading_the_message(data: bytes, fault: str) -> None:
    with pytest.raises(ImageError) as caught:
        open_picture(data)
    assert caught.value.fault == fault
