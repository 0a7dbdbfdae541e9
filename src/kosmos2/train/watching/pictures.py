"""Held-out pictures on a page: where each phrase is, and where the model said so, before and after.

What is true is dashed and what was found is whole, in the phrase's own colour.
"""

from __future__ import annotations

from collections.abc import Sequence

from kosmos2 import overlay
from kosmos2.markup import Entity
from kosmos2.palette import HALO, colour, css
from kosmos2.train.watching.held_out import HIT, Answer, HeldOut
from kosmos2.train.watching.page import data_url, escape

_SHOWN_PX = 250  # the longer side of a picture's drawing: letters are set for this width

STYLE = """
.pairs{display:grid;gap:1.5rem 2rem;
grid-template-columns:repeat(auto-fill,minmax(min(100%,29rem),1fr))}
.pair{margin:0;min-width:0}
.sides{display:grid;gap:.6rem;grid-template-columns:repeat(auto-fit,minmax(min(100%,13rem),1fr))}
.side{margin:0;min-width:0}
.side figcaption{font-size:.85rem;color:var(--soft);margin-bottom:.25rem}
.looked{position:relative;background:var(--picture) 0/100% 100%;border-radius:6px;
print-color-adjust:exact;overflow:hidden}
.looked svg{display:block;width:100%;height:auto;position:relative}
.looked svg>rect{display:none}
.looked .truth{position:absolute;inset:0;height:100%;pointer-events:none}
.found{list-style:none;padding:0;margin:.6rem 0 0;display:grid;gap:.15rem;font-size:.9rem}
.found li{display:grid;grid-template-columns:auto minmax(0,1fr) auto;gap:.5rem;align-items:baseline}
.found li::before{content:"";width:.75em;height:.75em;border-radius:3px;background:var(--c);
box-shadow:0 0 0 1px light-dark(#0006,#fff3)}
.found .phrase{overflow-wrap:anywhere}
.found .kosmos2-words{border-radius:3px;cursor:default}
.found .overlap{font-variant-numeric:tabular-nums;color:var(--soft);white-space:nowrap}
.found .hit{color:var(--good);font-weight:600}
.dashed{display:inline-block;width:1.6em;border-top:2px dashed currentColor;vertical-align:.25em}
"""


def before_and_after(held_out: Sequence[HeldOut]) -> str:
    """The pictures that were kept, each as it was answered at first and at last."""
    if not held_out:
        return ""
    first, last = held_out[0], held_out[-1]
    sides = [first, last] if first is not last else [last]
    figures = [_pair(number, sides) for number in range(len(last.pictures))]
    if not any(figures):
        return ""
    legend = (
        '<p class="soft"><span class="dashed"></span> where it is, and in whole lines where the '
        f"model says it is. Behind each phrase the overlap of the two (IoU); {HIT:g} counts as "
        "found. None of these pictures was trained on.</p>"
    )
    return f'{legend}<div class="pairs" style="margin-top:1rem">{"".join(figures)}</div>'


def _pair(number: int, sides: list[HeldOut]) -> str:
    """One picture as it was answered at first and at last."""
    picture = sides[-1].pictures[number]
    answers = [side.of(number) for side in sides]
    if not answers[-1]:
        return ""
    scale = _SHOWN_PX / max(picture.size)
    size = (max(1, round(picture.width * scale)), max(1, round(picture.height * scale)))
    shown = "".join(
        '<figure class="side"><figcaption>'
        f"{f'after step {side.step:,}' if side.step else 'before'}</figcaption>"
        f"{_looked(said, size)}</figure>"
        for side, said in zip(sides, answers)
    )
    rows = []
    for index, last in enumerate(answers[-1]):
        before = next((one for one in answers[0] if one.phrase == last.phrase), None)
        earlier = f"{before.overlap:.2f} → " if before and len(sides) > 1 else ""
        hit = ' class="hit"' if last.overlap >= HIT else ""
        rows.append(
            f'<li style="--c:{css(colour(index))}"><span class="phrase">'
            f'<span class="kosmos2-words" data-entity="{index}" tabindex="0">'
            f"{escape(last.phrase)}</span></span>"
            f'<span class="overlap">{earlier}<span{hit}>{last.overlap:.2f}</span></span></li>'
        )
    # The picture is in the page once, for both sides; `kosmos2` ties the words to the boxes.
    return (
        f'<section class="pair kosmos2" style="--picture:url({data_url(picture)})">'
        f'<div class="sides">{shown}</div><ul class="found">{"".join(rows)}</ul></section>\n'
    )


def _looked(answers: tuple[Answer, ...], size: tuple[int, int]) -> str:
    """What is true, and over it what was found, named; the picture lies behind both."""
    found = [Entity(one.phrase, 0, 0, (one.found,) if one.found else ()) for one in answers]
    says = "; ".join(f"{one.phrase}, overlap {one.overlap:.2f}" for one in answers)
    lines = "".join(
        f'<g class="kosmos2-box" data-entity="{index}">'
        + "".join(_dashed(box.scaled("px", *size), css(colour(index))) for box in one.truth)
        + "</g>"
        for index, one in enumerate(answers)
    )
    return (
        f'<div class="looked"><svg class="truth" viewBox="0 0 {size[0]} {size[1]}" '
        f'aria-hidden="true">{lines}</svg>{overlay.svg(found, *size, title=says)}</div>'
    )


def _dashed(corners: tuple[float, float, float, float], tint: str) -> str:
    left, top, right, bottom = corners
    shape = (
        f'x="{left:.1f}" y="{top:.1f}" width="{right - left:.1f}" height="{bottom - top:.1f}" '
        'rx="2" fill="none"'
    )
    return (
        f'<rect {shape} stroke="{css(HALO)}" stroke-opacity=".6" stroke-width="3.4"/>'
        f'<rect {shape} stroke="{tint}" stroke-width="1.8" stroke-dasharray="5 4"/>'
    )
