"""Damaged, foreign, strange and hostile pictures, made when they are needed.

Small files that cost much: a header that lies, pixels that squeeze well, scans without end. Files
that are no pictures, files that are broken, and odd ones that must be read all the same.
"""

from __future__ import annotations

import base64
import gzip
import io
import struct
import zipfile
import zlib
from functools import cache

import numpy as np
from PIL import Image, PngImagePlugin

FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF")


def data_url(data: bytes, mime: str = "image/png") -> str:
    return f"data:{mime};base64,{base64.b64encode(data).decode()}"


def encoded(image: Image.Image, kind: str = "PNG", **settings) -> bytes:
    made = io.BytesIO()
    image.save(made, kind, **settings)
    return made.getvalue()


def colours(width: int = 30, height: int = 20, seed: int = 7) -> Image.Image:
    """A small picture of noise: any wrong pixel shows."""
    draw = np.random.default_rng(seed)
    return Image.fromarray(draw.integers(0, 256, (height, width, 3), dtype=np.uint8))


@cache
def good(kind: str = "PNG") -> bytes:
    """A small picture that nothing is wrong with."""
    return encoded(colours(), kind)


# --- small files that cost much


def png_header(width: int, height: int) -> bytes:
    """A PNG that says how large it is, and nothing more."""
    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", head) + _chunk(b"IDAT", b"")


@cache
def flat_png(width: int, height: int) -> bytes:
    """A whole PNG of one colour, a thousandth of the memory it takes; written row by row."""
    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    squeeze = zlib.compressobj(9)
    row = bytes(1 + 3 * width)
    pixels = b"".join([*(squeeze.compress(row) for _ in range(height)), squeeze.flush()])
    return (
        b"\x89PNG\r\n\x1a\n"
        + _chunk(b"IHDR", head)
        + _chunk(b"IDAT", pixels)
        + _chunk(b"IEND", b"")
    )


def webp_header(width: int, height: int) -> bytes:
    """A few bytes of lossless WebP that claim up to 16,384 x 16,384 pixels; cut after the size."""
    bits = (width - 1) | (height - 1) << 14
    frame = b"VP8L" + struct.pack("<I", 16) + b"\x2f" + struct.pack("<I", bits) + bytes(11)
    return b"RIFF" + struct.pack("<I", len(frame) + 4) + b"WEBP" + frame


@cache
def flat_webp(width: int, height: int) -> bytes:
    """A whole WebP of one colour: some kilobytes for gigabytes. Making it takes that memory too."""
    return encoded(Image.new("RGB", (width, height)), "WEBP", lossless=True, method=0)


