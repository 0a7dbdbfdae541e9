"""The doors for others: the model behind an OpenAI-compatible server, and a page to draw on.

    create_app   an ASGI app around a loaded model      `app.py`
    serve        the same as a process of its own       `run.py`
    Settings     where it listens, who may ask          `settings.py`
    Limits       how much it takes on                   `settings.py`

Needs what `pip install 'kosmos2[serve]'` brings.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from kosmos2.serve.app import create_app
    from kosmos2.serve.run import serve
    from kosmos2.serve.settings import Limits, Settings

__all__ = ["Limits", "Settings", "create_app", "serve"]

_HOMES = {"create_app": "app", "serve": "run", "Limits": "settings", "Settings": "settings"}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
