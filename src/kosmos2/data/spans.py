"""Which words of a text are tied to boxes, and the text as parts with those ties.

GRIT lists every chunk and every expression; that one lies within another is for whoever reads to
decide. Phrases cannot be nested in markup.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import Literal

from kosmos2.data.lesson import Linked, Part
from kosmos2.data.sample import Span
from kosmos2.geometry import Box
from kosmos2.prompts import Words

Mode = Literal["expression", "phrase"]


def kept(
    text: str, spans: Sequence[Span], *, mode: Mode, least_score: float, contained: bool
) -> tuple[Span, ...]:
    """The spans that are taught, from left to right.

    Unsure boxes go first, so an inner span is there again when the outer one has lost its boxes.
    Spans over the same words are one, its boxes in the order they came in. Of spans within one
    another the outer is kept (`contained`: the inner). Of two that overlap otherwise the surer one
    is: the released loader has no rule for those, and its markup breaks.
    """
    wanted = [span for span in spans if span.expression == (mode == "expression")]
    by_words: dict[tuple[int, int], Span] = {}
    for span in wanted or spans:  # not every data set has both lists
        boxes = tuple(
            box
            for box in span.boxes
            if (span.score if box.score is None else box.score) >= least_score
        )
        start, end = _trimmed(text, span)
        if not boxes or start >= end:
            continue
        first = by_words.get((start, end))
        both = (first.boxes if first else ()) + boxes
        score = min(span.score, first.score) if first else span.score
        by_words[start, end] = replace(span, start=start, end=end, boxes=both, score=score)
    every = list(by_words.values())
    alone = [
        span
        for span in every
        if not any(_within(other, span) if contained else _within(span, other) for other in every)
    ]
    chosen: list[Span] = []
    for span in sorted(alone, key=lambda span: (-span.score, span.start - span.end, span.start)):
        if all(span.end <= other.start or other.end <= span.start for other in chosen):
            chosen.append(span)
    return tuple(sorted(chosen, key=lambda span: span.start))


def parts_of(text: str, spans: Iterable[Span]) -> tuple[Part, ...]:
    """A text as words and links, beginning with a space as every text that a model writes.

    Whitespace before a phrase goes inside its tag, where the released weights write it.
    """
    parts: list[Part] = []
    done = len(text) - len(text.lstrip())
    blank = " "
    for span in spans:
        between = blank + text[done : span.start]
        words = between.rstrip()
        if words:
            parts.append(Words(words))
        parts.append(Linked(between[len(words) :] + text[span.start : span.end], span.boxes))
        done, blank = span.end, ""
    rest = blank + text[done:].rstrip()
    return (*parts, Words(rest)) if rest.strip() else tuple(parts)


def placed(spans: Iterable[Span], place: Callable[[Box], Box | None]) -> tuple[Span, ...]:
    """The same spans on the picture as it is seen; those that are out of sight are dropped."""
    found = ((span, tuple(filter(None, map(place, span.boxes)))) for span in spans)
    return tuple(replace(span, boxes=boxes) for span, boxes in found if boxes)


def _trimmed(text: str, span: Span) -> tuple[int, int]:
    words = text[span.start : span.end]
    start = span.start + len(words) - len(words.lstrip())
    return start, start + len(words.strip())


def _within(one: Span, other: Span) -> bool:
    same = (one.start, one.end) == (other.start, other.end)
    return not same and other.start <= one.start and one.end <= other.end
