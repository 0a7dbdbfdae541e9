"""Colour modes, transparency, rotation and frames: what a person sees is what comes out."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image, ImageOps

from kosmos2.errors import ImageError
from kosmos2.images import colours, open_picture

RNG = np.random.default_rng(8)
COLOURS = RNG.integers(0, 256, (8, 12, 3), dtype=np.uint8)
ALPHA = RNG.integers(0, 256, (8, 12), dtype=np.uint8)
GREY = RNG.integers(0, 256, (8, 12), dtype=np.uint8)


def file(image: Image.Image, kind: str = "PNG", **settings) -> bytes:
    made = io.BytesIO()
    image.save(made, kind, **settings)
    return made.getvalue()


def pixels(source) -> np.ndarray:
    return np.asarray(open_picture(source).image).astype(int)


def on_white(colours: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    """By hand: a part of the colour, the rest of the paper."""
    share = alpha[..., None] / 255
    return colours * share + 255 * (1 - share)


def test_alpha_shows_white_behind() -> None:
    rgba = Image.fromarray(np.dstack([COLOURS, ALPHA]))
    for source in (rgba, file(rgba), file(rgba, "WEBP", lossless=True, exact=True)):
        assert np.abs(pixels(source) - on_white(COLOURS, ALPHA)).max() <= 1


def test_grey_with_alpha_shows_white_behind() -> None:
    la = Image.merge("LA", (Image.fromarray(GREY), Image.fromarray(ALPHA)))
    expected = on_white(np.dstack([GREY] * 3), ALPHA)
    for source in (la, file(la)):
        assert np.abs(pixels(source) - expected).max() <= 1


@pytest.mark.parametrize("mode", ["La", "RGBa"])
def test_premultiplied_alpha_shows_white_behind(mode: str) -> None:
    straight = Image.fromarray(np.dstack([COLOURS, ALPHA]))
    if mode == "La":
        straight = Image.merge("LA", (Image.fromarray(GREY), Image.fromarray(ALPHA)))
    seen = np.abs(pixels(straight.convert(mode)) - pixels(straight))
    assert seen.max() <= 2


def test_a_palette_with_a_transparent_colour_shows_white_there() -> None:
    image = Image.new("P", (4, 2), 0)
    image.putpalette([255, 0, 0, 0, 255, 0])
    image.paste(1, (0, 0, 2, 2))
    for data in (file(image, transparency=0), file(image, "GIF", transparency=0)):
        seen = pixels(data)
        assert seen[0, 0].tolist() == [0, 255, 0]
        assert seen[0, 3].tolist() == [255, 255, 255]


def test_a_palette_with_alpha_for_each_colour_is_composited() -> None:
    image = Image.new("P", (2, 1), 0)
    image.putpalette([255, 0, 0, 0, 255, 0])
    image.putpixel((1, 0), 1)
    seen = pixels(file(image, transparency=bytes([255, 128])))
    assert seen[0, 0].tolist() == [255, 0, 0]
    assert np.abs(seen[0, 1] - [127, 255, 127]).max() <= 1


def test_a_colour_called_transparent_hides_what_is_under_it() -> None:
    colours = Image.new("RGB", (3, 1), (10, 20, 30))
    colours.putpixel((0, 0), (1, 2, 3))
    assert pixels(file(colours, transparency=(10, 20, 30)))[0].tolist() == [
        [1, 2, 3], [255, 255, 255], [255, 255, 255],
    ]  # fmt: skip
    grey = Image.new("L", (2, 1), 7)
    grey.putpixel((0, 0), 9)
    assert pixels(file(grey, transparency=7))[0].tolist() == [[9] * 3, [255] * 3]


def test_sixteen_bit_grey_is_scaled_not_clipped() -> None:
    deep = Image.fromarray(GREY.astype(np.uint16) * 257)
    assert deep.mode.startswith("I;16")
    for source in (deep, file(deep), file(deep, "TIFF")):
        assert np.array_equal(pixels(source), np.dstack([GREY] * 3))


def test_deeper_grey_is_taken_as_sixteen_bits_or_refused() -> None:
    deep = Image.fromarray(GREY.astype(np.int32) * 257)
    assert deep.mode == "I"
    assert np.array_equal(pixels(deep), np.dstack([GREY] * 3))
    for value in (-1, 65_536):
        with pytest.raises(ImageError, match="beyond 16 bits; convert it to 8 bits"):
            open_picture(Image.new("I", (2, 2), value))


def test_floating_point_images_are_refused_with_the_way_out() -> None:
    with pytest.raises(ImageError, match="floating-point pixels; scale them"):
        open_picture(Image.new("F", (2, 2), 0.5))


def test_cmyk_shows_its_colours() -> None:
    cmyk = Image.new("RGB", (16, 16), (200, 40, 90)).convert("CMYK")
    for source in (cmyk, file(cmyk, "JPEG", quality=95), file(cmyk, "TIFF")):
        assert np.abs(pixels(source) - (200, 40, 90)).max() <= 6


@pytest.mark.parametrize("mode", ["1", "L", "P", "YCbCr", "HSV"])
def test_other_modes_are_what_pillow_makes_of_them(mode: str) -> None:
    image = Image.fromarray(COLOURS).convert(mode)
    assert np.array_equal(pixels(image), np.asarray(image.convert("RGB")).astype(int))


def test_only_the_first_frame_counts() -> None:
    frames = [Image.new("RGB", (6, 4), colour) for colour in ("red", "lime", "blue")]
    for kind in ("GIF", "PNG", "WEBP", "TIFF"):
        settings = {"lossless": True} if kind == "WEBP" else {}
        data = file(frames[0], kind, save_all=True, append_images=frames[1:], **settings)
        assert pixels(data)[0, 0].tolist() == [255, 0, 0], kind


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF", "PIL"])
def test_rotation_by_exif_is_undone(orientation: int, kind: str) -> None:
    """Pillow's own undoing is the other road; sizes differ, so a quarter turn shows."""
    image = Image.fromarray(np.repeat(np.repeat(COLOURS, 8, axis=0), 8, axis=1))
    exif = Image.Exif()
    exif[0x0112] = orientation
    settings = {"lossless": True} if kind == "WEBP" else {"quality": 95} if kind == "JPEG" else {}
    data = file(image, "JPEG" if kind == "PIL" else kind, exif=exif, **settings)
    raw = Image.open(io.BytesIO(data))
    expected = ImageOps.exif_transpose(raw)
    source = Image.open(io.BytesIO(data)) if kind == "PIL" else data
    picture = open_picture(source)
    assert np.array_equal(np.asarray(picture.image), np.asarray(expected))
    assert (picture.width, picture.height) == ((64, 96) if orientation > 4 else (96, 64))
    again = open_picture(picture.image)
    assert again == picture, "an upright picture must not turn again"


