"""The pictures of many rows at a glance, on one PNG."""

from __future__ import annotations

from collections.abc import Sequence

from PIL import Image, ImageDraw, ImageFont

from kosmos2.data.rows import Row
from kosmos2.drawing import Font, draw
from kosmos2.layout import printable
from kosmos2.train.watching.told import RowTold

_COLUMNS, _TILE_PX, _GAP_PX, _FOOT_PX = 4, 320, 16, 44
_GROUND, _SUNK, _INK, _SOFT = (245, 244, 240), (225, 223, 217), (27, 30, 36), (90, 95, 105)


def contact_sheet(rows: Sequence[Row], read: Sequence[RowTold]) -> Image.Image:
    """The first picture of each row with its boxes, side by side."""
    columns = min(_COLUMNS, len(rows))
    lines = -(-len(rows) // columns)
    wide, high = _TILE_PX + _GAP_PX, _TILE_PX + _FOOT_PX + _GAP_PX
    sheet = Image.new("RGB", (columns * wide + _GAP_PX, lines * high + _GAP_PX), _GROUND)
    pencil = ImageDraw.Draw(sheet)
    large, small = ImageFont.load_default(size=14), ImageFont.load_default(size=12)
    for number, (row, one) in enumerate(zip(rows, read)):
        left = _GAP_PX + number % columns * wide
        top = _GAP_PX + number // columns * high
        if len(row.pixels):
            picture = Image.fromarray(row.pixels[0])
            picture = picture.resize((_TILE_PX, _TILE_PX), Image.Resampling.BICUBIC)
            sheet.paste(draw(picture, one.entities(0)), (left, top))
        else:
            pencil.rectangle((left, top, left + _TILE_PX, top + _TILE_PX), fill=_SUNK)
        foot = top + _TILE_PX + 6
        pencil.text((left, foot), _short(row.name or f"row {number}", large), _INK, large)
        pencil.text((left, foot + 19), _short(one.summary(), small), _SOFT, small)
    return sheet


def _short(text: str, font: Font) -> str:
    """As much of the end of a line as fits beneath its picture: files differ at their ends."""
    text = printable(text)
    if font.getlength(text) <= _TILE_PX:
        return text
    while text and font.getlength(f"…{text}") > _TILE_PX:
        text = text[1:]
    return f"…{text}"
