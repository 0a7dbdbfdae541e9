"""One process to a run folder: a lock that dies with its holder, whichever way that goes.

The kernel lets go of it (flock), so a kill leaves nothing to clean up. Processes that the holder
forks, as those that load data, would hold it too and outlive a kill by seconds, so they let go of
it as they begin.
"""

from __future__ import annotations

import os
import socket
from pathlib import Path

from kosmos2.errors import CheckpointError

NAME = "run.lock"
_HELD: set[int] = set()  # handles of this process; a forked one closes its copies
_WATCHED: list[bool] = []  # whether forks are looked after already


class Locked(CheckpointError):
    """Another process trains into the folder."""

    exit_code = 73


class Lock:
    """Held from `take` to `release`, or to the end of this process."""

    def __init__(self, handle: int) -> None:
        self._handle = handle

    @classmethod
    def take(cls, folder: Path) -> Lock:
        """Lock a folder, and say in the file who holds it.

        Raises:
            Locked: another process does, or this one already.
        """
        handle = os.open(folder / NAME, os.O_RDWR | os.O_CREAT, 0o644)
        if not _lock(handle):
            holder = os.read(handle, 200).decode(errors="replace").strip() or "another process"
            os.close(handle)
            raise Locked(
                f"{folder} is being trained into by {holder}; wait for it, stop it "
                "(it saves first), or train into another folder"
            )
        if not _WATCHED and hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=_let_go)
            _WATCHED.append(True)
        _HELD.add(handle)
        os.ftruncate(handle, 0)
        os.write(handle, f"process {os.getpid()} on {socket.gethostname()}\n".encode())
        return cls(handle)

    def release(self) -> None:
        """Let another process in; may be called twice."""
        if self._handle in _HELD:
            _HELD.discard(self._handle)
            os.close(self._handle)


def _lock(handle: int) -> bool:
    try:
        import fcntl
    except ImportError:  # a system without: nothing keeps two processes apart there
        return True
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _let_go() -> None:
    """In a forked process: closing a copy of the handle leaves the lock with its holder."""
    while _HELD:
        os.close(_HELD.pop())
