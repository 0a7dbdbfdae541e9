"""Pictures that are damaged, far too large, no pictures at all, or just odd and to be read right.

All are made in memory; only the WebP of 131 million pixels stands here as it is, since making one
takes as much memory as reading it.
"""

from __future__ import annotations

import base64
import io
import pickle
import random
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache

from PIL import Image, PngImagePlugin

from hostile.doors import EXAMPLE

GOOD = ({200}, frozenset[str]())
DAMAGED = ({400}, frozenset({"image_invalid"}))
# A flipped bit may leave a whole picture, or make it seem huge, slow or foreign.
PERHAPS = (
    {200, 400},
    frozenset(
        {"image_invalid", "image_too_large", "image_too_complex", "image_format_unsupported"}
    ),
)
TOO_LARGE = ({400}, frozenset({"image_too_large"}))
TOO_COMPLEX = ({400}, frozenset({"image_too_complex"}))
FOREIGN = ({400}, frozenset({"image_format_unsupported"}))
MANY_SCANS = 60_000  # of one picture; each makes the decoder walk over all of it


@dataclass(frozen=True)
class Picture:
    """One file, and which answers to it are right."""

    name: str
    data: bytes
    right: tuple[set[int], frozenset[str]]
    slow: bool = False

    @property
    def url(self) -> str:
        return data_url(self.data)


def data_url(data: bytes, kind: str = "jpeg") -> str:
    """A file as an address; what kind it says it is does not matter."""
    return f"data:image/{kind};base64,{base64.b64encode(data).decode()}"


@cache
def golden_url() -> str:
    """A photograph."""
    return data_url(EXAMPLE.read_bytes())


@cache
def everything() -> tuple[Picture, ...]:
    """All of them; made once."""
    return (*_sound(), *_damaged(), *_huge(), *_foreign(), *_claims())


def _saved(image: Image.Image, kind: str, **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def _plain(mode: str = "RGB", size: tuple[int, int] = (64, 48)) -> Image.Image:
    return Image.radial_gradient("L").resize(size).convert(mode)


def _sound() -> Iterator[Picture]:
    """Odd, but pictures."""

    def good(name: str, data: bytes) -> Picture:
        return Picture(name, data, GOOD)

    for width, height in ((1, 1), (2, 1), (1, 2), (3, 3), (1, 200), (200, 1), (7, 1000)):
        yield good(f"{width} x {height}", _saved(_plain("RGB", (width, height)), "PNG"))
    for mode in ("1", "L", "LA", "P", "PA", "RGB", "RGBA", "I;16"):
        picture = _plain("L").convert("P").convert("PA") if mode == "PA" else _plain(mode)
        kind = "TIFF" if mode == "PA" else "PNG"
        yield good(f"{kind} {mode}", _saved(picture, kind))
    for mode in ("L", "RGB", "CMYK", "YCbCr"):
        yield good(f"JPEG {mode}", _saved(_plain(mode), "JPEG"))
    for mode in ("1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "I;16"):
        yield good(f"TIFF {mode}", _saved(_plain(mode), "TIFF"))
    # Nobody has said what is white among floats.
    yield Picture("TIFF F", _saved(_plain("F"), "TIFF"), PERHAPS)
    for kind in ("GIF", "BMP", "WEBP", "MPO"):
        yield good(kind, _saved(_plain(), kind))
    yield good("progressive", _saved(_plain(), "JPEG", progressive=True))
    yield good("lossless WebP", _saved(_plain("RGBA"), "WEBP", lossless=True))
    transparent = _plain("RGB")
    yield good("RGB with a colour that is none", _saved(transparent, "PNG", transparency=(9, 9, 9)))
    yield good("P with levels", _saved(_plain("P"), "PNG", transparency=bytes(range(256))))
    frames = [_plain("RGB").rotate(10 * turn) for turn in range(3)]
    for kind in ("GIF", "WEBP", "PNG", "TIFF"):
        data = _saved(frames[0], kind, save_all=True, append_images=frames[1:])
        yield good(f"{kind} with frames", data)
    exif = Image.Exif()
    for orientation in (*range(10), 255, 65535):
        exif[0x0112] = orientation
        data = _saved(_plain(), "JPEG", exif=exif.tobytes())
        yield good(f"orientation {orientation}", data)
    for name, junk in (("none", b""), ("junk", b"Exif\0\0junk"), ("loop", _exif_loop())):
        for kind in ("JPEG", "PNG", "WEBP"):
            yield Picture(f"{kind}, bad EXIF: {name}", _saved(_plain(), kind, exif=junk), PERHAPS)
    for kind in ("JPEG", "PNG", "WEBP", "TIFF"):
        data = _saved(_plain(), kind, icc_profile=b"no profile at all" * 9)
        yield good(f"{kind}, bad ICC", data)
    yield good("something after the end", _saved(_plain(), "JPEG") + b"<script>" * 100)
    yield good("a comment", _saved(_plain(), "JPEG", comment=b"\x1b[31m<image>" * 500))
    yield good("40 million pixels", _saved(Image.new("1", (8000, 5000)), "PNG"))


def _exif_loop() -> bytes:
    """A directory whose next directory is itself."""
    tiff = b"II*\0" + struct.pack("<IH", 8, 1) + struct.pack("<HHII", 0x8769, 4, 1, 8)
    return b"Exif\0\0" + tiff + struct.pack("<I", 8)


def _damaged() -> Iterator[Picture]:
    """Cut short or changed."""
    dice = random.Random(5)
    noise = Image.frombytes("RGB", (96, 64), dice.randbytes(96 * 64 * 3))
    for kind in ("JPEG", "PNG", "WEBP", "GIF", "TIFF", "BMP"):
        data = _saved(noise, kind)
        for share in (0.3, 0.6, 0.9):
            cut = data[: int(len(data) * share)]
            # What stands at the end of a TIFF says where all else is.
            yield Picture(f"{kind}, {share:.0%} of it", cut, DAMAGED)
        for head in (4, 12, 24, 40):
            yield Picture(f"{kind}, {head} bytes", data[:head], PERHAPS)
        for number in range(8):
            spoilt = bytearray(data)
            for _ in range(1 + 5 * number):
                spoilt[dice.randrange(len(spoilt))] ^= 1 << dice.randrange(8)
            yield Picture(f"{kind}, bits flipped, {number}", bytes(spoilt), PERHAPS)
        blank = data[:64] + bytes(len(data) - 64)
        yield Picture(f"{kind}, zeros after the head", blank, PERHAPS)


def _png(width: int, height: int, *, data: bytes = b"", depth: int = 8, kind: int = 2) -> bytes:
    """A PNG that says any size."""

    def chunk(name: bytes, body: bytes) -> bytes:
        return (
            struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))
        )

    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, kind, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", zlib.compress(data)) + chunk(b"IEND", b"")


