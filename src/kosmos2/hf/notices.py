"""What a user should know once: said once for each message, however often it happens."""

from __future__ import annotations

import sys
import warnings
from pathlib import Path

_PACKAGE = str(Path(__file__).parents[1])
_said: set[str] = set()


class Notice(UserWarning):
    """Something was accepted, though probably not meant; the message says the way out."""


def once(message: str) -> None:
    """Warn where the user's own code is, unless this very message was given before."""
    if message not in _said:
        _said.add(message)
        warnings.warn(message, Notice, stacklevel=_depth())


def forget() -> None:
    """Begin anew, as if nothing had been said."""
    _said.clear()


def _depth() -> int:
    """How far up the first frame lies that is not of this package."""
    frame, depth = sys._getframe(1), 1
    while frame.f_code.co_filename.startswith(_PACKAGE) and frame.f_back is not None:
        frame, depth = frame.f_back, depth + 1
    return depth
