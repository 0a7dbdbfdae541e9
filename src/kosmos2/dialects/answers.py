"""A whole answer as the text that the parsers of a family of models expect.

Scores are kept where a dialect has a place for them.
"""

from __future__ import annotations

import html
import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from kosmos2 import markup
from kosmos2.dialects.numbers import COORDINATES, coordinates, numbers, unknown
from kosmos2.errors import InputError
from kosmos2.geometry import Box
from kosmos2.result import Grounded


def render(answer: Grounded, name: str) -> str:
    """A whole answer as the text that parsers of a family expect.

    Raises:
        InputError: no dialect of that name, or one in pixels without the picture's size.
    """
    if name not in _WRITERS:
        raise InputError(unknown("dialect", name, DIALECTS))
    return _WRITERS[name].write(answer)


def unit_of(name: str) -> str:
    """What the numbers of some coordinates, or of a dialect of answers, mean.

    Raises:
        InputError: neither has that name.
    """
    if name in COORDINATES:
        return numbers(name).unit
    if name in _WRITERS:
        return _WRITERS[name].unit
    raise InputError(unknown("unit", name, (*COORDINATES, *DIALECTS)))


def _qwen3(answer: Grounded) -> str:
    return _fenced([_labelled("bbox_2d", "qwen3", *found) for found in _found(answer)])


def _qwen2_5(answer: Grounded) -> str:
    return _fenced([_labelled("bbox_2d", "qwen2.5", *found) for found in _found(answer)])


def _gemini(answer: Grounded) -> str:
    rows = []
    for label, box, size in _found(answer):
        row = _labelled("box_2d", "gemini", label, box, size)
        rows.append(row if box.score is None else row | {"confidence": box.score})
    return _fenced(rows)


def _florence2(answer: Grounded) -> str:
    found = list(_found(answer))
    boxes = [coordinates(box, "px", *size) for _, box, size in found]
    labels = [label for label, _, _ in found]
    return _json({"<CAPTION_TO_PHRASE_GROUNDING>": {"bboxes": boxes, "labels": labels}})


def _paligemma(answer: Grounded) -> str:
    rows = []
    for label, box, size in _found(answer):
        places = "".join(f"<loc{place:04d}>" for place in coordinates(box, "paligemma", *size))
        # Nothing sets a label off from the next place, so it must not look like one.
        rows.append(f"{places} {' '.join(re.sub('[<>;]', ' ', label).split())}")
    return " ; ".join(rows)


def _molmo(answer: Grounded) -> str:
    points = []
    for label, box, size in _found(answer):
        x1, y1, x2, y2 = coordinates(box, "percent", *size)
        words = html.escape(label)
        points.append(
            f'<point x="{(x1 + x2) / 2:.1f}" y="{(y1 + y2) / 2:.1f}" alt="{words}">{words}</point>'
        )
    return "\n".join(points)


def _kosmos(answer: Grounded) -> str:
    return markup.render(answer.text, [entity for entity in answer.entities if entity.boxes])


def _markdown(answer: Grounded) -> str:
    written: list[str] = []
    done = 0
    for entity in answer.entities:
        if not entity.boxes:
            continue
        boxes = ";".join(
            ",".join(f"{round(value, 4):g}" for value in box.corners) for box in entity.boxes
        )
        written.append(_escaped(answer.text[done : entity.start]))
        written.append(f"[{_escaped(entity.phrase)}]({boxes})")
        done = entity.end
    return "".join([*written, _escaped(answer.text[done:])])


def _hf_detection(answer: Grounded) -> str:
    rows = []
    for label, box, size in _found(answer):
        sides = dict(zip(("xmin", "ymin", "xmax", "ymax"), coordinates(box, "qwen2.5", *size)))
        rows.append({"label": label, "score": box.score, "box": sides})
    return _json(rows)


def _roboflow(answer: Grounded) -> str:
    classes: dict[str, int] = {}
    rows = []
    for label, box, size in _found(answer):
        x1, y1, x2, y2 = coordinates(box, "px", *size)
        rows.append(
            {
                "x": (x1 + x2) / 2,
                "y": (y1 + y2) / 2,
                "width": x2 - x1,
                "height": y2 - y1,
                "confidence": box.score,
                "class": label,
                "class_id": classes.setdefault(label, len(classes)),
            }
        )
    image = answer.image
    size_px = {"width": image and image.width, "height": image and image.height}
    return _json({"image": size_px, "predictions": rows})


def _moondream(answer: Grounded) -> str:
    return _json({"objects": [region(box) for _, box, _ in _found(answer)]})


def region(box: Box) -> dict[str, float | None]:
    """A box as Moondream's clients read it; the score is ours and they ignore it."""
    sides = dict(zip(("x_min", "y_min", "x_max", "y_max"), box.corners))
    return {**sides, "score": box.score}


def _hf_kosmos(answer: Grounded) -> str:
    return _json(answer.to_tuple())


@dataclass(frozen=True, slots=True)
class _Writer:
    write: Callable[[Grounded], str]
    unit: str


_PX = numbers("px").unit
_QWEN3 = _Writer(_qwen3, numbers("qwen3").unit)
_WRITERS: dict[str, _Writer] = {
    "text": _Writer(lambda answer: answer.text, "words without boxes"),
    "norm1000": _QWEN3,
    "qwen3": _QWEN3,
    "qwen2.5": _Writer(_qwen2_5, numbers("qwen2.5").unit),
    "gemini": _Writer(_gemini, numbers("gemini").unit),
    "florence2": _Writer(_florence2, _PX),
    "paligemma": _Writer(_paligemma, numbers("paligemma").unit),
    "molmo": _Writer(_molmo, "middles of the boxes, x and y in percent of the upright picture"),
    "kosmos": _Writer(_kosmos, numbers("cells").unit),
    "markdown": _Writer(_markdown, numbers("norm01").unit),
    "hf-detection": _Writer(_hf_detection, "sides in whole pixels of the upright picture"),
    "roboflow": _Writer(_roboflow, "middle, width and height in pixels of the upright picture"),
    "moondream": _Writer(_moondream, "sides as fractions of the upright picture, 0 to 1"),
    "hf-kosmos": _Writer(_hf_kosmos, numbers("norm01").unit),
}

DIALECTS = tuple(_WRITERS)  # of answers

_Size = tuple[int | None, int | None]


def _found(answer: Grounded) -> Iterator[tuple[str, Box, _Size]]:
    """Every box with its label and the size of its picture."""
    size = (answer.image.width, answer.image.height) if answer.image else (None, None)
    return ((entity.phrase, box, size) for entity in answer.entities for box in entity.boxes)


def _labelled(key: str, name: str, label: str, box: Box, size: _Size) -> dict[str, Any]:
    return {key: coordinates(box, name, *size), "label": label}


def _fenced(rows: Any) -> str:
    return f"```json\n{_json(rows)}\n```"


def _json(rows: Any) -> str:
    return json.dumps(rows, ensure_ascii=False)


def _escaped(words: str) -> str:
    return re.sub(r"([\[\]\\])", r"\\\1", words)
