"""Curves over the steps of a run, drawn as SVG without any library.

The plot is stretched to the width there is, its lines are not, and its words are HTML beside it: so
letters stay readable on a phone.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from kosmos2.palette import RGB, colour, css
from kosmos2.train.watching.live import short
from kosmos2.train.watching.page import escape

_WIDE, _HIGH = 1000.0, 240.0  # of the drawing, in its own units
_MOST_POINTS = 400  # of one curve; more are averaged
_SMOOTH = 0.02  # of the curve: how far the mean that is drawn boldly reaches to either side
_TICKS_UP, _TICKS_ALONG = 4, 6
_CONTRAST = 3.2  # at least, of a line against white

Points = tuple[tuple[float, float], ...]

STYLE = """
.curves{display:grid;gap:1.6rem 2rem;
grid-template-columns:repeat(auto-fit,minmax(min(100%,25rem),1fr))}
.curves>.broad{grid-column:1/-1}
.chart{margin:0;min-width:0}
.chart figcaption{display:flex;flex-wrap:wrap;gap:.1rem 1rem;
align-items:baseline;margin-bottom:.5rem}
.chart figcaption b{font-weight:600;margin-inline-end:auto}
.key{font-size:.85rem;white-space:nowrap;font-variant-numeric:tabular-nums}
.key::before{content:"";display:inline-block;width:.9em;height:.28em;border-radius:2px;
margin-inline-end:.4em;vertical-align:.2em;background:var(--c)}
.plot{display:grid;grid-template-columns:auto minmax(0,1fr);column-gap:.5rem;font-size:.75rem;
color:var(--soft);font-variant-numeric:tabular-nums}
.plot svg{display:block;width:100%;height:100%;overflow:visible}
.area{position:relative;height:clamp(9rem,22vw,13rem)}
.broad .area{height:clamp(10rem,26vw,17rem)}
.up{position:relative;min-width:var(--least)}
.up span{position:absolute;inset-inline-end:0;transform:translateY(-50%);white-space:nowrap}
.along{grid-column:2;position:relative;height:1.5em;margin-top:.35rem}
.along span{position:absolute;transform:translateX(-50%);white-space:nowrap}
.along span:first-child{transform:none}.along span:last-child{transform:translateX(-100%)}
.stage{position:absolute;top:.1rem;padding:0 .35rem;white-space:nowrap;overflow:hidden;
text-overflow:ellipsis;max-width:8rem}
.grid{stroke:var(--line);stroke-width:1;vector-effect:non-scaling-stroke}
.border{stroke:var(--soft);stroke-width:1;stroke-dasharray:3 3;vector-effect:non-scaling-stroke}
.raw,.bold{fill:none;stroke:var(--c);stroke-linejoin:round;vector-effect:non-scaling-stroke}
.raw{stroke-width:1;stroke-opacity:.4}.bold{stroke-width:2;stroke-linecap:round}
"""


@dataclass(frozen=True, slots=True)
class Curve:
    """A number over the steps of a run."""

    name: str
    points: Points  # step and value, in the order of the steps


@dataclass(frozen=True, slots=True)
class Stretch:
    """A stage of the run, first and last step."""

    name: str
    first: int
    last: int


def chart(
    title: str,
    curves: Sequence[Curve],
    stretches: Sequence[Stretch] = (),
    *,
    percent: bool = False,
    broad: bool = False,
    smooth: bool = True,
) -> str:
    """A figure with all curves on one scale; nothing if there is nothing to draw."""
    drawn = [(one.name, _runs(one.points, stretches)) for one in curves if len(one.points) > 1]
    if not drawn:
        return ""
    bold = [[_smoothed(run) if smooth else run for run in runs] for _, runs in drawn]
    raw = [spot for _, runs in drawn for run in runs for spot in run]
    first, last = min(step for step, _ in raw), max(step for step, _ in raw)
    means = [value for runs in bold for run in runs for _, value in run]
    low, high, ticks = _scale(means, [value for _, value in raw])

    def across(step: float) -> float:
        return (step - first) / (last - first or 1)

    def path(runs: Iterable[Points]) -> str:
        return "".join(
            "M"
            + "L".join(
                f"{_WIDE * across(step):.1f} "
                f"{_HIGH * (1 - min(max((value - low) / (high - low), 0.0), 1.0)):.1f}"
                for step, value in run
            )
            for run in runs
        )

    def said(value: float) -> str:
        return f"{value:.0%}" if percent else _number(value)

    lines, keys, marks = [], [], []
    for index, ((name, runs), means_of) in enumerate(zip(drawn, bold)):
        tint = f'style="--c:{tone(index)}"'
        if smooth:
            lines.append(f'<path class="raw" {tint} d="{path(runs)}"/>')
        lines.append(f'<path class="bold" {tint} d="{path(means_of)}"/>')
        ends = f"{said(means_of[-1][0][1])} to {said(means_of[-1][-1][1])}"
        keys.append(f'<span class="key" {tint}>{escape(name)} {ends}</span>')
    shown = [one for one in stretches if one.first <= last and one.last >= first]
    for stretch in shown if len(shown) > 1 else ():
        place = max(0.0, across(stretch.first - 0.5))
        if place > 0:
            lines.append(f'<path class="border" d="M{_WIDE * place:.1f} 0V{_HIGH:g}"/>')
        marks.append(f'<span class="stage" style="left:{place:.2%}">{escape(stretch.name)}</span>')
    heights = [1 - (tick - low) / (high - low) for tick in ticks]
    grid = "".join(f'<path class="grid" d="M0 {_HIGH * y:.1f}H{_WIDE:g}"/>' for y in heights)
    up = "".join(
        f'<span style="top:{y:.2%}">{said(tick)}</span>' for y, tick in zip(heights, ticks)
    )
    along = "".join(
        f'<span style="left:{across(step):.2%}">{step:,.0f}{" steps" * (step == last)}</span>'
        for step in _along(first, last)
    )
    widest = max(len(said(tick)) for tick in ticks)
    says = escape(f"{title}: " + "; ".join(name for name, _ in drawn))
    return (
        f'<figure class="chart{" broad" if broad else ""}">'
        f"<figcaption><b>{escape(title)}</b>{''.join(keys)}</figcaption>\n"
        f'<div class="plot"><div class="up" style="--least:{widest}ch">{up}</div>'
        f'<div class="area"><svg viewBox="0 0 {_WIDE:g} {_HIGH:g}" preserveAspectRatio="none" '
        f'role="img" aria-label="{says}">{grid}{"".join(lines)}</svg>{"".join(marks)}</div>'
        f'<div class="along">{along}</div></div></figure>\n'
    )


def tone(index: int) -> str:
    """The colour of entity `index`, darker on a light page: lines have no halo there."""
    tint, darker = colour(index), colour(index)
    while 1.05 / (_luminance(darker) + 0.05) < _CONTRAST:
        red, green, blue = darker
        darker = (round(red * 0.95), round(green * 0.95), round(blue * 0.95))
    return f"light-dark({css(darker)},{css(tint)})"


def _luminance(rgb: RGB) -> float:
    """As contrast is reckoned on the web (WCAG 2.2)."""
    parts = (part / 255 for part in rgb)
    red, green, blue = (p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def _runs(points: Points, stretches: Sequence[Stretch]) -> list[Points]:
    """A curve parted where stages end, each part thinned in proportion."""
    ends = [stretch.last for stretch in stretches[:-1]]
    parts: dict[int, list[tuple[float, float]]] = {}
    for step, value in points:
        parts.setdefault(bisect_left(ends, step), []).append((step, value))
    size = math.ceil(len(points) / _MOST_POINTS)
    return [_thinned(tuple(part), size) for part in parts.values()]


def _thinned(points: Points, size: int) -> Points:
    parts = [points[i : i + size] for i in range(0, len(points), size)]
    return tuple(
        (sum(step for step, _ in part) / len(part), sum(value for _, value in part) / len(part))
        for part in parts
    )


def _smoothed(points: Points) -> Points:
    """Each point the mean of those around it; fewer of them at both ends, and as many on each side.

    So a curve starts and ends where it does, and does not lag behind.
    """
    most = round(_SMOOTH * len(points))
    smooth = []
    for at, (step, _) in enumerate(points):
        reach = min(most, at, len(points) - 1 - at)
        near = [value for _, value in points[at - reach : at + reach + 1]]
        smooth.append((step, sum(near) / len(near)))
    return tuple(smooth)


def _scale(bold: Sequence[float], raw: Sequence[float]) -> tuple[float, float, list[float]]:
    """Where the plot begins and ends, and its round numbers; a few wild values may leave it."""
    tame = sorted(raw)
    high = max(*bold, tame[int(0.98 * (len(tame) - 1))])
    low = min(*bold, tame[0])
    if 0 < low < 0.4 * high:
        low = 0.0
    if high - low < 1e-12 * max(1.0, abs(high)):
        low, high = low - 0.5 * (abs(low) or 1.0), high + 0.5 * (abs(high) or 1.0)
    step = _round_step((high - low) / _TICKS_UP)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    ticks = [number * step for number in range(first, last + 1)]
    return ticks[0], ticks[-1], ticks


def _round_step(rough: float, rounds: Sequence[int | float] = (1, 2, 2.5, 5, 10)) -> float:
    size = 10.0 ** math.floor(math.log10(rough))
    return next(size * times for times in rounds if size * times >= rough)


def _along(first: float, last: float) -> list[float]:
    """The first step, the last and round ones between, not too near to either."""
    step = max(1.0, _round_step((last - first or 1) / _TICKS_ALONG, (1, 2, 5, 10)))
    between = (number * step for number in range(math.ceil(first / step), int(last / step) + 1))
    room = 0.6 * step
    return [first, *(at for at in between if first + room < at < last - room), last]


def _number(value: float) -> str:
    if value == 0:
        return "0"
    if abs(value) < 0.001:
        return f"{value:.1e}"
    return f"{value:.3g}" if abs(value) < 10 else short(value)
