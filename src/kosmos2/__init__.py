"""KOSMOS-2: show it a picture, ask, and it answers with words tied to boxes.

Names are imported when first used, so that importing the package costs next to nothing.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from kosmos2.drawing import draw, save
    from kosmos2.errors import (
        CheckpointError,
        ConfigError,
        EngineError,
        ImageError,
        InputError,
        Kosmos2Error,
        MarkupError,
        PromptError,
    )
    from kosmos2.geometry import Box
    from kosmos2.grounder import Kosmos2, Located, Seen
    from kosmos2.images import open_picture
    from kosmos2.markup import Entity, Problem, Text
    from kosmos2.options import Options
    from kosmos2.result import Grounded

__version__ = "0.1.0"

_HOMES = {
    "Box": "kosmos2.geometry",
    "CheckpointError": "kosmos2.errors",
    "ConfigError": "kosmos2.errors",
    "EngineError": "kosmos2.errors",
    "Entity": "kosmos2.markup",
    "Grounded": "kosmos2.result",
    "ImageError": "kosmos2.errors",
    "InputError": "kosmos2.errors",
    "Kosmos2": "kosmos2.grounder",
    "Kosmos2Error": "kosmos2.errors",
    "Located": "kosmos2.grounder",
    "MarkupError": "kosmos2.errors",
    "Options": "kosmos2.options",
    "Problem": "kosmos2.markup",
    "PromptError": "kosmos2.errors",
    "Seen": "kosmos2.grounder",
    "Text": "kosmos2.markup",
    "draw": "kosmos2.drawing",
    "open_picture": "kosmos2.images",
    "save": "kosmos2.drawing",
}

__all__ = [
    "Box",
    "CheckpointError",
    "ConfigError",
    "EngineError",
    "Entity",
    "Grounded",
    "ImageError",
    "InputError",
    "Kosmos2",
    "Kosmos2Error",
    "Located",
    "MarkupError",
    "Options",
    "Problem",
    "PromptError",
    "Seen",
    "Text",
    "draw",
    "open_picture",
    "save",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
