"""A grounded answer as a value: what was said, and where each phrase is in the picture."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol, Self, cast, get_args

from kosmos2 import overlay
from kosmos2.errors import InputError
from kosmos2.geometry import Box, Corners, cells_of
from kosmos2.markup import Entity, Problem

Finish = Literal["stop", "length"]  # the model had no more to say, or was not let


@dataclass(frozen=True, slots=True)
class ImageSize:
    """Pixels of the upright picture."""

    width: int
    height: int


class Picture(Protocol):
    """A picture, as far as an answer needs to know it."""

    @property
    def width(self) -> int:
        """Pixels across, upright."""
        ...

    @property
    def height(self) -> int:
        """Pixels down, upright."""
        ...

    def jpeg(self) -> bytes:
        """The upright picture as a JPEG file."""
        ...


@dataclass(frozen=True, kw_only=True, slots=True)
class Grounded:
    """What the model said of a picture: words, phrases with boxes, and its slips."""

    text: str
    entities: tuple[Entity, ...] = ()
    problems: tuple[Problem, ...] = ()
    markup: str = ""  # the text with its tags, as it was before reading
    finish: Finish = "stop"
    prompt: str = ""  # the markup that was asked with
    model: str = ""
    image: ImageSize | None = None  # taken from the picture where there is one
    tokens: int = 0  # how many the model wrote
    forced: int = 0  # of these, known before their turn: the grammar left no choice
    picture: Picture | None = field(default=None, compare=False, repr=False)

    def __post_init__(self) -> None:
        if self.image is None and self.picture is not None:
            size = ImageSize(self.picture.width, self.picture.height)
            object.__setattr__(self, "image", size)

    def boxes(self, coords: str = "norm01") -> list[Corners]:
        """The corners of every box, in the order they were said."""
        return [
            box.scaled(coords, *self._size()) for entity in self.entities for box in entity.boxes
        ]

    def to_dict(self, coords: str = "norm01") -> dict[str, Any]:
        """Plain values, ready for JSON.

        Args:
            coords: "norm01" (fractions), "px" (of the upright picture) or "norm1000" (thousandths).
        """
        return {
            "text": self.text,
            "markup": self.markup,
            "entities": [self._entity_dict(entity, coords) for entity in self.entities],
            "problems": [{"kind": p.kind, "at": p.at, "detail": p.detail} for p in self.problems],
            "coords": coords,
            "image": self.image and {"width": self.image.width, "height": self.image.height},
            "model": self.model,
            "finish": self.finish,
            "prompt": self.prompt,
            "tokens": self.tokens,
            "forced": self.forced,
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """The inverse of `to_dict`, in any of its coordinates; the picture itself is not in there.

        Raises:
            InputError: Something is missing or is not what it should be.
        """
        if not isinstance(values, Mapping):
            raise InputError(f"an answer is a table of values, not {type(values).__name__}")
        image = _optional_size(values.get("image"))
        coords = _read(values, "coords", str, "norm01")
        finish = _read(values, "finish", str, "stop")
        if finish not in get_args(Finish):
            raise InputError(
                f"finish of the answer is {finish!r}; it can be {' or '.join(get_args(Finish))}"
            )
        return cls(
            text=_read(values, "text", str),
            entities=tuple(
                _entity(row, coords, image) for row in _read(values, "entities", list, [])
            ),
            problems=tuple(_problem(row) for row in _read(values, "problems", list, [])),
            markup=_read(values, "markup", str, ""),
            finish=cast(Finish, finish),
            prompt=_read(values, "prompt", str, ""),
            model=_read(values, "model", str, ""),
            image=image,
            tokens=_read(values, "tokens", int, 0),
            forced=_read(values, "forced", int, 0),
        )

    def to_tuple(self) -> tuple[str, list[tuple[str, tuple[int, int], list[Corners]]]]:
        """The answer in the form of transformers' `post_process_generation`.

        There a box without a phrase is an entity of its own, named by its two locations. (For the
        reference's own reading of broken markup, see `markup.reference_extract`.)
        """
        found: list[tuple[str, tuple[int, int], list[Corners]]] = []
        for entity in self.entities:
            span = (entity.start, entity.end)
            if entity.phrase:
                found.append((entity.phrase, span, [box.corners for box in entity.boxes]))
                continue
            for box in entity.boxes:
                first, last = cells_of(box)
                name = f"<patch_index_{first}><patch_index_{last}>"
                found.append((name, span, [box.corners]))
        return self.text, found

    def _repr_html_(self) -> str:
        """How a notebook shows the answer."""
        href = None
        if self.picture is not None:
            href = "data:image/jpeg;base64," + base64.b64encode(self.picture.jpeg()).decode()
        width_px, height_px = (self.image.width, self.image.height) if self.image else (0, 0)
        return overlay.html(
            self.text, self.entities, width_px, height_px, href, problems=self.problems
        )

    def _size(self) -> tuple[int | None, int | None]:
        return (self.image.width, self.image.height) if self.image else (None, None)

    def _entity_dict(self, entity: Entity, coords: str) -> dict[str, Any]:
        boxes = [
            {"box": list(box.scaled(coords, *self._size())), "score": box.score}
            for box in entity.boxes
        ]
        return {
            "phrase": entity.phrase,
            "start": entity.start,
            "end": entity.end,
            "boxes": boxes,
        }


_REQUIRED = object()


def _read(values: Any, name: str, kind: type, default: Any = _REQUIRED) -> Any:
    """One value of a table, of the kind it should be."""
    if not isinstance(values, Mapping):
        raise InputError(f"{values!r} stands in the answer where a table with {name!r} should")
    value = values.get(name, default)
    if value is _REQUIRED:
        raise InputError(f"the answer has no {name!r}; give what Grounded.to_dict wrote")
    if kind is float and isinstance(value, int):
        value = float(value)
    if not isinstance(value, kind) or isinstance(value, bool):
        raise InputError(
            f"{name!r} of the answer is {value!r}; it should be of type {kind.__name__}"
        )
    return value


def _optional_size(values: Any) -> ImageSize | None:
    if values is None:
        return None
    size = ImageSize(_read(values, "width", int), _read(values, "height", int))
    if size.width < 1 or size.height < 1:
        raise InputError(f"the picture of the answer is {size.width} x {size.height} pixels")
    return size


def _entity(values: Any, coords: str, image: ImageSize | None) -> Entity:
    size = (image.width, image.height) if image else (None, None)
    boxes = []
    for row in _read(values, "boxes", list, []):
        corners = Box.from_scaled(_read(row, "box", list), coords, *size).corners
        score = row.get("score")
        boxes.append(Box(*corners, score=None if score is None else _read(row, "score", float)))
    return Entity(
        _read(values, "phrase", str),
        _read(values, "start", int),
        _read(values, "end", int),
        tuple(boxes),
    )


def _problem(values: Any) -> Problem:
    return Problem(
        _read(values, "kind", str), _read(values, "at", int), _read(values, "detail", str, "")
    )
