"""A disk that fails at a chosen call, and forgets what nobody waited for.

The process dies there (`Killed`, and no call works after), the power goes too (`lose` takes away
what was not synced: bytes of files, new names; what was removed stays removed, the worst of both),
or the disk is full from there on.
"""

from __future__ import annotations

import errno
import os
from pathlib import Path

CALLS = ("write", "fsync", "rename", "replace", "unlink", "rmdir", "mkdir")


class Killed(BaseException):
    """The process is gone; nothing may catch this."""


class CrashingDisk:
    """Replaces the calls of `os` that change a disk; the one with number `at` never happens."""

    def __init__(self, monkeypatch, at: int | None = None, how: str = "kill") -> None:
        self.at, self.how, self.calls = at, how, []
        self.unsynced: set[Path] = set()  # files with bytes that may be lost
        self.unlisted: set[Path] = set()  # files whose folders may not know of them
        self.unnamed: list[tuple[Path, Path]] = []  # renames that may be undone
        self._real = {name: getattr(os, name) for name in CALLS}
        for name in CALLS:
            monkeypatch.setattr(os, name, self._instead(name))

    def _instead(self, name: str):
        def call(*words, **more):
            number = len(self.calls)
            self.calls.append(name)
            if self.at is not None and number >= self.at:
                if self.how == "kill":
                    raise Killed
                if name in ("write", "mkdir") or number == self.at:
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            if name == "fsync":
                return self._sync(*words)
            result = self._real[name](*words, **more)
            if name == "write":
                path = _path(words[0])
                self.unsynced.add(path)
                if path.stat().st_size == result:  # its first bytes: it is new
                    self.unlisted.add(path)
            elif name in ("rename", "replace"):
                begin, end = Path(words[0]), Path(words[1])
                self.unnamed.append((begin, end))
                for paths in (self.unsynced, self.unlisted):
                    moved = {p for p in paths if p == begin or begin in p.parents}
                    paths -= moved
                    paths |= {end / p.relative_to(begin) for p in moved}
            return result

        return call

    def _sync(self, handle: int) -> None:
        path = _path(handle)
        self.unsynced.discard(path)
        self.unlisted = {file for file in self.unlisted if file.parent != path}
        self.unnamed = [pair for pair in self.unnamed if pair[1].parent != path]

    def lose(self) -> None:
        """The power went: only what was waited for is there."""
        self.at = None  # whoever looks now is alive
        for path in self.unsynced:
            if path.is_file():
                with path.open("r+b") as file:
                    file.truncate(0)
        for path in self.unlisted:
            path.unlink(missing_ok=True)
        for begin, end in reversed(self.unnamed):
            if end.exists() and not begin.exists():
                end.rename(begin)


def _path(handle: int) -> Path:
    return Path(f"/proc/self/fd/{handle}").readlink()
