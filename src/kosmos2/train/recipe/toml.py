"""Writing TOML: as much of it as a recipe needs, and `tomllib` reads the same values back."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any


def written(table: Mapping[str, Any]) -> str:
    """A nested table as TOML."""
    return "\n".join(_lines(table, "")).strip() + "\n"


def _lines(table: Mapping[str, Any], place: str) -> Iterator[str]:
    later = {name: held for name, held in table.items() if _is_table(held) or _are_tables(held)}
    for name, held in table.items():
        if name not in later:
            yield f"{name} = {_value(held)}"
    for name, held in later.items():
        at = f"{place}{name}"
        for one in [held] if _is_table(held) else held:
            yield ""
            yield f"[{at}]" if _is_table(held) else f"[[{at}]]"
            yield from _lines(one, f"{at}.")


def _is_table(held: Any) -> bool:
    return isinstance(held, Mapping)


def _are_tables(held: Any) -> bool:
    return isinstance(held, list | tuple) and bool(held) and all(map(_is_table, held))


def _value(held: Any) -> str:
    if isinstance(held, bool):
        return str(held).lower()
    if isinstance(held, str):
        return json.dumps(held, ensure_ascii=False).replace("\x7f", "\\u007f")
    if isinstance(held, list | tuple):
        return f"[{', '.join(map(_value, held))}]"
    return repr(held)