# 16383 x 8000 pixels, all of one colour, in 38 bytes.
_SOLID_WEBP = bytes.fromhex(
    "524946461e000000574542505650384c110000002ffeffcf070750bc6a15a5ff8188e87f0000"
)


def _huge() -> Iterator[Picture]:
    """Few bytes that ask for much memory, or for much time."""
    for width, height in ((1, 201), (201, 1), (1, 20_000), (20_000, 1), (3, 700)):
        picture = _saved(Image.new("RGB", (width, height)), "PNG")
        yield Picture(f"{width} x {height}", picture, TOO_LARGE)
    yield Picture(
        "PNG of 40,008,000 pixels", _saved(Image.new("1", (8000, 5001)), "PNG"), TOO_LARGE
    )
    yield Picture("PNG of 169 million", _saved(Image.new("1", (13_000, 13_000)), "PNG"), TOO_LARGE)
    yield Picture("JPEG of 64 million", _saved(Image.new("L", (8000, 8000)), "JPEG"), TOO_LARGE)
    yield Picture("GIF of 64 million", _saved(Image.new("P", (8000, 8000)), "GIF"), TOO_LARGE)
    yield Picture("WebP of 131 million", _SOLID_WEBP, TOO_LARGE)
    for width, height in ((2**31 - 1, 2**31 - 1), (2**31 - 1, 1), (100_000, 100_000)):
        yield Picture(f"PNG that says {width} x {height}", _png(width, height), TOO_LARGE)
    yield Picture("PNG without a pixel", _png(0, 0), PERHAPS)
    yield Picture("PNG of 4 GB of zeros in a line", _png(6000, 6000, data=bytes(2**24)), PERHAPS)
    text = PngImagePlugin.PngInfo()
    for number in range(100):
        text.add_text(f"x{number}", "a" * 900_000, zip=True)
    yield Picture("PNG with 90 MB of text", _saved(_plain(), "PNG", pnginfo=text), PERHAPS)
    profile = zlib.compress(bytes(2**26))
    yield Picture(
        "PNG with a profile of 64 MB", _saved(_plain(), "PNG", icc_profile=profile), PERHAPS
    )
    bmp = bytearray(_saved(_plain(), "BMP"))
    bmp[18:26] = struct.pack("<ii", 2**31 - 1, 2**31 - 1)
    yield Picture("BMP that says 2**31", bytes(bmp), TOO_LARGE)
    gif = bytearray(_saved(_plain(), "GIF"))
    gif[6:10] = struct.pack("<HH", 65535, 65535)
    yield Picture("GIF that says 65535", bytes(gif), TOO_LARGE)
    yield Picture("many scans", scan_bomb(MANY_SCANS), TOO_COMPLEX, slow=True)
    yield Picture("many scans, 9 MB", scan_bomb(500_000), TOO_COMPLEX, slow=True)
    frames = [Image.new("P", (2000, 2000), colour) for colour in range(40)]
    data = _saved(frames[0], "GIF", save_all=True, append_images=frames[1:])
    yield Picture("GIF of 40 frames, 160 million pixels", data, GOOD)
    yield Picture("more than 10 MiB", b"\xff\xd8" + bytes(10 * 2**20), TOO_LARGE)


