"""Figures with their 95 % intervals, by drawing the scenes again and again.

Scenes, not single questions, are drawn: several questions about one picture are right or wrong
together, and an interval that took them as independent would be too narrow.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

DRAWS = 1000
Rows = Sequence[Any]  # whatever was counted, scene by scene


def share(rows: Rows) -> float | None:
    """What part of all counts is hits; a row is (hits, counts)."""
    hits, counts = np.sum(np.asarray(rows, dtype=float).reshape(-1, 2), axis=0)
    return float(hits / counts) if counts else None


def f1(rows: Rows) -> float | None:
    """Balance of precision and recall; a row is (hits, found, there)."""
    hits, found, there = np.sum(np.asarray(rows, dtype=float).reshape(-1, 3), axis=0)
    return float(2 * hits / (found + there)) if found + there else None


def auc(rows: Rows) -> float | None:
    """How often a present thing scores above an absent one; a row is (present, absent) scores."""
    present = np.array([score for row in rows for score in row[0]])
    absent = np.array([score for row in rows for score in row[1]])
    if not len(present) or not len(absent):
        return None
    every = np.concatenate([present, absent])
    _, place, times = np.unique(every, return_inverse=True, return_counts=True)
    last = np.cumsum(times)
    ranks = (last - (times - 1) / 2)[place]  # equal scores share their ranks
    above = ranks[: len(present)].sum() - len(present) * (len(present) + 1) / 2
    return float(above / (len(present) * len(absent)))


def figure(name: str, rows: Rows, measure: Callable[[Rows], float | None]) -> dict[str, Any]:
    """A figure under its name, and its interval beside it; both None when nothing was counted."""
    value = measure(rows)
    if value is None:
        return {name: None, f"{name}_interval": None}
    rng = np.random.default_rng(0)
    drawn = []
    for _ in range(DRAWS):
        again = measure([rows[i] for i in rng.integers(len(rows), size=len(rows))])
        if again is not None:
            drawn.append(again)
    low, high = np.quantile(drawn, [0.025, 0.975])
    return {
        name: round(value, 4),
        f"{name}_interval": [round(float(low), 4), round(float(high), 4)],
    }
