"""Boxes and their names drawn onto a picture, and answers saved as picture, page or data."""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from PIL import Image, ImageDraw, ImageFont

from kosmos2 import overlay
from kosmos2.errors import InputError
from kosmos2.images import Picture, open_picture
from kosmos2.layout import (
    Label,
    Marked,
    Outline,
    labels,
    large_first,
    letter_px,
    line_px,
    outlines,
)
from kosmos2.palette import HALO, INK, colour
from kosmos2.result import Grounded

FORMATS = (".png", ".svg", ".html", ".json")

Font = ImageFont.FreeTypeFont | ImageFont.ImageFont

_SMALLEST_LETTERS_PX = 7  # below that a label only hides the picture


def draw(image: Any, answer: Grounded | Sequence[Marked], *, scores: bool = True) -> Image.Image:
    """A new picture, upright and RGB, with the boxes of the answer and their names drawn on it.

    Names are set in the letters that come with Pillow: others than Latin ones show as empty frames
    (`save` as SVG or HTML to have them).

    Args:
        image: Anything `open_picture` accepts: a path, bytes, a PIL image, an array, a `Picture`.
        answer: An answer, or entities.
        scores: Whether labels carry the scores of their boxes.
    """
    canvas = open_picture(image).image.copy()
    entities = answer.entities if isinstance(answer, Grounded) else answer
    found = outlines(entities, canvas.width, canvas.height, scores=scores)
    pencil = ImageDraw.Draw(canvas)
    line = max(1, round(line_px(canvas.width, canvas.height)))
    for outline in large_first(found):
        _draw_outline(pencil, outline, line, canvas.size)
    letters = round(letter_px(canvas.width, canvas.height))
    if letters >= _SMALLEST_LETTERS_PX:
        font = ImageFont.load_default(size=letters)
        pad = max(2, letters // 4)
        named = labels(
            found,
            canvas.width,
            canvas.height,
            text_width=font.getlength,
            row_px=letters + 2 * pad,
            pad_px=pad,
        )
        for label in named:
            _draw_label(pencil, label, font, pad)
    return canvas


def draw_heat(image: Any, heat: Sequence[Sequence[float]]) -> Image.Image:
    """A new picture, upright and RGB: brightest where the map is warmest, dim where it is cold.

    Args:
        image: Anything `open_picture` accepts.
        heat: Rows of numbers from 0 to 1, over the whole picture.
    """
    picture = open_picture(image).image
    rows = [bytes(round(255 * min(max(value, 0.0), 1.0)) for value in row) for row in heat]
    cells = Image.frombytes("L", (len(rows[0]), len(rows)), b"".join(rows))
    warmth = cells.resize(picture.size, Image.Resampling.BICUBIC)
    dim = Image.blend(picture.convert("L").convert("RGB"), Image.new("RGB", picture.size), 0.6)
    warm = Image.blend(picture, Image.new("RGB", picture.size, colour(0)), 0.2)
    return Image.composite(warm, dim, warmth)


def save(
    image: Any,
    answer: Grounded,
    path: str | os.PathLike[str],
    *,
    coords: str = "norm01",
    scores: bool = True,
) -> Path:
    """Write the answer as the name of the file says: .png, .svg, .html or .json.

    The file appears whole or not at all.

    Args:
        image: The picture that was asked about.
        answer: What was said of it.
        path: Where to, in a folder that exists.
        coords: The unit of boxes in JSON.
        scores: Whether drawings carry the scores of the boxes.

    Raises:
        InputError: A name that ends otherwise, or a folder that is not there.
    """
    path = Path(path)
    kind = path.suffix.lower()
    if kind not in FORMATS:
        raise InputError(
            f"an answer cannot be saved as {path.name!r}; end the name in {', '.join(FORMATS)}"
        )
    if not path.parent.is_dir():
        raise InputError(f"there is no folder {str(path.parent)!r}; make it first")
    picture = open_picture(image)
    if answer.picture is None:
        answer = replace(answer, picture=picture)
    with whole(path) as draft:
        if kind == ".png":
            draw(picture, answer, scores=scores).save(draft, format="PNG")
        else:
            draft.write_text(_written(kind, picture, answer, coords, scores), encoding="utf-8")
    return path


@contextmanager
def whole(path: Path) -> Iterator[Path]:
    """A file that appears whole or not at all: half a file would look like an answer."""
    draft = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        yield draft
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)


def _written(kind: str, picture: Picture, answer: Grounded, coords: str, scores: bool) -> str:
    if kind == ".json":
        return json.dumps(answer.to_dict(coords), ensure_ascii=False, indent=2) + "\n"
    href = "data:image/jpeg;base64," + base64.b64encode(picture.jpeg()).decode()
    size = (picture.width, picture.height)
    if kind == ".svg":
        return overlay.svg(answer.entities, *size, href, title=answer.text, scores=scores)
    return overlay.document(
        answer.text, answer.entities, *size, href, problems=answer.problems, scores=scores
    )


def _draw_outline(
    pencil: ImageDraw.ImageDraw, outline: Outline, line: int, size: tuple[int, int]
) -> None:
    """A coloured line between two dark ones, all of it inside the picture."""
    left, top, right, bottom = (round(edge) for edge in outline.rect)
    # Corners are the outermost pixels of the box: the last one is inside the picture.
    right, bottom = max(right - 1, left), max(bottom - 1, top)
    left, top = min(left, size[0] - 1), min(top, size[1] - 1)
    right, bottom = min(right, size[0] - 1), min(bottom, size[1] - 1)
    thin = max(1, line // 2)
    roomy = min(right - left, bottom - top) > 2 * (line + 2 * thin)
    if roomy:
        pencil.rectangle((left, top, right, bottom), outline=HALO, width=line + 2 * thin)
        left, top, right, bottom = left + thin, top + thin, right - thin, bottom - thin
    pencil.rectangle((left, top, right, bottom), outline=colour(outline.entity), width=line)


def _draw_label(pencil: ImageDraw.ImageDraw, label: Label, font: Font, pad: int) -> None:
    left, top, right, bottom = (round(edge) for edge in label.rect)
    pencil.rounded_rectangle(
        (left, top, right - 1, bottom - 1),
        radius=pad,
        fill=colour(label.outline.entity),
        outline=HALO,
    )
    middle = (top + bottom) / 2
    pencil.text((left + pad, middle), label.text, fill=INK, font=font, anchor="lm")
