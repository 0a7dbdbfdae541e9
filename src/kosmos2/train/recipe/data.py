"""One source of rows: where they are, how often they come, and how they are put into words.

In TOML it is one flat table, `[[data]]` or `[[stage.data]]`: the keys of `data.sources.Source`, of
`data.wording.Wording`, and two for the plan's arithmetic. `format = "scenes"` names no files: those
rows are drawn meanwhile, as for the embedded model, in a `world` of `scenes.world`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from kosmos2.data.sources import Source
from kosmos2.data.wording import Wording
from kosmos2.errors import RecipeError

SCENES = "scenes"


@dataclass(frozen=True, kw_only=True, slots=True)
class Data:
    """A source, and what the plan may take for granted about it."""

    source: Source | None = None  # None: scenes
    weight: float = 1.0  # compared with the other sources
    world: str = ""  # of scenes; none named: that of the embedded model
    nouns: tuple[str, ...] = ()  # of scenes; none named: the world's
    # Rows there are, for the plan, which counts them where it is not stated. Scenes have no end,
    # but come again after so many if it is.
    count: int | None = None
    tokens: float | None = None  # of a row in the mean, its pictures' included, for the plan

    def __post_init__(self) -> None:
        if not 0 < self.weight < float("inf"):
            raise RecipeError(f"weight is {self.weight}; give more than 0")
        for name in ("count", "tokens"):
            if getattr(self, name) is not None:
                least(self, name, 1)

    @property
    def name(self) -> str:
        """For people."""
        return SCENES if self.source is None else self.source.path

    @classmethod
    def from_table(cls, table: Any, place: str) -> Data:
        """A flat table of TOML, each key given to whom it belongs."""
        from kosmos2.train.recipe.schema import build, refuse_unknown, value

        if not isinstance(table, Mapping):
            raise RecipeError(f"{place} is {table!r}; give a table")
        kinds: dict[str, Any] = {"weight": float, "count": int, "tokens": float}
        if table.get("format") == SCENES:
            kinds |= {"world": str, "nouns": tuple[str, ...]}
        own = {
            name: value(kind, table[name], f"{place}.{name}")
            for name, kind in kinds.items()
            if name in table
        }
        if table.get("format") == SCENES:
            refuse_unknown(table, ["format", *kinds], place)
            source = None
        else:
            of_source = [one.name for one in fields(Source) if one.name not in ("wording", *kinds)]
            of_wording = [one.name for one in fields(Wording)]
            refuse_unknown(table, [*of_source, *kinds, *of_wording], place)
            wording = build(Wording, {k: v for k, v in table.items() if k in of_wording}, place)
            given = {k: v for k, v in table.items() if k in of_source}
            source = replace(build(Source, given, place), wording=wording)
        try:
            return cls(source=source, **own)
        except RecipeError as error:
            raise RecipeError(f"{place}: {error}") from error

    def to_table(self) -> dict[str, Any]:
        """The flat table again, without what is as it usually is."""
        own = {
            name: getattr(self, name) for name in ("weight", "world", "nouns", "count", "tokens")
        }
        table: dict[str, Any] = {"format": SCENES} if self.source is None else {}
        if self.source is not None:
            for one in (self.source, self.source.wording):
                for it in fields(one):
                    held = getattr(one, it.name)
                    if it.name not in ("wording", "weight") and held != it.default:
                        table[it.name] = list(held) if isinstance(held, tuple) else held
        return table | {name: held for name, held in own.items() if held not in (None, "", ())}

    def beside(self, folder: Path) -> Data:
        """The same, with paths that are not whole taken as seen from a folder."""
        if self.source is None:
            return self
        whole: dict[str, Any] = {
            name: str(folder / Path(held).expanduser())
            for name in ("path", "pictures")
            if (held := getattr(self.source, name)) is not None
        }
        return replace(self, source=replace(self.source, **whole))


def least(one: Any, name: str, lowest: int | float) -> None:
    """A setting has to be at least so much."""
    if getattr(one, name) < lowest:
        raise RecipeError(f"{name} is {getattr(one, name)}; give at least {lowest:g}")


def between(one: Any, name: str, lowest: int | float, highest: int | float) -> None:
    """A setting has to lie between two numbers."""
    if not lowest <= getattr(one, name) <= highest:
        raise RecipeError(f"{name} is {getattr(one, name)}; give {lowest:g} to {highest:g}")
