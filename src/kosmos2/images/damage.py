"""What is no picture of ours: other formats, damaged files and what they raise."""

import struct
import zlib

from PIL import Image

from kosmos2.errors import Fault

FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF")

# Pillow promises nothing about what a damaged file raises; these were seen or are close to it.
DAMAGE = (
    OSError,
    ValueError,
    SyntaxError,
    EOFError,
    LookupError,
    ArithmeticError,
    TypeError,
    AttributeError,
    NotImplementedError,
    struct.error,
    zlib.error,
)
BOMBS = (Image.DecompressionBombError, Image.DecompressionBombWarning)

# How files of the six formats begin; of WebP, what stands behind its length.
SIGNATURES = (b"\xff\xd8", b"\x89PNG", b"GIF8", b"BM", b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")

# What people hand in that is no picture of ours, by its first bytes.
FOREIGN = (
    (b"<svg", "an SVG drawing; export it as PNG"),
    (b"<?xml", "XML, perhaps an SVG drawing; export it as PNG"),
    (b"<!doctype", "a web page, not the picture on it; save the picture itself"),
    (b"<html", "a web page, not the picture on it; save the picture itself"),
    (b"%pdf", "a PDF document; export the page as PNG"),
    (b"%!ps", "a PostScript drawing; export it as PNG"),
    (b"pk\x03\x04", "a zip archive; unpack it and give the picture inside"),
    (b"\x1f\x8b", "a gzip archive; unpack it and give the picture inside"),
    *((bytes([0x80, n]), "a pickle, which is never opened; save it as PNG") for n in range(2, 6)),
)


def fault_of(data: bytes) -> Fault:
    """Of a file that no decoder of ours knows: whether it is broken, or never was one of ours."""
    ours = data.startswith(SIGNATURES) or (data[:4] == b"RIFF" and data[8:12] == b"WEBP")
    return "unreadable" if ours else "format"


def why_not(data: bytes) -> str:
    """What a file that no decoder of ours knows may be, and the way out."""
    head = data[:1024].lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    for begin, what in FOREIGN:
        if head.startswith(begin):
            return f"is {what}"
    if head[4:8] == b"ftyp":
        return "is HEIC, AVIF or a video; export it as JPEG or PNG"
    return f"is damaged or no picture of a known format ({', '.join(FORMATS)}); save it as PNG"
