"""A table of TOML becomes a frozen value: every key known, every value of the type wanted.

The types are those of the dataclass itself, so a setting is described in one place. Whatever is
wrong is told by its path, "stage[1].rate", and a wrong name with the nearest right one.
"""

from __future__ import annotations

import types
from collections.abc import Iterable, Mapping
from dataclasses import MISSING, fields, is_dataclass
from difflib import get_close_matches
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from kosmos2.config import Config
from kosmos2.errors import ConfigError, RecipeError

T = TypeVar("T")
_NAMES = {
    int: "a whole number", float: "a number", str: "text in quotes", bool: "true or false",
}  # fmt: skip


def build(kind: type[T], table: Any, place: str = "") -> T:
    """A dataclass from a table, its fields checked by their annotations.

    A nested table may be a dataclass of its own, a tuple of dataclasses a list of tables.

    Raises:
        RecipeError: an unknown or a missing key, a value of another type, or one that the dataclass
            itself refuses.
    """
    values = _mapping(table, place)
    known = {field.name: field for field in fields(kind)}  # type: ignore[arg-type]
    refuse_unknown(values, known, place)
    hints = get_type_hints(kind)
    given = {name: value(hints[name], one, _at(place, name)) for name, one in values.items()}
    for name, field in known.items():
        if name not in given and field.default is MISSING and field.default_factory is MISSING:
            raise RecipeError(f"{_at(place, name)} is missing; give {wanted(hints[name])}")
    try:
        return kind(**given)
    except RecipeError as error:
        raise RecipeError(f"{place}: {error}" if place else str(error)) from error
    except ConfigError as error:
        raise RecipeError(f"{place or 'recipe'}: {error}") from error


def value(kind: Any, given: Any, place: str) -> Any:
    """One value of the type that an annotation names."""
    origin, inner = get_origin(kind), get_args(kind)
    if origin in (Union, types.UnionType):
        return value(next(one for one in inner if one is not type(None)), given, place)
    if origin is Literal:
        if given not in inner:
            near = get_close_matches(str(given), [str(one) for one in inner], n=1)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            raise RecipeError(f"{place} is {given!r}; give {wanted(kind)}{hint}")
        return given
    if origin is tuple:
        if not isinstance(given, list | tuple):
            raise _other(kind, given, place)
        if inner[-1] is not Ellipsis and len(given) != len(inner):
            raise _other(kind, given, place)
        each = [inner[0]] * len(given) if inner[-1] is Ellipsis else inner
        return tuple(
            value(one, it, f"{place}[{i}]") for i, (one, it) in enumerate(zip(each, given))
        )
    if kind is Config:
        return _config(given, place)
    if hasattr(kind, "from_table"):  # a table that is more than its fields
        return kind.from_table(given, place)
    if is_dataclass(kind):
        assert isinstance(kind, type)
        return build(kind, given, place)
    if kind is float and isinstance(given, int) and not isinstance(given, bool):
        return float(given)
    if not isinstance(given, kind) or (isinstance(given, bool) and kind is not bool):
        raise _other(kind, given, place)
    return given


def wanted(kind: Any) -> str:
    """What an annotation asks for, in words."""
    origin, inner = get_origin(kind), get_args(kind)
    if origin in (Union, types.UnionType):
        return wanted(next(one for one in inner if one is not type(None)))
    if origin is Literal:
        *most, last = (repr(one) for one in inner)
        return f"{', '.join(most)} or {last}" if most else last
    if origin is tuple and inner[-1] is Ellipsis:
        return f"a list, each {wanted(inner[0])}"
    if origin is tuple:
        return f"a list of {len(inner)}, each {wanted(inner[0])}"
    return _NAMES.get(kind, "a table")


def refuse_unknown(names: Iterable[str], known: Iterable[str], place: str) -> None:
    """Every name has to be one of those known."""
    known = list(known)
    for name in names:
        if name not in known:
            near = get_close_matches(name, known, n=1)
            hint = f"did you mean {_at(place, near[0])}?" if near else f"known: {', '.join(known)}"
            raise RecipeError(f"there is no {_at(place, name)}; {hint}")


def _config(given: Any, place: str) -> Config:
    try:
        return Config.from_dict(dict(_mapping(given, place)))
    except (ConfigError, TypeError) as error:
        raise RecipeError(f"{place}: {error}") from error


def _mapping(table: Any, place: str) -> Mapping[str, Any]:
    if not isinstance(table, Mapping):
        raise RecipeError(f"{place or 'the recipe'} is {table!r}; give a table")
    return table


def _other(kind: Any, given: Any, place: str) -> RecipeError:
    return RecipeError(f"{place} is {given!r}; give {wanted(kind)}")


def _at(place: str, name: str) -> str:
    return f"{place}.{name}" if place else name