def scan_bomb(scans: int = 60_000, side: int = 2_000) -> bytes:
    """A progressive JPEG whose every scan of a few bytes visits every block, and changes none.

    No limit on pixels or bytes sees it: 8,000 scans of 2,000 x 2,000 pixels are 140 KB and seconds,
    60,000 are 1 MB and half a minute.
    """
    blocks = (-(-side // 8)) ** 2
    tables = b"".join(
        # A Huffman table with one code of one bit: no difference (0), or a long run (0xE0).
        _segment(0xC4, bytes([kind, 1, *bytes(15), symbol]))
        for kind, symbol in ((0x00, 0x00), (0x10, 0xE0))
    )
    head = (
        b"\xff\xd8"
        + _segment(0xDB, bytes([0]) + bytes([16] * 64))
        + _segment(0xC2, struct.pack(">BHHB", 8, side, side, 1) + bytes([1, 0x11, 0]))
        + tables
        + _segment(0xDA, bytes([1, 1, 0, 0, 0, 0]))
        + bytes(-(-blocks // 8))
    )
    # Each run: a zero bit, then 14 bits that make it 16,384 + 10,922 empty blocks.
    runs = -(-blocks // 27_306)
    bits = "010101010101010" * runs
    bits += "1" * (-len(bits) % 8)
    scan = _segment(0xDA, bytes([1, 1, 0, 1, 63, 0])) + bytes(
        int(bits[at : at + 8], 2) for at in range(0, len(bits), 8)
    ).replace(b"\xff", b"\xff\0")
    return head + scan * scans + b"\xff\xd9"


# --- what must be refused


def foreign() -> dict[str, bytes]:
    """Files that are no picture of a format that is read, by name."""
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("a.png", good())
    return {
        "html": b"<!DOCTYPE html><html><body>hello</body></html>",
        "svg": b'<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"/>',
        "xml": b'<?xml version="1.0"?><svg/>',
        "eps": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\nshowpage\n",
        "pdf": b"%PDF-1.7\n1 0 obj<<>>endobj",
        "heic": b"\0\0\0\x20ftypheic" + bytes(30),
        "avif": b"\0\0\0\x20ftypavif" + bytes(30),
        "zip": archive.getvalue(),
        "gzip": gzip.compress(good()),
        "pickle": b"\x80\x04\x95\x0b\0\0\0\0\0\0\0]\x94(K\x01K\x02e.",
        "ppm": encoded(colours(), "PPM"),
        "tga": encoded(colours(), "TGA"),
        "ico": encoded(colours(), "ICO"),
        "text": b"hello",
        "zeros": bytes(5_000),
    }


def damaged() -> dict[str, bytes]:
    """Pictures of a known format that are cut short or broken, by name."""
    whole = {kind: encoded(colours(100, 100), kind) for kind in FORMATS}
    png = bytearray(whole["PNG"])
    png[60] ^= 0xFF  # in the pixels: the checksum tells
    return {
        **{f"half a {kind}": data[: len(data) // 2] for kind, data in whole.items()},
        "a PNG with a flipped byte": bytes(png),
        "a PNG without pixels": png_header(600, 600),
        "a PNG without a header": whole["PNG"][:8],
        "a JPEG of two bytes": b"\xff\xd8",
        "a JPEG of four bytes": b"\xff\xd8\xff\xe0",
        "a PNG of no pixels": png_header(0, 10),
        "a WEBP that ends": webp_header(30, 20),
    }


def too_large() -> dict[str, bytes]:
    """Pictures over 40 million pixels, which their first bytes already say."""
    return {
        "a PNG header of 2.5 gigapixels": png_header(50_000, 50_000),
        "a PNG header of 90 megapixels": png_header(10_000, 9_000),
        "a PNG header of 49 megapixels": png_header(7_000, 7_000),
        "a WEBP header of 131 megapixels": webp_header(16_383, 8_000),
        "a WEBP header of 268 megapixels": webp_header(16_384, 16_384),
        "a whole PNG of 50 megapixels": flat_png(10_000, 5_000),
    }


# --- what must be read


def strange() -> dict[str, bytes]:
    """Odd pictures that people have all the same: 30 x 20 pixels, upright, by name."""
    plain = colours()
    side = Image.Exif()
    side[0x0112] = 6
    grey = plain.convert("L")
    alpha = plain.copy()
    alpha.putalpha(grey)
    text = PngImagePlugin.PngInfo()
    text.add_text("Comment", "x" * 2_000)
    palette = plain.quantize(16)
    deep = Image.fromarray(np.asarray(grey).astype(np.uint16) * 257)
    turned = plain.transpose(Image.Transpose.ROTATE_90)
    frames = {"save_all": True, "append_images": [colours(seed=8), colours(seed=9)]}
    return {
        "a turned JPEG": encoded(turned, "JPEG", exif=side),
        "a turned PNG": encoded(turned, exif=side),
        "a PNG with broken EXIF": encoded(plain, exif=b"Exif\0\0garbage"),
        "a JPEG with a broken colour profile": encoded(plain, "JPEG", icc_profile=b"none" * 40),
        "a PNG with a transparent colour": encoded(plain, transparency=(1, 2, 3)),
        "a PNG with alpha": encoded(alpha),
        "a WEBP with alpha": encoded(alpha, "WEBP"),
        "a grey PNG with alpha": encoded(alpha.convert("LA")),
        "a PNG with a palette": encoded(palette, transparency=0),
        "a PNG of 16 bits": encoded(deep),
        "a PNG of one bit": encoded(plain.convert("1")),
        "a CMYK JPEG": encoded(plain.convert("CMYK"), "JPEG"),
        "a CMYK TIFF": encoded(plain.convert("CMYK"), "TIFF"),
        "a progressive JPEG": encoded(plain, "JPEG", progressive=True),
        "an animated PNG": encoded(plain, **frames),
        "an animated GIF": encoded(plain, "GIF", **frames),
        "an animated WEBP": encoded(plain, "WEBP", **frames),
        "a TIFF of pages": encoded(plain, "TIFF", **frames),
        "a PNG with a comment": encoded(plain, pnginfo=text),
        "a PNG with bytes behind its end": good() + b"and so on",
    }


def _chunk(name: bytes, data: bytes) -> bytes:
    return (
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
    )  # fmt: skip


def _segment(marker: int, data: bytes) -> bytes:
    return bytes([0xFF, marker]) + struct.pack(">H", len(data) + 2) + data
