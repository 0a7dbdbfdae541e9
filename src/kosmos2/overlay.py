"""An answer as SVG and as HTML, in which a phrase lights its boxes and a box its phrase.

Nothing here runs or loads: no script, no request, no ids. One rule of style for each entity ties
its words to its outlines (`:has()`) inside the figure they stand in, so any number of answers can
share a page, and a page that forbids scripts still lights up. All words are escaped.
"""

from __future__ import annotations

import html as entities_of_html
import re
from collections.abc import Iterable, Sequence
from typing import Protocol

from kosmos2.errors import InputError
from kosmos2.layout import (
    Label,
    Marked,
    Outline,
    labels,
    large_first,
    letter_px,
    line_px,
    outlines,
    printable,
)
from kosmos2.palette import HALO, INK, colour, css

# Everything is in the document itself; a browser is told to hold it to that.
POLICY = (
    "default-src 'none'; img-src data:; style-src 'unsafe-inline'; "
    "base-uri 'none'; form-action 'none'"
)

_NOT_IN_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")

_PAD = 0.35  # beside the letters of a label, in their heights
_LIT = ":is(:hover,:focus-visible)"

_SVG_STYLE = """
.kosmos2-box{cursor:pointer;outline:none;transition:opacity .12s}
.kosmos2-label{pointer-events:none;transition:opacity .12s}
.kosmos2-label text{font-family:system-ui,sans-serif;font-weight:600}
@media (prefers-reduced-motion:reduce){.kosmos2-box,.kosmos2-label{transition:none}}
"""

_FIGURE_STYLE = """
figure.kosmos2{margin:0 0 1em;font:1rem/1.7 system-ui,sans-serif;max-width:60rem}
figure.kosmos2 svg{display:block;min-width:min(100%,20rem);max-width:100%;height:auto;\
max-height:80vh;border-radius:6px}
figure.kosmos2 figcaption{margin:.7em 0;white-space:pre-wrap;overflow-wrap:anywhere}
.kosmos2-words{border-radius:4px;padding:.05em .2em;cursor:pointer;background:var(--soft);\
border-bottom:2px solid var(--c);outline-offset:2px}
.kosmos2-words:focus-visible{outline:2px solid currentColor}
.kosmos2-words[data-score]::after{content:attr(data-score);font-size:.7em;\
margin-inline-start:.35em;opacity:.8}
figure.kosmos2 details{font-size:.85rem}
"""

_PAGE_STYLE = """
:root{color-scheme:light dark;--page:#fff;--words:#1a1c20}
@media (prefers-color-scheme:dark){:root{--page:#14161a;--words:#eceef2}}
body{background:var(--page);color:var(--words);margin:0;padding:clamp(1rem,4vw,3rem)}
figure.kosmos2{margin-inline:auto}
"""


class Trouble(Protocol):
    """What the reader of the model's markup could not make sense of."""

    @property
    def kind(self) -> str:
        """What went wrong, in a word."""
        ...

    @property
    def at(self) -> int:
        """Where in the markup."""
        ...

    @property
    def detail(self) -> str:
        """What went wrong, in a sentence."""
        ...


def svg(
    entities: Iterable[Marked],
    width_px: int,
    height_px: int,
    href: str | None = None,
    *,
    title: str = "",
    scores: bool = True,
) -> str:
    """A picture with its boxes as one SVG element, measured in the picture's own pixels.

    Args:
        entities: What to outline.
        width_px: Of the upright picture.
        height_px: Of the upright picture.
        href: The picture as a `data:image/...` URL; None leaves its place empty.
        title: What the picture says, for those who do not see it.
        scores: Whether labels carry the scores of their boxes.
    """
    entities = list(entities)
    style = f"<style>{_SVG_STYLE}{_ties(len(entities))}</style>\n"
    return _drawing(entities, width_px, height_px, href, style, title=title, scores=scores)


