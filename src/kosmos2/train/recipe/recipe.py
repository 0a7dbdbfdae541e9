"""Recipe: everything that decides what comes out of a run, but the machine."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from kosmos2.errors import RecipeError
from kosmos2.train.lora.settings import Lora
from kosmos2.train.recipe.data import Data
from kosmos2.train.recipe.schema import build
from kosmos2.train.recipe.settings import Many, Model, Stage, Train, as_table
from kosmos2.train.recipe.toml import written


@dataclass(frozen=True, kw_only=True, slots=True)
class Recipe:
    """What is begun with, what is learnt in what order, from what, and how."""

    name: str = ""
    about: str = ""  # one line, shown by the plan
    model: Model = field(default_factory=Model)
    data: tuple[Data, ...] = ()  # of every stage that names none of its own
    stage: tuple[Stage, ...] = ()
    train: Train = field(default_factory=Train)
    lora: Lora | None = None
    parallel: Many = field(default_factory=Many)

    def __post_init__(self) -> None:
        if not self.stage:
            raise RecipeError("the recipe has no [[stage]]; give it at least one")
        names = [stage.name for stage in self.stage]
        twice = next((name for name in names if names.count(name) > 1), None)
        if twice is not None:
            raise RecipeError(f"two stages are called {twice!r}; give each a name of its own")

    @classmethod
    def from_toml(cls, text: str, file: str = "recipe.toml") -> Recipe:
        """Read a recipe.

        Raises:
            RecipeError: no TOML, an unknown key, or a value of the wrong kind; file and key named.
        """
        try:
            return cls.from_table(tomllib.loads(text))
        except tomllib.TOMLDecodeError as error:
            raise RecipeError(f"{file} is not TOML: {error}") from error
        except RecipeError as error:
            raise RecipeError(f"{file}: {error}") from error

    @classmethod
    def from_table(cls, table: Mapping[str, Any]) -> Recipe:
        """The inverse of `to_table`."""
        return build(cls, table)

    @classmethod
    def read(cls, file: Path) -> Recipe:
        """Read a file; data that it names by a relative path is beside it."""
        try:
            text = file.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise RecipeError(f"{file} cannot be read ({error}); name a recipe in TOML") from error
        return cls.from_toml(text, str(file)).beside(file.absolute().parent)

    def to_table(self) -> dict[str, Any]:
        """Plain nested values, all settings spelled out."""
        table: dict[str, Any] = {"name": self.name, "about": self.about}
        table["model"] = as_table(self.model)
        table["train"] = as_table(self.train)
        if self.lora is not None:
            table["lora"] = as_table(self.lora)
        table["parallel"] = as_table(self.parallel)
        if self.data:
            table["data"] = [one.to_table() for one in self.data]
        return table | {"stage": [as_table(stage) for stage in self.stage]}

    def to_toml(self) -> str:
        """The recipe as a file; reading it gives this recipe."""
        return written(self.to_table())

    def beside(self, folder: Path) -> Recipe:
        """The same recipe with every relative path seen from a folder."""
        return replace(
            self,
            data=tuple(one.beside(folder) for one in self.data),
            stage=tuple(
                replace(stage, data=tuple(one.beside(folder) for one in stage.data))
                for stage in self.stage
            ),
        )

    def data_of(self, stage: Stage) -> tuple[Data, ...]:
        """What a stage learns from."""
        return stage.data or self.data

    @property
    def steps(self) -> int:
        """Of all stages."""
        return sum(stage.steps for stage in self.stage)

    def differences(self, other: Recipe) -> list[str]:
        """Lines that tell what another recipe has otherwise, by key."""
        mine, theirs = dict(_flat(self.to_table())), dict(_flat(other.to_table()))
        return [
            f"{key} = {theirs.get(key, '(nothing)')}, here {mine.get(key, '(nothing)')}"
            for key in [*mine, *(key for key in theirs if key not in mine)]
            if mine.get(key) != theirs.get(key)
        ]


def _flat(held: Any, place: str = "") -> list[tuple[str, Any]]:
    if isinstance(held, Mapping):
        return [
            pair
            for name, one in held.items()
            for pair in _flat(one, f"{place}.{name}" if place else name)
        ]
    if isinstance(held, list) and held and isinstance(held[0], Mapping):
        return [pair for i, one in enumerate(held) for pair in _flat(one, f"{place}[{i}]")]
    return [(place, list(held) if isinstance(held, tuple) else held)]
