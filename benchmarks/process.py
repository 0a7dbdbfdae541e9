"""The driver's side of a peer: starts its process, gives it orders, ends it whatever happens."""

from __future__ import annotations

import json
import os
import selectors
import signal
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any, Self

from workload import Ask

PEER = Path(__file__).with_name("peer.py")


class Skipped(Exception):
    """A peer, or one thing that it was asked, that cannot be had here; the message says why."""


class Process:
    """A peer that is loaded and waits."""

    def __init__(self, name: str, folder: Path, *, log: Path, patience_s: float = 900.0) -> None:
        """Start it and wait until it is loaded.

        Raises:
            Skipped: it cannot run here.
        """
        self.name, self.log, self.patience_s = name, log, patience_s
        with log.open("ab") as errors:
            self._child = subprocess.Popen(
                [sys.executable, str(PEER), name, str(folder)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                start_new_session=True,  # Ctrl-C reaches the driver alone, which then ends all
                env=os.environ | {"HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"},
            )
        try:
            self.facts: dict[str, Any] = self._answer()
        except BaseException:
            self.stop()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def ask(self, do: str, **words: Any) -> dict[str, Any]:
        """Give one order and wait for what comes of it.

        Raises:
            Skipped: the peer cannot do this, or failed at it, or took too long.
        """
        if "asks" in words:
            words["asks"] = [asdict(ask) if isinstance(ask, Ask) else ask for ask in words["asks"]]
        assert self._child.stdin is not None
        try:
            self._child.stdin.write(json.dumps({"do": do, "with": words}).encode() + b"\n")
            self._child.stdin.flush()
        except BrokenPipeError as error:
            raise Skipped(self._ended()) from error
        return self._answer()

    def stop(self) -> None:
        """End it and all that it started."""
        if self._child.poll() is None:
            os.killpg(self._child.pid, signal.SIGKILL)
        self._child.wait()
        for pipe in (self._child.stdin, self._child.stdout):
            if pipe is not None and not pipe.closed:
                try:
                    pipe.close()
                except BrokenPipeError:
                    continue  # an order that it no longer read

    def _answer(self) -> dict[str, Any]:
        assert self._child.stdout is not None
        with selectors.DefaultSelector() as selector:
            selector.register(self._child.stdout, selectors.EVENT_READ)
            if not selector.select(self.patience_s):
                self.stop()
                raise Skipped(f"no answer within {self.patience_s:.0f} s")
        line = self._child.stdout.readline()
        if not line:
            raise Skipped(self._ended())
        answer = json.loads(line)
        if "done" in answer:
            return answer["done"]
        if "failed" in answer:
            with self.log.open("a") as log:
                log.write(f"{self.name}: {answer['traceback']}\n")
            raise Skipped(answer["failed"])
        raise Skipped(answer["unable"])

    def _ended(self) -> str:
        code = self._child.wait()
        killed = " (killed, perhaps for want of memory)" if code == -signal.SIGKILL else ""
        return f"its process ended with {code}{killed}; {self.log} says more"