def html(
    text: str,
    entities: Sequence[Marked],
    width_px: int,
    height_px: int,
    href: str | None = None,
    title: str = "",
    *,
    problems: Sequence[Trouble] = (),
    scores: bool = True,
) -> str:
    """An answer as one `<figure>`: the picture with its boxes, the text with its phrases.

    Without a size (0 x 0) there is no picture to draw on, only the text.
    """
    heading = f"<p><strong>{_escape(title)}</strong></p>\n" if title else ""
    style = f"<style>{_SVG_STYLE}{_FIGURE_STYLE}{_ties(len(entities))}</style>\n"
    picture = ""
    if width_px and height_px:
        picture = _drawing(entities, width_px, height_px, href, title=text, scores=scores)
    return (
        f'<figure class="kosmos2">\n{style}{heading}{picture}'
        f'<figcaption dir="auto">{_caption(text, entities, scores=scores)}</figcaption>\n'
        f"{_troubles(problems)}</figure>\n"
    )


def document(
    text: str,
    entities: Sequence[Marked],
    width_px: int,
    height_px: int,
    href: str | None = None,
    title: str = "",
    *,
    problems: Sequence[Trouble] = (),
    scores: bool = True,
) -> str:
    """The same as a whole HTML page, light or dark as the reader likes it."""
    figure = html(
        text, entities, width_px, height_px, href, title, problems=problems, scores=scores
    )
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{_escape(POLICY)}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{_escape(title or printable(text) or 'A grounded answer')}</title>\n"
        f"<style>{_PAGE_STYLE}</style>\n</head>\n<body>\n<main>\n{figure}</main>\n</body>\n</html>\n"
    )


def _escape(text: str) -> str:
    """Words as they may stand between tags and inside quotes, in HTML and in XML."""
    return entities_of_html.escape(_NOT_IN_XML.sub("\N{REPLACEMENT CHARACTER}", text))


def _ties(count: int) -> str:
    """The rules that light all of an entity, and dim the others, while any part is pointed at."""
    rules = []
    for index in range(count):
        one = f'[data-entity="{index}"]'
        pointed = f".kosmos2:has({one}{_LIT})"
        rules += [
            f"{pointed} :is(.kosmos2-box,.kosmos2-label):not({one}){{opacity:.15}}",
            f"{pointed} {one} .kosmos2-line{{fill-opacity:.28}}",
            f"{pointed} .kosmos2-words{one}{{background:var(--c);color:{css(INK)}}}",
        ]
    return "\n".join(rules) + "\n"


def _drawing(
    entities: Sequence[Marked],
    width_px: int,
    height_px: int,
    href: str | None,
    style: str = "",
    *,
    title: str,
    scores: bool,
) -> str:
    found = outlines(entities, width_px, height_px, scores=scores)
    letters = letter_px(width_px, height_px)
    named = labels(
        found,
        width_px,
        height_px,
        text_width=lambda text: letters * sum(map(_ems, text)),
        row_px=1.5 * letters,
        pad_px=_PAD * letters,
    )
    line = line_px(width_px, height_px)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" class="kosmos2" '
        f'viewBox="0 0 {width_px} {height_px}" width="{width_px}" height="{height_px}" '
        f'role="group" aria-label="{_escape(title or "a picture with boxes")}">\n'
        f"{style}{_backdrop(width_px, height_px, href)}\n"
        + "".join(_outline(outline, line, width_px, height_px) for outline in large_first(found))
        + "".join(_label(label, letters, line) for label in named)
        + "</svg>\n"
    )


def _backdrop(width_px: int, height_px: int, href: str | None) -> str:
    place = f'width="{width_px}" height="{height_px}"'
    if href is None:
        return f'<rect {place} fill="#808080" fill-opacity=".15"/>'
    if not href.startswith("data:image/"):
        raise InputError(
            f"the picture of an SVG is given as {href[:40]!r}; give a data:image/... URL, "
            "so that the file stands alone"
        )
    return f'<image href="{_escape(href)}" {place} preserveAspectRatio="none"/>'


