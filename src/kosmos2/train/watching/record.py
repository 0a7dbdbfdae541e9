"""What a run folder tells of its run: `log.jsonl`, `recipe.toml`, held-out answers, a bad batch.

Nothing here trusts the files: a log may end in half a line, a recipe may be of another edition.
"""

from __future__ import annotations

import json
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from kosmos2.errors import DataError
from kosmos2.train.watching.curves import Curve, Stretch
from kosmos2.train.watching.held_out import HeldOut, stored
from kosmos2.train.watching.watcher import numbers

LOG, RECIPE, BAD_BATCH = "log.jsonl", "recipe.toml", "bad_batch.json"


@dataclass(frozen=True, slots=True)
class Record:
    """A run, as far as it was written down."""

    folder: Path
    recipe_text: str
    recipe: Mapping[str, Any]  # empty where it is no TOML
    steps: tuple[Mapping[str, Any], ...]  # logged steps, `whole` counted over all stages
    saved: tuple[Mapping[str, Any], ...]  # checkpoints
    held_out: tuple[HeldOut, ...]
    refused: Mapping[str, Any] | None  # the step whose loss was no number

    @classmethod
    def read(cls, folder: Path) -> Record:
        """All that is there.

        Raises:
            DataError: no run was ever here, or its held-out answers are damaged.
        """
        text = _text(folder / RECIPE)
        if not text and not (folder / LOG).is_file():
            raise DataError(
                f"{folder} has neither {LOG} nor {RECIPE}; name the folder that training ran in"
            )
        try:
            recipe = tomllib.loads(text)
        except tomllib.TOMLDecodeError:
            recipe = {}
        lines = list(_lines(folder / LOG))
        steps: dict[int, Mapping[str, Any]] = {}
        for line in lines:
            if "report" in line:
                whole = int(line.get("whole", line["step"]))
                # A run that went on from an earlier step tells again what came after it.
                steps = {step: one for step, one in steps.items() if step < whole}
                steps[whole] = {**line, "whole": whole}
        return cls(
            folder,
            text,
            recipe,
            tuple(steps.values()),
            tuple(line for line in lines if "saved" in line),
            tuple(stored(folder)),
            next(iter(_lines(folder / BAD_BATCH, whole=True)), None),
        )

    @property
    def stages(self) -> list[Stretch]:
        """The stages, by the recipe or, without one, by the log."""
        stretches, before = [], 0
        for stage in _tables(self.recipe.get("stage")):
            steps = stage.get("steps")
            if isinstance(steps, int):
                name = str(stage.get("name", "train"))
                stretches.append(Stretch(name, before + 1, before + steps))
                before += steps
        return stretches

    @property
    def last(self) -> int:
        """The last step that is known of."""
        known = [int(one["whole"]) for one in self.steps]
        known += [int(one["step"]) for one in self.saved if isinstance(one.get("step"), int)]
        return max(known, default=0)

    @property
    def wanted(self) -> int:
        """Steps of all stages; 0 where the recipe does not tell."""
        return self.stages[-1].last if self.stages else 0

    @property
    def rows(self) -> int:
        """Rows learnt from, by the recipe's rows a step."""
        each = [stage.get("rows", 0) for stage in _tables(self.recipe.get("stage"))]
        return sum(
            rows * max(0, min(self.last, stage.last) - stage.first + 1)
            for rows, stage in zip(each, self.stages)
            if isinstance(rows, int)
        )

    def curve(self, name: str, shown: str = "") -> Curve:
        """A number of the report, or (speeds) of the step, over the run."""
        points = []
        for line in self.steps:
            value = dict(numbers(line["report"])).get(name, line.get(name))
            if isinstance(value, int | float) and value == value:
                points.append((float(line["whole"]), float(value)))
        return Curve(shown or name, tuple(points))

    def names(self, place: str = "") -> list[str]:
        """The numbers that reports have, in the order they first came up."""
        found: dict[str, None] = {}
        for line in self.steps:
            found |= dict.fromkeys(name for name, _ in numbers(line["report"]))
        return [name for name in found if name.startswith(place)]

    def usual(self, name: str) -> float | None:
        """The median of a speed."""
        values = [value for _, value in self.curve(name).points]
        return median(values) if values else None

    def bad_rows(self) -> tuple[int, list[str]]:
        """How many rows could not be used, and the first of them by name."""
        count = 0
        told: dict[str, None] = {}
        for line in self.steps:
            bad, named = line.get("bad", 0), line.get("bad_rows", [])
            count = max(count, bad if isinstance(bad, int) else 0)
            told |= dict.fromkeys(map(str, named if isinstance(named, list) else ()))
        return max(count, len(told)), list(told)


def settings(recipe: Mapping[str, Any], place: str = "") -> Iterator[tuple[str, str, str]]:
    """Every setting of a recipe: its table, its name, its value."""
    for name, value in recipe.items():
        if not isinstance(value, Mapping) and not _tables(value):
            yield place, name, _value(value)
    for name, value in recipe.items():
        inner = f"{place}.{name}" if place else name
        if isinstance(value, Mapping):
            yield from settings(value, inner)
        for number, one in enumerate(_tables(value)):
            called = str(one.get("name", one.get("path", number + 1)))
            rest = {key: held for key, held in one.items() if key not in ("name", "path")}
            yield from settings(rest, f"{inner} {called}")


def _tables(value: Any) -> list[Mapping[str, Any]]:
    if isinstance(value, list) and value and all(isinstance(one, Mapping) for one in value):
        return value
    return []


def _value(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list):
        return ", ".join(map(_value, value)) or "none"
    return f"{value:g}" if isinstance(value, float) else str(value)


def _text(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def _lines(file: Path, *, whole: bool = False) -> Iterator[Mapping[str, Any]]:
    for line in [_text(file)] if whole else _text(file).splitlines():
        try:
            held = json.loads(line)
        except ValueError:
            continue  # a kill cut it short
        if isinstance(held, Mapping):
            yield held