def scan_bomb(scans: int) -> bytes:
    """A progressive JPEG whose last pass over the picture stands in it again and again.

    Each costs a few bytes, and a walk over all blocks; libjpeg does no more than warn.
    """
    data = _saved(Image.new("L", (2000, 2000), 128), "JPEG", progressive=True)
    end = data.rindex(b"\xff\xd9")
    last = data.rindex(b"\xff\xda")
    return data[:end] + data[last:end] * scans + data[end:]


def _foreign() -> Iterator[Picture]:
    """Files of other kinds."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("x.png", _saved(_plain(), "PNG"))
    files: dict[str, bytes | Callable[[], bytes]] = {
        "HTML": b"<!DOCTYPE html><html><body><img src=x></body></html>",
        "SVG": b'<svg xmlns="http://www.w3.org/2000/svg"><image href="http://127.0.0.9:9/"/></svg>',
        "XML that grows": b'<?xml version="1.0"?><!DOCTYPE x [<!ENTITY a "aaaa">]><svg>&a;</svg>',
        "EPS": lambda: _saved(_plain(), "EPS"),
        "PostScript": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n(/etc/passwd) (r) file\n",
        "HEIC": b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(64),
        "AVIF": b"\0\0\0\x1cftypavif\0\0\0\0avifmif1miaf" + bytes(64),
        "MP4": b"\0\0\0\x18ftypmp42\0\0\0\0mp42isom" + bytes(64),
        "PDF": lambda: _saved(_plain(), "PDF"),
        "zip": packed.getvalue(),
        "gzip": b"\x1f\x8b\x08" + bytes(64),
        "pickle": pickle.dumps({"a": [1, 2]}),
        "pickle of code": b"cposix\nsystem\n(S'true'\ntR.",
        "ELF": b"\x7fELF\x02\x01\x01" + bytes(64),
        "a script": b"#!/bin/sh\nreboot\n",
        "Python": b"import os; os.system('true')",
        "JSON": b'{"a": 1}',
        "text": b"a snowman",
        "one byte": b"x",
        "zeros": bytes(1000),
        "ones": b"\xff" * 1000,
        "numpy": b"\x93NUMPY\x01\0v\0" + bytes(64),
        "safetensors": struct.pack("<Q", 2) + b"{}",
        "RIFF, but sound": b"RIFF\x24\0\0\0WAVEfmt " + bytes(32),
        "FITS": b"SIMPLE  =                    T" + b" " * 2850,
        "PSD": b"8BPS\0\x01" + bytes(64),
        "XPM": b'/* XPM */ static char *x[] = {"1 1 1 1", "a c #000", "a"};',
        "Word": bytes.fromhex("d0cf11e0a1b11ae1") + bytes(64),
        **{
            kind: lambda kind=kind: _saved(_plain(), kind)
            for kind in ("PPM", "TGA", "PCX", "SGI", "ICO", "JPEG2000", "DDS", "ICNS")
        },
    }
    for name, data in files.items():
        yield Picture(name, data if isinstance(data, bytes) else data(), FOREIGN)


def _claims() -> Iterator[Picture]:
    """Begins as one kind and goes on as another."""
    png, jpeg = _saved(_plain(), "PNG"), _saved(_plain(), "JPEG")
    yield Picture("PNG's first bytes and a JPEG", png[:8] + jpeg, PERHAPS)
    yield Picture("JPEG's first bytes and HTML", jpeg[:4] + b"<html>" * 50, PERHAPS)
    yield Picture("JPEG after blanks", b"\n\n" + jpeg, FOREIGN)
    yield Picture("GIF and a script", b"GIF89a/*" + b"\0" * 20 + b"*/=1;alert(1)//", PERHAPS)
    yield Picture("TIFF of nothing", b"II*\0" + bytes(12), DAMAGED)
    yield Picture("TIFF that goes round", b"II*\0" + struct.pack("<IHI", 8, 0, 8), DAMAGED)
    yield Picture("TIFF of a million tags", b"II*\0" + struct.pack("<IH", 8, 65535), DAMAGED)
