"""Answers in a shape of the caller's: JSON schemas of labels and boxes, filled from what was found.

A small model cannot be trusted to write JSON to order, and need not: labels, boxes and scores are
there already, so they are put where the schema has a place for them. Whatever else a schema demands
is refused, so what is written is always valid.

Recognised are a list of items, an object around one, or one item alone; an item has a box under one
of `BOXES` (four numbers, or an object with one of `SIDES`), or its sides themselves, and perhaps a
label and a score.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from kosmos2.dialects import coordinates, unit_of
from kosmos2.geometry import Box
from kosmos2.markup import Entity
from kosmos2.result import Grounded
from kosmos2.serve.failures import Refused

LABELS = ("label", "phrase", "name", "object", "class", "category", "text", "description")
SCORES = ("score", "confidence", "probability")
WORDS = ("text", "caption", "answer", "content", "description", "summary")  # of the whole answer
# Under these names a box has the meaning that a family of models gave it.
BOXES = {"bbox_2d": "qwen3", "box_2d": "gemini", "bbox": "", "box": "", "bounding_box": ""}
SIDES = (
    ("x_min", "y_min", "x_max", "y_max"),
    ("xmin", "ymin", "xmax", "ymax"),
    ("x1", "y1", "x2", "y2"),
    ("left", "top", "right", "bottom"),
)
_BY_MOST = {1: "norm01", 100: "percent", 1000: "norm1000"}
_MOST = {"norm01": 1, "percent": 100, "norm1000": 1000, "qwen3": 1000, "gemini": 1000}
_REMARKS = {
    *("title", "description", "default", "examples", "deprecated", "propertyOrdering"),
    *("$schema", "$id", "$comment", "$defs", "definitions"),
}
# A caller's shape is written columns first, in four numbers.
_COLUMNS_FIRST = {"cells": "norm01", "patch": "norm01", "gemini": "qwen3", "paligemma": "norm1000"}
_MOST_PROPERTIES = 64
_HOPS = 8  # from one $ref to the next

Node = dict[str, Any]
Size = tuple[int | None, int | None]
Part = Callable[[Entity, Box, Size], Any]


class _Unfit(Exception):
    """Something in the schema for which there is nothing to put in."""


@dataclass(frozen=True, slots=True)
class Schema:
    """A recognised schema."""

    unit: str  # the meaning of a box's numbers, in words
    _write: Callable[[Grounded], Any]

    def write(self, answer: Grounded) -> Any:
        """What was found, in this shape; None where it has no room for nothing."""
        return self._write(answer)


def recognise(schema: Node, coords: str, *, param: str) -> Schema:
    """Find the places for labels and boxes; `param` is where in the request the schema stands.

    Raises:
        Refused: a schema of anything else.
    """
    try:
        return _Reader(schema, coords).read()
    except _Unfit:
        raise Refused("unsupported_value", param=param) from None


class _Reader:
    """Walks through a schema; never deeper than an answer goes, so it needs no limit of its own."""

    def __init__(self, schema: Node, coords: str) -> None:
        self._root = schema
        self._coords = _COLUMNS_FIRST.get(coords, coords)
        self._unit = ""

    def read(self) -> Schema:
        root = self._plain(self._root)
        if _kind(root) == "array":
            items = self._items(root)
            return Schema(self._unit, items)
        try:
            one = self._item(root)
        except _Unfit:
            around = self._around(root)
            return Schema(self._unit, around)

        def single(answer: Grounded) -> Any:
            found = [(e, box) for e in answer.entities for box in e.boxes]
            if not found:
                return None
            entity, box = max(found, key=lambda pair: pair[1].score or 0.0)
            return one(entity, box, _size(answer))

        return Schema(self._unit, single)

    def _around(self, root: Node) -> Callable[[Grounded], Any]:
        """An object with a list of items, and perhaps the words of the answer."""
        parts: dict[str, Callable[[Grounded], Any]] = {}
        lists = 0
        for name, node in _properties(root).items():
            try:
                plain = self._plain(node)
                if _kind(plain) == "array" and not lists:
                    parts[name], lists = self._items(plain), 1
                elif name in WORDS:
                    _only(plain, "string")
                    parts[name] = lambda answer: answer.text
            except _Unfit:
                continue  # unless it is required
        if not lists:
            raise _Unfit
        _check_required(root, parts)
        return lambda answer: {name: part(answer) for name, part in parts.items()}

    def _items(self, node: Node) -> Callable[[Grounded], Any]:
        """A list with one item for each box."""
        _check(node, "array", "items", "minItems", "maxItems")
        if node.get("minItems", 0) != 0 or "items" not in node:
            raise _Unfit
        most = node.get("maxItems")
        if most is not None and not _whole(most):
            raise _Unfit
        inner = self._plain(node["items"])
        item = self._item(inner) if _kind(inner) == "object" else self._box(inner, "")

        def write(answer: Grounded) -> Any:
            size = _size(answer)
            return [item(e, box, size) for e in answer.entities for box in e.boxes][:most]

        return write

    def _item(self, node: Node) -> Part:
        """An object with a box, and perhaps a label and a score."""
        _check(node, "object", "properties", "required", "additionalProperties")
        parts: dict[str, Part] = {}
        boxed = False
        properties = _properties(node)
        for names in SIDES:
            if not boxed and set(names) <= set(properties):
                parts |= self._sides(properties, names)
                boxed = True
        for name, raw in properties.items():
            try:
                if name in BOXES and not boxed:
                    parts[name] = self._box(self._plain(raw), BOXES[name])
                    boxed = True
                elif name in LABELS:
                    _only(self._plain(raw), "string")
                    parts[name] = lambda entity, box, size: entity.phrase
                elif name in SCORES:
                    _check_number(self._plain(raw), 1)
                    parts[name] = lambda entity, box, size: 1.0 if box.score is None else box.score
            except _Unfit:
                continue  # unless it is required
        if not boxed:
            raise _Unfit
        _check_required(node, parts)
        return lambda entity, box, size: {n: part(entity, box, size) for n, part in parts.items()}

    def _box(self, node: Node, family: str) -> Part:
        """Four numbers, or an object with four sides."""
        if _kind(node) == "object":
            _check(node, "object", "properties", "required", "additionalProperties")
            properties = _properties(node)
            for names in SIDES:
                if set(names) <= set(properties):
                    sides = self._sides(properties, names)
                    _check_required(node, sides)
                    return lambda e, box, size: {n: side(e, box, size) for n, side in sides.items()}
            raise _Unfit
        _check(node, "array", "items", "prefixItems", "minItems", "maxItems")
        for bound, fits in (("minItems", lambda n: n <= 4), ("maxItems", lambda n: n >= 4)):
            if bound in node and not (_whole(node[bound]) and fits(node[bound])):
                raise _Unfit
        rows = node.get("prefixItems") or [node.get("items")] * 4
        if not isinstance(rows, list) or len(rows) != 4:
            raise _Unfit
        whole, name = self._number([self._plain(row) for row in rows], family)
        return lambda entity, box, size: _numbers(box, name, size, whole)

    def _sides(self, properties: Node, names: Sequence[str]) -> dict[str, Part]:
        whole, coords = self._number([self._plain(properties[name]) for name in names], "")

        def side(at: int) -> Part:
            return lambda entity, box, size: _numbers(box, coords, size, whole)[at]

        return {name: side(at) for at, name in enumerate(names)}

    def _number(self, rows: Sequence[Node], family: str) -> tuple[bool, str]:
        """Whether the numbers are whole, and their coordinates, by the name and by their limits."""
        whole = any(row.get("type") == "integer" for row in rows)
        name = family or self._coords
        limit = rows[0].get("maximum")
        if _real(limit) and limit in _BY_MOST and _MOST.get(name) != limit:
            name = _BY_MOST[limit]
        if whole and name == "norm01":
            name = "norm1000"
        for row in rows:
            _check_number(row, _MOST.get(name), whole=whole)
        if self._unit not in ("", unit_of(name)):
            raise _Unfit
        self._unit = unit_of(name)
        return whole, name

    def _plain(self, node: Any) -> Node:
        """The schema behind references, and without the leave to be null."""
        for _ in range(_HOPS):
            if not isinstance(node, dict):
                raise _Unfit
            if "$ref" in node:
                _check_rest(node, "$ref")
                node = self._referred(node["$ref"])
            elif "anyOf" in node or "allOf" in node:
                word = "anyOf" if "anyOf" in node else "allOf"
                _check_rest(node, word)
                kinds = [one for one in _list(node[word]) if one != {"type": "null"}]
                if len(kinds) != 1:
                    raise _Unfit
                node = kinds[0]
            elif isinstance(node.get("type"), list):
                kinds = [one for one in node["type"] if one != "null"]
                if len(kinds) != 1:
                    raise _Unfit
                node = node | {"type": kinds[0]}
            else:
                return node
        raise _Unfit

    def _referred(self, place: Any) -> Any:
        if not isinstance(place, str) or not place.startswith(("#/$defs/", "#/definitions/")):
            raise _Unfit
        _, room, name = place.split("/", 2)
        definitions = self._root.get(room)
        if not isinstance(definitions, dict) or name not in definitions:
            raise _Unfit
        return definitions[name]


def _kind(node: Node) -> Any:
    if "type" in node:
        return node["type"]
    return "object" if "properties" in node else None


def _check(node: Node, kind: str, *words: str) -> None:
    """Only words whose meaning is kept to may be there."""
    if _kind(node) != kind:
        raise _Unfit
    _check_rest(node, "type", *words)


def _check_rest(node: Node, *words: str) -> None:
    if not set(node) <= {*words, *_REMARKS}:
        raise _Unfit


def _only(node: Node, kind: str) -> None:
    _check(node, kind)


def _check_number(node: Node, most: float | None, *, whole: bool = False) -> None:
    """A number that may be anything from 0 to `most`; None if that depends on the picture."""
    if node.get("type") != "number" and not (whole and node.get("type") == "integer"):
        raise _Unfit
    _check_rest(node, "type", "minimum", "maximum")
    least, limit = node.get("minimum"), node.get("maximum")
    if least is not None and not (_real(least) and least <= 0):
        raise _Unfit
    if limit is not None and not (_real(limit) and most is not None and limit >= most):
        raise _Unfit


def _properties(node: Node) -> dict[str, Any]:
    properties = node.get("properties")
    if not isinstance(properties, dict) or len(properties) > _MOST_PROPERTIES:
        raise _Unfit
    return properties


def _check_required(node: Node, parts: dict[str, Any]) -> None:
    for name in _list(node.get("required", [])):
        if name not in parts:
            raise _Unfit


def _list(value: Any) -> list[Any]:
    if not isinstance(value, list):
        raise _Unfit
    return value


def _real(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _size(answer: Grounded) -> Size:
    return (answer.image.width, answer.image.height) if answer.image else (None, None)


def _numbers(box: Box, name: str, size: Size, whole: bool) -> list[float]:
    found = coordinates(box, name, *size)
    return [round(number) for number in found] if whole else found
