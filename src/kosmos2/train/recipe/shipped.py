"""The recipes of the package, a recipe by name or file, and single settings asked otherwise."""

from __future__ import annotations

import tomllib
from collections.abc import Iterable
from dataclasses import replace
from difflib import get_close_matches
from importlib.resources import files
from pathlib import Path
from typing import Any

from kosmos2.errors import RecipeError
from kosmos2.train.recipe.data import SCENES, Data
from kosmos2.train.recipe.recipe import Recipe

NAMES = ("finetune", "lora", "pretrain", "pretrain-vision", "instruct", "demo", "paper")


def named(word: str) -> Recipe:
    """A recipe of the package by its name, or any other by its file.

    Raises:
        RecipeError: neither, or a file that is no recipe.
    """
    if word in NAMES:
        text = files("kosmos2").joinpath("assets", "recipes", f"{word}.toml").read_text("utf-8")
        return Recipe.from_toml(text, f"{word}.toml")
    if not word.endswith(".toml") and not Path(word).exists():
        near = get_close_matches(word, NAMES, n=1)
        hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(NAMES)}, and files"
        raise RecipeError(f"there is no recipe {word!r}; {hint}")
    return Recipe.read(Path(word))


def asked_otherwise(recipe: Recipe, settings: Iterable[str]) -> Recipe:
    """A recipe with some settings changed: "train.seed=3", "stage.tell.steps=10".

    A value is read as TOML, and what is no TOML as text. Where there are several tables, one is
    told by its name or number; where there is one, neither is needed.

    Raises:
        RecipeError: no such setting, or a value that it cannot have.
    """
    table = recipe.to_table()
    for setting in settings:
        key, sign, text = setting.partition("=")
        if not sign or not key.strip():
            raise RecipeError(f"--set {setting!r} is no KEY=VALUE, such as train.seed=3")
        *way, last = key.strip().split(".")
        held: Any = table
        for at, name in enumerate(way):
            held = _into(held, name, ".".join(way[: at + 1]))
        held = _only(held, key)
        held[last] = _value(text.strip())
    try:
        return Recipe.from_table(table)
    except RecipeError as error:
        raise RecipeError(f"--set: {error}") from error


def with_data(recipe: Recipe, paths: Iterable[str]) -> Recipe:
    """A recipe that learns from these, beside the scenes that it replays, if it does.

    A path may name its format before a colon, "coco:boxes.json"; "scenes" are drawn meanwhile.
    """
    given = [_data(path) for path in paths]
    if not given:
        return recipe
    kept = tuple(one for one in recipe.data if one.source is None)
    stages = tuple(replace(stage, data=()) for stage in recipe.stage)
    if any(one.source is None for one in given):
        kept = ()
    return replace(recipe, data=(*kept, *given), stage=stages)


def with_model(recipe: Recipe, start: str) -> Recipe:
    """A recipe that starts from another model, which need not know our scenes: no replay."""
    model = replace(recipe.model, start=start, config=None)
    others = tuple(one for one in recipe.data if one.source is not None)
    return replace(recipe, model=model, data=others)


def _data(path: str) -> Data:
    from kosmos2.data.sources import FORMATS

    kind, sign, rest = path.partition(":")
    if path == SCENES:
        return Data.from_table({"format": SCENES}, "data")
    table = {"path": rest, "format": kind} if sign and kind in FORMATS else {"path": path}
    return Data.from_table(table, "--data").beside(Path.cwd())


def _into(held: Any, name: str, place: str) -> Any:
    """The table of a name; one that is not there yet begins empty, and the schema judges it."""
    if isinstance(held, list):
        for number, one in enumerate(held):
            if name in (one.get("name"), str(number)):
                return one
        if len(held) != 1:
            names = ", ".join(str(one.get("name", number)) for number, one in enumerate(held))
            raise RecipeError(f"--set: there is no {place}; say which: {names}")
        held = held[0]
    if not isinstance(held, dict):
        raise RecipeError(f"--set: {place.rpartition('.')[0]} is no table")
    return held.setdefault(name, {})


def _only(held: Any, key: str) -> dict[str, Any]:
    if isinstance(held, list) and len(held) == 1:
        held = held[0]
    if isinstance(held, list):
        names = ", ".join(str(one.get("name", number)) for number, one in enumerate(held))
        raise RecipeError(f"--set {key}: there are several; say which: {names}")
    if not isinstance(held, dict):
        raise RecipeError(f"--set {key}: {key.rpartition('.')[0]} is no table")
    return held


def _value(text: str) -> Any:
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text
