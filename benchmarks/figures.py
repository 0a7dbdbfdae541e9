"""From the samples of several rounds to figures: medians, their spread, and how many times better.

A ratio is taken within a round, between two peers that ran one after the other, and only then is
the median taken: what slows the whole machine for a minute slows both sides of a ratio.
"""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median
from typing import Any

UNITS = {  # of what is measured, and which way is better
    "seconds": ("s", "less"),
    "seconds_a_step": ("s", "less"),
    "tokens_a_second": ("1/s", "more"),
    "pictures_a_second": ("1/s", "more"),
    "first_token_p50_s": ("s", "less"),
    "first_token_p95_s": ("s", "less"),
    "peak_bytes": ("B", "less"),
    "memory_share": ("of the limit", "more"),
    "arithmetic_share": ("of the limit", "more"),
    "same_tokens": ("of the tokens", "more"),
    "same_next_tokens": ("of the tokens", "more"),
    "forced": ("of the tokens", "more"),
    "batch": ("pictures", "none"),
    "pictures": ("pictures", "none"),
}
PLAIN = {what for what, (unit, _) in UNITS.items() if unit not in ("s", "1/s", "B")}

Sample = dict[str, float]


def spread(values: Sequence[float]) -> dict[str, float]:
    """The middle and both ends."""
    return {"median": median(values), "min": min(values), "max": max(values)}


def summary(
    samples: dict[str, list[Sample]], reference: str | None
) -> dict[str, dict[str, dict[str, Any]]]:
    """For each peer and each thing measured, its figures; `better` is against the reference."""
    found: dict[str, dict[str, dict[str, Any]]] = {}
    for peer, rounds in samples.items():
        found[peer] = {}
        for what in dict.fromkeys(name for sample in rounds for name in sample):
            values = [sample[what] for sample in rounds if what in sample]
            figures: dict[str, Any] = spread(values) | {"samples": values}
            theirs = [sample.get(what) for sample in samples.get(reference or "", [])]
            if peer != reference and what not in PLAIN and theirs and None not in theirs:
                pairs = list(zip(values, theirs, strict=False))
                figures["better"] = spread([_times(what, own, other) for own, other in pairs])
            found[peer][what] = figures
    return found


def _times(what: str, own: float, other: float) -> float:
    """How many times as good as the other; above 1 is better."""
    return other / own if UNITS[what][1] == "less" else own / other


def percentile(values: Sequence[float], percent: float) -> float:
    """With straight lines between the sorted values."""
    ordered = sorted(values)
    at = (len(ordered) - 1) * percent / 100
    low = int(at)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (ordered[high] - ordered[low]) * (at - low)


def agreement(own: Sequence[Sequence[int]], other: Sequence[Sequence[int]]) -> float:
    """The share of an answer's tokens before the first that differs, over all answers."""
    same = total = 0
    for mine, theirs in zip(own, other, strict=True):
        total += len(theirs)
        for one, two in zip(mine, theirs):
            if one != two:
                break
            same += 1
    return same / total
