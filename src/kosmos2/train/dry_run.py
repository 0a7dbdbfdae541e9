"""The first rows as the network will see them: what `kosmos2 train --dry-run` draws.

A page tells, for each row, the picture in the network's own size with the boxes that its texts
speak of, the same picture as it is stored, and every lesson token by token: what is learnt is
coloured, what is only read is grey. A contact sheet shows all pictures at a glance.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from PIL import Image

from kosmos2 import drawing, overlay
from kosmos2.data.rows import PICTURE, Row, Rows
from kosmos2.data.sample import Sample
from kosmos2.errors import DataError
from kosmos2.markup import Entity
from kosmos2.palette import colour, css
from kosmos2.tokenizer import Tokenizer
from kosmos2.train.watching.contact_sheet import contact_sheet
from kosmos2.train.watching.page import data_url, document, escape
from kosmos2.train.watching.told import RowTold, Token, Told, told

PAGE, SHEET = "dry-run.html", "dry-run.png"
_ROWS = 16
_NOMINAL_PX = 220  # the side of a picture's drawing: letters are set for this width
_STORED_PX = 448  # the longer side of a picture as it is stored

_STYLE = """
:root{--learnt:light-dark(#d8f0df,#1d4a30);--read:light-dark(#777c86,#8d95a2)}
.row{display:grid;gap:1rem 1.6rem;grid-template-columns:minmax(0,1fr)}
@media(min-width:52rem){.row{grid-template-columns:minmax(0,15rem) minmax(0,1fr)}
.row:has(.two){grid-template-columns:minmax(0,26rem) minmax(0,1fr)}}
.row>h2{grid-column:1/-1;margin:0;display:flex;flex-wrap:wrap;gap:.1rem .8rem;align-items:baseline;
overflow-wrap:anywhere}
.row>h2 span{font-weight:400;font-size:.85rem;color:var(--soft)}
.looks{display:grid;gap:.8rem;align-content:start;grid-template-columns:minmax(0,1fr)}
.looks.two{grid-template-columns:repeat(auto-fit,minmax(9rem,1fr))}
.looks figure{margin:0}
.looks figcaption{font-size:.8rem;color:var(--soft);margin-bottom:.2rem}
.looks svg{display:block;width:100%;height:auto;border-radius:6px}
.lessons{display:grid;gap:.9rem;align-content:start;grid-template-columns:minmax(0,1fr)}
.lesson{margin:0;border-inline-start:3px solid var(--line);padding-inline-start:.8rem}
.lesson figcaption{font-size:.8rem;color:var(--soft);margin-bottom:.15rem}
.lesson figcaption b{color:var(--ink);font-weight:600}
.tokens{line-height:1.95;white-space:pre-wrap;overflow-wrap:anywhere}
.t{color:var(--read);border-radius:3px;padding:.08em 0;margin-inline-end:1px;
border-bottom:2px solid transparent;box-decoration-break:clone;-webkit-box-decoration-break:clone}
.t.learnt{color:var(--ink);background:var(--learnt)}
.t.tag,.t.cell,.t.picture{font:.78em ui-monospace,Menlo,Consolas,"Liberation Mono",monospace;
padding:.2em .3em}
.t.tag:not(.learnt),.t.picture{background:var(--sunk)}
.t.unwritten{outline:1px dashed var(--soft);outline-offset:-1px}
.t.kosmos2-words{border-bottom-color:var(--c);cursor:default}
.key{display:flex;flex-wrap:wrap;gap:.2rem 1.4rem;margin-top:.6rem;font-size:.9rem}
"""


def draw(rows: Rows, tokenizer: Tokenizer, folder: Path) -> Path:
    """Write the page and the contact sheet of the first rows; returns the page.

    Args:
        rows: what will be trained on.
        tokenizer: of the model.
        folder: where both go; made if need be.

    Raises:
        DataError: no rows, no folder, or rows that cannot be made.
    """
    count = min(_ROWS, len(rows))
    if not count:
        raise DataError("there are no rows to draw; look at the path of the data")
    made = [rows[position] for position in range(count)]
    read = [told(row, tokenizer) for row in made]
    samples = [_stored(rows, position, row.name) for position, row in enumerate(made)]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with drawing.whole(folder / SHEET) as draft:
            contact_sheet(made, read).save(draft, format="PNG", optimize=True)
        with drawing.whole(folder / PAGE) as draft:
            draft.write_text(html_of(made, read, samples), encoding="utf-8")
    except OSError as error:
        raise DataError(f"cannot write to {folder}: {error}; name another folder") from error
    return folder / PAGE


def html_of(rows: Sequence[Row], read: Sequence[RowTold], samples: Sequence[Sample | None]) -> str:
    """The page."""
    tokens = sum(lesson.count for one in read for lesson in one.lessons)
    learnt = sum(lesson.learnt for one in read for lesson in one.lessons)
    bad = [bad for row in rows for bad in row.bad]
    head = (
        f"<header>\n<h1>The first {len(rows)} rows, as the model will see them</h1>\n"
        f"<p>{tokens:,} tokens, of which {learnt:,} are learnt ({learnt / max(tokens, 1):.0%}). "
        "Point at words to see their boxes, or at a box to see its words.</p>\n"
        '<p class="key"><span><span class="t learnt">learnt: the model has to foretell it</span>'
        '</span><span><span class="t">read: it counts for nothing</span></span>'
        '<span><span class="t tag learnt unwritten">&lt;/s&gt;</span> learnt, though it does not '
        "stand there</span></p>\n</header>"
    )
    listed = "".join(f"<li>{escape(f'{one.name}: {one.why}')}</li>" for one in bad)
    passed = f'<div class="alert">Left out on the way:<ul>{listed}</ul></div>' if bad else ""
    cards = [_row(number, *one) for number, one in enumerate(zip(rows, read, samples))]
    return document("A dry run", [head, passed, *cards], _STYLE)


def _row(number: int, row: Row, one: RowTold, sample: Sample | None) -> str:
    name = escape(row.name or f"row {number}")
    looks = [
        f'<figure class="seen"><figcaption>seen, {_size(row)}</figcaption>'
        f"{_drawing(Image.fromarray(pixels), one.entities(picture), lossless=True)}</figure>"
        for picture, pixels in enumerate(row.pixels)
    ]
    if sample is not None and len(row.pixels) == 1 and len(sample.pictures) == 1:
        stored = sample.pictures[0].open()
        size = f"{stored.width} x {stored.height}"
        stored.thumbnail((_STORED_PX, _STORED_PX))
        entities = _as_stored(sample, [entity for _, entity in one.places])
        looks.append(
            f"<figure><figcaption>stored, {size}</figcaption>"
            f"{_drawing(stored, entities, lossless=False)}</figure>"
        )
    lessons = "".join(_lesson(lesson) for lesson in one.lessons)
    # `kosmos2` ties the words of all lessons to the boxes of all pictures within the row.
    return (
        f'<article class="card row kosmos2"><h2>{name}<span>{escape(one.summary())}</span></h2>'
        f'<div class="looks{" two" if len(looks) > 1 else ""}">{"".join(looks)}</div>'
        f'<div class="lessons">{lessons}</div></article>'
    )


def _lesson(lesson: Told) -> str:
    if lesson.segment == PICTURE:
        said = "<b>shared</b> · every lesson of the row sees it"
    else:
        weight = "" if lesson.weight == 1 else f" · weighs {lesson.weight:g}"
        said = (
            f"<b>{escape(lesson.task or 'lesson')}</b> · segment {lesson.segment} · "
            f"{lesson.learnt} of {lesson.count} tokens learnt{weight}"
        )
    tokens = "".join(map(_token, lesson.tokens))
    return (
        f'<figure class="lesson"><figcaption>{said}</figcaption>'
        f'<div class="tokens">{tokens}</div></figure>'
    )


def _token(token: Token) -> str:
    names = ["t", token.look] + ["learnt"] * token.learnt + ["unwritten"] * token.unwritten
    tie = ""
    if token.place is not None:
        names.append("kosmos2-words")
        tie = f' data-entity="{token.place}" style="--c:{css(colour(token.place))}"'
    text = token.text.replace("\n", "\N{DOWNWARDS ARROW WITH CORNER LEFTWARDS}")
    return f'<span class="{" ".join(names)}"{tie}>{escape(text)}</span>'


def _drawing(picture: Image.Image, entities: Sequence[Entity], *, lossless: bool) -> str:
    scale = _NOMINAL_PX / max(picture.size)
    size = (max(1, round(picture.width * scale)), max(1, round(picture.height * scale)))
    return overlay.svg(entities, *size, data_url(picture, lossless=lossless))


def _as_stored(sample: Sample, told_of: Sequence[Entity]) -> list[Entity]:
    """The sample's own boxes, in the colours of the places that have the same words."""
    entities = [Entity(entity.phrase, 0, 0) for entity in told_of]
    for turn in sample.turns:
        for span in turn.spans:
            words = turn.text[span.start : span.end]
            same = (i for i, one in enumerate(told_of) if _alike(words, one.phrase))
            index = next((i for i in same if not entities[i].boxes), None)
            if index is None:
                entities.append(Entity(words, 0, 0, span.boxes))
            else:
                entities[index] = Entity(words, 0, 0, span.boxes)
    return entities


def _alike(one: str, other: str) -> bool:
    one, other = one.casefold().strip(), other.casefold().strip()
    return bool(one and other) and (one in other or other in one)


def _stored(rows: Rows, position: int, name: str) -> Sample | None:
    """The sample that a row was made of, where rows can tell."""
    if hasattr(rows, "part"):
        rows, position = rows.part(position)
    mixture = getattr(rows, "mixture", None)
    if mixture is None:
        return None
    drawn = (drawn.sample for drawn in mixture.candidates(position))
    return next((sample for sample in drawn if sample.name == name), None)


def _size(row: Row) -> str:
    return f"{row.pixels.shape[2]} x {row.pixels.shape[1]}"