@pytest.mark.filterwarnings("ignore::UserWarning")  # Pillow's, about what it found
def test_broken_exif_does_not_cost_the_picture(caplog: pytest.LogCaptureFixture) -> None:
    image = Image.fromarray(COLOURS)
    for exif in (b"Exif\0\0garbage", b"Exif\0\0II*\0\xff\xff\xff\xff", b"Exif\0\0MM\0*\0\0\0\x08"):
        assert open_picture(file(image, "JPEG", exif=exif)).width == 12
    image.info["exif"] = b"Exif\0\0garbage"
    assert open_picture(image) == open_picture(COLOURS)
    assert "unreadable EXIF" in caplog.text


@pytest.mark.parametrize("mode", ["RGBA", "LA", "La", "RGBa", "PA", "P", "I;16", "I"])
@pytest.mark.parametrize("rows", [1, 3, 8])
def test_colours_by_bands_are_the_colours_of_the_whole(
    mode: str, rows: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    if mode == "P":
        image = Image.fromarray(COLOURS).quantize(16)
        image.info["transparency"] = 3
    elif mode.startswith("I"):
        image = Image.fromarray(GREY.astype(np.uint16 if ";" in mode else np.int32) * 200)
    else:
        straight = Image.fromarray(np.dstack([COLOURS, ALPHA]))
        way = {"PA": "LA", "La": "LA"}.get(mode)
        image = (straight.convert(way) if way else straight).convert(mode)
    assert image.mode == mode
    whole = pixels(image)
    monkeypatch.setattr(colours, "BAND", rows * image.width)
    assert np.array_equal(pixels(image), whole)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_it_is_told_how_far_a_picture_was_turned(kind: str) -> None:
    turns = []
    for orientation in range(10):
        exif = Image.Exif()
        exif[0x0112] = orientation
        turns.append(open_picture(file(Image.fromarray(COLOURS), kind, exif=exif)).rotated)
    assert turns == [0, 0, 0, 180, 180, 90, 90, 270, 270, 0]
    assert open_picture(COLOURS).rotated == 0
