"""A server's process from outside: its memory, its connections, how soon it says it lives."""

from __future__ import annotations

import http.client
import json
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any, Self
from urllib.parse import urlsplit

HERTZ = 20


class Canary:
    """Listens on all addresses of this machine; nobody should come."""

    def __init__(self, port: int) -> None:
        self.hits: list[str] = []
        self._socket = socket.create_server(("0.0.0.0", port), reuse_port=False)
        self._thread = threading.Thread(target=self._listen, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        self._thread.join(5)

    def _listen(self) -> None:
        while True:
            try:
                line, _ = self._socket.accept()
            except OSError:  # closed
                return
            with line:
                self.hits.append(str(line.getsockname()[0]))


class Gauge:
    """Looks at a process and all it has started, twenty times a second (Linux)."""

    def __init__(self, pid: int, port: int | None) -> None:
        self._pid, self._port = pid, port
        self._began = _started(pid)
        self.outbound: set[str] = set()
        self._memory = [resident(pid)]
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join(5)
        self._memory.append(resident(self._pid))

    @property
    def alive(self) -> bool:
        """Whether it is still the process that it was."""
        return self._began is not None and _started(self._pid) == self._began

    def memory_mib(self) -> dict[str, int]:
        """Resident memory of all of them together."""
        before, peak, after = self._memory[0], max(self._memory), self._memory[-1]
        figures = {"before": before, "peak": peak, "after": after, "growth": peak - before}
        return {name: round(value / 2**20) for name, value in figures.items()}

    def _look(self) -> None:
        while not self._over.wait(1 / HERTZ):
            self._memory.append(resident(self._pid))
            self.outbound |= connections(self._pid, self._port)


class Probe:
    """Another process that asks for liveness twenty times a second."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._took_ms: list[float] = []

    def __enter__(self) -> Self:
        self._child = subprocess.Popen(
            [sys.executable, __file__, self._url],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        return self

    def __exit__(self, *_: object) -> None:
        said, _ = self._child.communicate("", timeout=60)
        self._took_ms = json.loads(said or "[]")

    def figures(self) -> dict[str, float | int | None]:
        """How long the answers took."""
        took = sorted(self._took_ms)
        if not took:
            return {"count": 0, "p50": None, "p99": None, "max": None}
        at = {name: took[int(share * (len(took) - 1))] for name, share in _SHARES.items()}
        return {"count": len(took), **{name: round(value, 1) for name, value in at.items()}}


_SHARES = {"p50": 0.5, "p95": 0.95, "p99": 0.99, "max": 1.0}


def family(pid: int) -> list[int]:
    """A process and all below it."""
    try:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except OSError:
        return []
    return [pid, *(one for child in children for one in family(int(child)))]


def resident(pid: int) -> int:
    """Bytes of memory that a process and all below it really have."""
    total = 0
    for one in family(pid):
        try:
            total += int(Path(f"/proc/{one}/statm").read_text().split()[1]) * 4096
        except (OSError, IndexError):
            continue  # it has just ended
    return total


def connections(pid: int, port: int | None) -> set[str]:
    """Where a process and all below it have connected to, other than by being called at `port`."""
    inodes = set()
    for one in family(pid):
        try:
            for link in Path(f"/proc/{one}/fd").iterdir():
                name = str(link.readlink())
                if name.startswith("socket:["):
                    inodes.add(name[8:-1])
        except OSError:
            continue
    found = set()
    for table in ("tcp", "tcp6", "udp", "udp6"):
        for line in Path(f"/proc/{pid}/net/{table}").read_text().splitlines()[1:]:
            words = line.split()
            here, there = words[1].split(":"), words[2].split(":")
            called = int(here[1], 16) == port or int(there[1], 16) == 0
            if words[9] in inodes and not called:
                found.add(f"{table} {words[2]}")
    return found


def _started(pid: int) -> str | None:
    """When a process began: a number that is given again has another."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    except OSError:
        return None


def _probe(url: str) -> None:
    """Ask until the input ends, then print how long each took; a failure took for ever."""
    address, over = urlsplit(url), threading.Event()
    threading.Thread(target=lambda: (sys.stdin.read(), over.set()), daemon=True).start()
    took_ms: list[float] = []
    line = http.client.HTTPConnection(str(address.hostname), address.port, timeout=30)
    while not over.wait(1 / HERTZ):
        begun = time.perf_counter()
        line.request("GET", "/health/live")
        reply: Any = line.getresponse()
        reply.read()
        took_ms.append((time.perf_counter() - begun) * 1000 if reply.status == 200 else 1e9)
    print(json.dumps(took_ms))


if __name__ == "__main__":
    _probe(sys.argv[1])
