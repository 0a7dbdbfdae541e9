"""A server process of the embedded model for tests: started, asked, stopped."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cached_property
from queue import Empty, Queue

import httpx

START_S, STOP_S = 120.0, 60.0  # failures only: nothing takes as long
SAYS = re.compile(r"kosmos2 serves (\S+) on (http://\S+)")


class Server:
    """One process, and what it says on standard error."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self.said: list[str] = []
        self._lines: Queue[str | None] = Queue()
        threading.Thread(target=self._listen, daemon=True).start()
        self.url = self._wait_for(SAYS)[2]

    @cached_property
    def client(self) -> httpx.Client:
        """A client for this server, without a key."""
        return httpx.Client(base_url=self.url, timeout=60.0)

    def stop(self, number: int = signal.SIGTERM) -> int:
        """Tell it to stop; the exit code."""
        if self.process.poll() is None:
            self.process.send_signal(number)
        return self.wait()

    def wait(self, timeout_s: float = STOP_S) -> int:
        """The exit code, once it has ended."""
        return self.process.wait(timeout_s)

    def children(self) -> list[int]:
        """The processes that it has started and that still run (Linux)."""
        pid = self.process.pid
        with open(f"/proc/{pid}/task/{pid}/children") as file:  # noqa: PTH123
            return [int(word) for word in file.read().split()]

    def _listen(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self.said.append(line)
            self._lines.put(line)
        self._lines.put(None)

    def _wait_for(self, words: re.Pattern[str]) -> re.Match[str]:
        while True:
            try:
                line = self._lines.get(timeout=START_S)
            except Empty:
                line = None
            if line is None:
                raise AssertionError("the server did not start:\n" + "".join(self.said))
            if found := words.search(line):
                return found


@contextmanager
def serving(
    *words: str, env: Mapping[str, str] | None = None, command: str = "serve"
) -> Iterator[Server]:
    """A running server: `kosmos2 serve --port 0`, without keys unless the words name some."""
    who = () if command == "demo" or "--api-key-file" in words else ("--no-auth",)
    process = subprocess.Popen(
        [sys.executable, "-m", "kosmos2", command, "--port", "0", *who, *words],
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        text=True,
        env={**os.environ, **(env or {})},
    )
    server = None
    try:
        server = Server(process)
        yield server
    finally:
        if server is not None and "client" in vars(server):
            server.client.close()
        if process.poll() is None:
            process.terminate()
            try:
                process.wait(STOP_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
