"""What a run said, a JSON object a line, each with the step it was said at.

That is `whole` where there is one, the steps of all stages together, and else `step`.

After a resume the log reads as if there had been no interruption: what was said past the step gone
back to is forgotten. A log that cannot be written stops nothing.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from kosmos2.train.files import replace

log = logging.getLogger(__name__)


class Logbook:
    """The file `log.jsonl` of a run."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def append(self, line: Mapping[str, Any]) -> None:
        """Add a line, whole or not at all."""
        data = (json.dumps(dict(line)) + "\n").encode()
        try:
            handle = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
            try:
                end = os.fstat(handle).st_size
                if os.write(handle, data) != len(data):
                    os.ftruncate(handle, end)
                    raise OSError(f"no room for {len(data)} more bytes")
            finally:
                os.close(handle)
        except OSError as error:
            log.warning("%s lacks a line: %s", self.path, error.strerror or error)

    def forget_after(self, step: int) -> None:
        """Drop lines past a step, and one that a kill cut short."""
        if not self.path.is_file():
            return
        text = self.path.read_text(encoding="utf-8", errors="replace")
        lines = text.splitlines(keepends=True)
        kept = [line for line in lines if line.endswith("\n") and _step_of(line) <= step]
        if kept != lines:
            replace(self.path, "".join(kept))


def _step_of(line: str) -> float:
    try:
        said = json.loads(line)
        return float(said["whole"] if "whole" in said else said["step"])
    except (ValueError, KeyError, TypeError, AttributeError):
        return float("inf")
