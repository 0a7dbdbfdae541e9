"""What a training run tells to those who watch it.

A watcher is told; it decides nothing, and what it does not care for it does not override.
`Progress` says only what watchers read, so that nothing here needs to know the loop.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields, is_dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

if TYPE_CHECKING:
    from kosmos2.train.watching.held_out import HeldOut


@dataclass(frozen=True, slots=True)
class Run:
    """What begins, or goes on."""

    folder: Path
    stages: tuple[tuple[str, int], ...]  # name and steps of each
    done: int = 0  # steps of earlier runs into this folder

    @property
    def steps(self) -> int:
        """Of all stages."""
        return sum(steps for _, steps in self.stages)

    def whole(self, stage: str, step: int) -> int:
        """A stage's step counted from the beginning of the run."""
        before = 0
        for name, steps in self.stages:
            if name == stage:
                return before + step
            before += steps
        return step


@runtime_checkable
class Progress(Protocol):
    """Where a run is; None where something is not known (yet)."""

    @property
    def stage(self) -> str:
        """Its name."""
        ...

    @property
    def step(self) -> int:
        """Of the stage, from 1."""
        ...

    @property
    def steps(self) -> int:
        """Of the stage."""
        ...

    @property
    def rows_per_s(self) -> float | None:
        """Rows learnt from in a second."""
        ...

    @property
    def tokens_per_s(self) -> float | None:
        """Tokens read in a second, without padding."""
        ...

    @property
    def share_of_peak(self) -> float | None:
        """Of what the machine can multiply at most, 0 to 1."""
        ...

    @property
    def left_s(self) -> float | None:
        """Until the run ends."""
        ...

    @property
    def report(self) -> Any:
        """The losses, by kind: a dataclass or a mapping."""
        ...


class Watcher:
    """Hears of everything and does nothing."""

    def start(self, run: Run) -> None:
        """A run begins, or goes on."""

    def step(self, progress: Progress) -> None:
        """A step is done."""

    def held_out(self, found: HeldOut) -> None:
        """Held-out phrases were asked for."""

    def end(self) -> None:
        """The run is over, stopped or has failed."""


class Watchers(Watcher):
    """Several as one; all of them hear the end, whatever becomes of one."""

    def __init__(self, *watchers: Watcher) -> None:
        self._all = watchers

    def start(self, run: Run) -> None:
        """Tell all."""
        for watcher in self._all:
            watcher.start(run)

    def step(self, progress: Progress) -> None:
        """Tell all."""
        for watcher in self._all:
            watcher.step(progress)

    def held_out(self, found: HeldOut) -> None:
        """Tell all."""
        for watcher in self._all:
            watcher.held_out(found)

    def end(self) -> None:
        """Tell all."""
        first: Exception | None = None
        for watcher in self._all:
            try:
                watcher.end()
            except Exception as error:  # noqa: BLE001  the others' files must be closed as well
                first = first or error
        if first is not None:
            raise first


def numbers(report: Any, place: str = "") -> Iterator[tuple[str, float]]:
    """Every finite number in a report, named by its place: ("losses/words", 1.25)."""
    if is_dataclass(report) and not isinstance(report, type):
        report = {field.name: getattr(report, field.name) for field in fields(report)}
    if isinstance(report, Mapping):
        for name, value in report.items():
            yield from numbers(value, f"{place}/{name}" if place else str(name))
    elif isinstance(report, int | float) and not isinstance(report, bool) and math.isfinite(report):
        yield place, float(report)