def _outline(outline: Outline, line: float, width_px: int, height_px: int) -> str:
    left, top, right, bottom = outline.rect
    # A line is as much outside its box as inside; at the edge of the picture all of it moves in.
    half = min(1.1 * line, width_px / 2, height_px / 2)
    x1, x2 = (min(max(edge, half), width_px - half) for edge in (left, right))
    y1, y2 = (min(max(edge, half), height_px - half) for edge in (top, bottom))
    shape = f'x="{x1:g}" y="{y1:g}" width="{x2 - x1:g}" height="{y2 - y1:g}" rx="{line:.3g}"'
    across = f"{left / width_px:.0%} to {right / width_px:.0%} across"
    down = f"{top / height_px:.0%} to {bottom / height_px:.0%} down"
    score = "" if outline.score is None else f", score {outline.score:.2f}"
    says = _escape(f"{outline.name or 'something unnamed'}{score}, {across}, {down}")
    tint = css(colour(outline.entity))
    return (
        f'<g class="kosmos2-box" data-entity="{outline.entity}" tabindex="0" role="img" '
        f'aria-label="{says}"><title>{says}</title>'
        f'<rect {shape} fill="none" stroke="{css(HALO)}" stroke-opacity=".75" '
        f'stroke-width="{2.2 * line:.3g}"/>'
        f'<rect class="kosmos2-line" {shape} fill="{tint}" fill-opacity="0" stroke="{tint}" '
        f'stroke-width="{line:.3g}"/></g>\n'
    )


def _label(label: Label, letters: float, line: float) -> str:
    left, top, right, bottom = label.rect
    pad = _PAD * letters
    return (
        f'<g class="kosmos2-label" data-entity="{label.outline.entity}" aria-hidden="true">'
        f'<rect x="{left:g}" y="{top:g}" width="{right - left:g}" height="{bottom - top:g}" '
        f'rx="{0.25 * letters:.3g}" fill="{css(colour(label.outline.entity))}" '
        f'stroke="{css(HALO)}" stroke-opacity=".75" stroke-width="{0.5 * line:.3g}"/>'
        f'<text x="{left + pad:g}" y="{bottom - 0.45 * letters:g}" font-size="{letters:.4g}" '
        f'textLength="{right - left - 2 * pad:.5g}" lengthAdjust="spacingAndGlyphs" '
        f'fill="{css(INK)}">{_escape(label.text)}</text></g>\n'
    )


def _ems(letter: str) -> float:
    """How wide a letter is in a usual bold sans serif, as a part of its height.

    A guess is enough: the drawing asks the browser to fit the letters to it (`textLength`).
    """
    if letter in " .,:;'|!ijl":
        return 0.32
    if letter >= "\u2e80":  # Chinese, Japanese, Korean, emoji
        return 1.0
    return 0.6 if letter.islower() or letter.isdigit() else 0.74


def _caption(text: str, entities: Sequence[Marked], *, scores: bool) -> str:
    """The text, its phrases wrapped; boxes without words of their own get a small square."""
    parts, cursor = [], 0
    for index, entity in sorted(enumerate(entities), key=lambda pair: (pair[1].start, pair[0])):
        start, end = entity.start, entity.end
        if not cursor <= start <= len(text):
            start = end = cursor
        end = min(max(start, end), len(text))
        parts.append(_escape(text[cursor:start]))
        parts.append(_words(index, entity, text[start:end], scores=scores))
        cursor = end
    return "".join([*parts, _escape(text[cursor:])])


def _words(index: int, entity: Marked, words: str, *, scores: bool) -> str:
    known = [f"{box.score:.2f}" for box in entity.boxes if box.score is not None and scores]
    count = len(entity.boxes)
    says = f"{printable(entity.phrase) or 'something unnamed'}: {count} box{'es' * (count != 1)}"
    shown = ""
    if known:
        says += f", score {', '.join(known)}"
        shown = f'data-score="{" ".join(known)}" '
    tint = css(colour(index))
    return (
        f'<span class="kosmos2-words" data-entity="{index}" {shown}tabindex="0" role="group" '
        f'style="--c:{tint};--soft:{tint}50" aria-label="{_escape(says)}">'
        f"{_escape(words) or '&#9634;'}</span>"
    )


def _troubles(problems: Sequence[Trouble]) -> str:
    if not problems:
        return ""
    rows = "".join(
        f"<li><code>{_escape(problem.kind)}</code> at {problem.at}: {_escape(problem.detail)}</li>"
        for problem in problems
    )
    count = f"{len(problems)} problem{'s' * (len(problems) != 1)}"
    return f"<details><summary>{count} in what the model wrote</summary><ul>{rows}</ul></details>\n"
