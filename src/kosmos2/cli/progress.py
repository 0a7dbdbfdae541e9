"""How far long work has come, on standard error: a line that moves, or now and then a plain one."""

from __future__ import annotations

import sys
import time
from types import TracebackType
from typing import Self

from kosmos2.cli.output import clean, is_terminal, note

_OFTEN_S, _SELDOM_S = 0.1, 15.0  # between two lines that are seen, and that are kept in a file
_WIDTH = 24


class Progress:
    """Called with done and total; as a context it wipes its line away when the work ends."""

    def __init__(self, what: str, unit: str = "") -> None:
        self._what = what
        self._unit = unit
        self._moving = is_terminal(sys.stderr)
        self._started = time.monotonic()
        self._last = self._started - (_OFTEN_S if self._moving else 0.0)
        self._drawn = False
        self._first: int | None = (
            None  # done when first heard of: resumed work begins in the middle
        )

    def __call__(self, done: int, total: int, detail: str = "") -> None:
        """Show that `done` of `total` is done."""
        now = time.monotonic()
        if self._first is None:
            self._first = done
        if now - self._last < (_OFTEN_S if self._moving else _SELDOM_S) and done < total:
            return
        # Work that ended soon leaves no line in a file.
        if not self._moving and now - self._started < _SELDOM_S:
            return
        self._last = now
        line = self._line(done, total, now - self._started, detail)
        if self._moving:
            sys.stderr.write(f"\r\x1b[K{clean(line)}")
            sys.stderr.flush()
            self._drawn = True
        else:
            note(line)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        place: TracebackType | None,
    ) -> None:
        if self._drawn:
            sys.stderr.write("\r\x1b[K")
            sys.stderr.flush()

    def _line(self, done: int, total: int, took_s: float, detail: str) -> str:
        part = min(1.0, done / total) if total else 0.0
        bar = "█" * round(part * _WIDTH)
        new = done - (self._first or 0)
        left = f"{_time(took_s * (total - done) / new)} left" if new > 0 else ""
        counted = (
            f"{done / 2**20:,.0f} of {total / 2**20:,.0f} MiB"
            if self._unit == "bytes"
            else f"{done:,} of {total:,} {self._unit}".rstrip()
        )
        shown = (self._what, f"|{bar:<{_WIDTH}}|" if self._moving else "", counted, left, detail)
        return "  ".join(piece for piece in shown if piece)


def _time(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"
