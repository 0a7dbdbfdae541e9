"""How a training goes, on one line: a line that moves, or now and then a plain one.

Where the terminal is narrow the less important goes first: the bar, then tokens/s, the share of the
machine's peak, samples/s. Where nobody looks (a file, a pipe) a plain line is written every 15 s.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from typing import Protocol, runtime_checkable

from kosmos2.layout import printable
from kosmos2.train.watching.held_out import HeldOut
from kosmos2.train.watching.watcher import Progress, Watcher, numbers

_OFTEN_S, _SELDOM_S = 0.1, 15.0  # between two lines that are seen, and that are kept in a file
_BAR = (24, 12, 6, 0)  # columns; the widest that fits
_FORGETS = 0.9  # the loss that is shown is a mean over about the last ten steps


@runtime_checkable
class Stream(Protocol):
    """Where lines go: a terminal, a file, a pipe."""

    def write(self, text: str, /) -> object:
        """Add words."""

    def flush(self) -> object:
        """Let them be seen."""

    def isatty(self) -> bool:
        """Whether somebody is looking."""
        ...


class Live(Watcher):
    """The line.

    Args:
        stream: where it is written, usually standard error; None writes nothing.
        columns: how wide the terminal is now.
        clock: seconds since whenever.
    """

    def __init__(
        self,
        stream: Stream | None,
        *,
        columns: Callable[[], int] = lambda: shutil.get_terminal_size().columns,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._stream = stream
        self._moving = stream is not None and stream.isatty()
        self._columns, self._clock = columns, clock
        self._next = clock() + (0.0 if self._moving else _SELDOM_S)
        self._drawn = False
        self._stage, self._loss = "", 0.0

    def step(self, progress: Progress) -> None:
        """Show where the run is, unless that was just done."""
        loss = dict(numbers(progress.report)).get("loss")
        if loss is not None:
            if progress.stage != self._stage:
                self._stage, self._loss = progress.stage, loss
            self._loss += (1 - _FORGETS) * (loss - self._loss)
        now = self._clock()
        if now < self._next:
            return
        self._next = now + (_OFTEN_S if self._moving else _SELDOM_S)
        shown = self._loss if loss is not None else None
        if self._moving:
            # The last column is left free: terminals disagree on where the cursor is after it.
            self._write(f"\r\x1b[K{line(progress, shown, self._columns() - 1)}")
            self._drawn = True
        else:
            self._write(line(progress, shown) + "\n")

    def held_out(self, found: HeldOut) -> None:
        """A line that stays."""
        self._wipe()
        self._write(f"{printable(found.sentence())}\n")

    def end(self) -> None:
        """Leave a clean line behind."""
        self._wipe()

    def _wipe(self) -> None:
        if self._drawn:
            self._write("\r\x1b[K")
            self._drawn = False

    def _write(self, text: str) -> None:
        if self._stream is None:
            return
        try:
            self._stream.write(text)
            self._stream.flush()
        except (OSError, ValueError):  # the terminal is gone or closed: the training is not
            self._stream = None


def line(progress: Progress, loss: float | None, columns: int | None = None) -> str:
    """The line for a terminal of that many columns; without any, all of it but the bar."""
    rows, tokens, share = progress.rows_per_s, progress.tokens_per_s, progress.share_of_peak
    kept = {
        "stage": printable(progress.stage),
        "bar": "",
        "counted": f"{progress.step:,} of {progress.steps:,}",
        "loss": "" if loss is None else f"loss {loss:.3f}",
        "rows": "" if rows is None else f"{short(rows)} samples/s",
        "tokens": "" if tokens is None else f"{short(tokens)} tokens/s",
        "share": "" if share is None else f"{share:.0%} of peak",
        "left": "" if progress.left_s is None else f"{duration(progress.left_s)} left",
    }

    def joined() -> str:
        return "  ".join(piece for piece in kept.values() if piece)

    if columns is None:
        return joined()
    part = min(1.0, progress.step / progress.steps) if progress.steps else 0.0
    for width in _BAR:
        kept["bar"] = f"|{'█' * round(part * width):<{width}}|" if width else ""
        if len(joined()) <= columns:
            return joined()
    for name in ("tokens", "share", "rows", "stage"):
        kept[name] = ""
        if len(joined()) <= columns:
            break
    return joined()[: max(columns, 0)]


def short(value: int | float) -> str:
    """1234.5 as 1,234; 12345 as 12.3k; 0.123 as 0.12."""
    if value < 10:
        return f"{value:.2g}"
    for size, letter in ((1e9, "G"), (1e6, "M"), (1e4, "k")):
        if value >= size:
            return f"{value / (1e3 if letter == 'k' else size):.1f}{letter}"
    return f"{value:,.0f}"


def duration(seconds: int | float) -> str:
    """65 as 1:05, 3700 as 1:01:40, longer than a day in days."""
    days, rest = divmod(round(max(seconds, 0.0)), 86_400)
    minutes, seconds = divmod(rest, 60)
    hours, minutes = divmod(minutes, 60)
    if days:
        return f"{days} d {hours} h"
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"
