"""Does a server that is always at its limit stay as it is?

    python benchmarks/serving_soak.py [--minutes 10] [--warm-requests 12000] [--out soak.json]

More clients than are answered side by side ask without a pause: mixed streams over the shipped
examples, half of them with pictures that have never been seen, some that leave before their answer,
some that send what is no picture. First until all caches are full, of pictures, of beginnings and
of how each shape is multiplied, which takes some thousand requests; then it counts. Every few
seconds it looks at the server: memory of all its processes, open files, threads, tasks of the event
loop, the engine and picture decoders (processes; `decoders` counts both). Then everybody goes home
and it looks once more. A slope is that of the line nearest to the second half. Prints JSON; ends
with 1 if something grew or stayed. Needs Linux.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

from server_process import family, resident
from serving_client import (
    body_of,
    figures,
    get,
    mixed,
    pictures,
    request_of,
    send,
    shares,
)

from serving import serving

LOOK_S = 5.0
SETTLE_S = 15.0  # longer than idle connections and the engine's thread are kept
LEAVES, NONSENSE, FRESH = 0.1, 0.05, 0.5  # of all requests
MOST_GROWTH_MIB = 1.0  # a minute, over the second half
HELD = ("files", "threads", "tasks", "decoders")


class Soak:
    """Clients and an observer of one server."""

    def __init__(self, url: str, pid: int, *, seed: int, warm: int) -> None:
        self._url, self._pid, self._warm = url, pid, warm
        self._dice = random.Random(seed)
        self._known, self._fresh = mixed(url), mixed(url, fresh=True)
        self._nonsense = request_of(url, body_of(pictures()[0][:200], "What is it?"))
        self.ends: Counter[str] = Counter()
        self.firsts: list[float | None] = []
        self.looks: list[dict[str, float]] = []

    async def run(self, seconds: float, clients: int) -> None:
        """All of it."""
        begun = time.monotonic()
        await self._clients(clients, until=lambda: self.ends.total() >= self._warm)
        self._warm_s = time.monotonic() - begun
        self.ends.clear()
        self.firsts.clear()
        await asyncio.sleep(SETTLE_S)
        self.before = await self.look(0.0)
        begun = time.monotonic()
        observer = asyncio.create_task(self._observe(begun))
        await self._clients(clients, until=lambda: time.monotonic() - begun >= seconds)
        observer.cancel()
        self.seconds = time.monotonic() - begun
        await asyncio.sleep(SETTLE_S)
        self.after = await self.look(self.seconds)

    async def look(self, at_s: float) -> dict[str, float]:
        """The server as it is now."""
        told = figures(await scraped(self._url))
        tasks = Path(f"/proc/{self._pid}/task")
        return {
            "at_s": round(at_s, 1),
            "memory_mib": round(resident(self._pid) / 2**20, 1),
            "files": len(list(Path(f"/proc/{self._pid}/fd").iterdir())),
            "threads": len(list(tasks.iterdir())),
            "decoders": len(family(self._pid)) - 1,
            "tasks": told["kosmos2_event_loop_tasks"],
            "running": told["kosmos2_requests_running"],
            "waiting": told["kosmos2_requests_waiting"],
            "engine": told["kosmos2_engine_running"] + told["kosmos2_engine_waiting"],
        }

    async def _observe(self, begun: float) -> None:
        while True:
            await asyncio.sleep(LOOK_S)
            self.looks.append(await self.look(time.monotonic() - begun))
            print(json.dumps(self.looks[-1]), file=sys.stderr)

    async def _clients(self, count: int, *, until: Callable[[], bool]) -> None:
        await asyncio.gather(*(self._client(until) for _ in range(count)))

    async def _client(self, until: Callable[[], bool]) -> None:
        while not until():
            lot = self._dice.random()
            if lot < NONSENSE:
                reply = await send(self._url, self._nonsense)
                self.ends["nonsense refused" if reply.status == 400 else "nonsense"] += 1
                continue
            request = next(self._fresh if self._dice.random() < FRESH else self._known)
            if lot < NONSENSE + LEAVES:
                patience_s = self._dice.uniform(0.01, 0.5)
                await send(self._url, request, leave_after_s=patience_s)
                self.ends["left"] += 1
                continue
            reply = await send(self._url, request)
            self.ends["answered" if reply.answered else f"{reply.status} {reply.code}"] += 1
            self.firsts.append(reply.first_s)

    def found(self) -> dict[str, Any]:
        """What came of it."""
        late = [look for look in self.looks if look["at_s"] >= self.seconds / 2]
        return {
            "warm_requests": self._warm,
            "warm_minutes": round(self._warm_s / 60, 2),
            "minutes": round(self.seconds / 60, 2),
            "requests": self.ends.total(),
            "ends": dict(self.ends.most_common()),
            "requests_a_second": round(self.ends.total() / self.seconds, 2),
            "first_token_ms": shares(self.firsts),
            "memory_mib_a_minute": slope(late, "memory_mib"),
            "before": self.before,
            "after": self.after,
            "most": {name: max(look[name] for look in self.looks) for name in self.looks[0]},
            "every": thinned(self.looks),
        }


async def scraped(url: str) -> str:
    """The text of `/metrics`."""
    address = urlsplit(url)
    reader, writer = await asyncio.open_connection(address.hostname, address.port)
    writer.write(get(url, "/metrics"))
    data = await reader.read()
    writer.close()
    return data.partition(b"\r\n\r\n")[2].decode()


def slope(looks: Sequence[dict[str, float]], name: str) -> float:
    """How much more each minute: the line nearest to the points."""
    if len(looks) < 2:
        return 0.0
    middle_x = sum(look["at_s"] for look in looks) / len(looks)
    middle_y = sum(look[name] for look in looks) / len(looks)
    rise = sum((look["at_s"] - middle_x) * (look[name] - middle_y) for look in looks)
    return round(60 * rise / sum((look["at_s"] - middle_x) ** 2 for look in looks), 3)


def thinned(looks: Sequence[dict[str, float]], most: int = 20) -> list[dict[str, float]]:
    """Some of them, evenly spread."""
    step = max(-(-len(looks) // most), 1)
    return list(looks[::step])


def broken(found: dict[str, Any]) -> list[str]:
    """Promises that were not kept."""
    before, after, odd = found["before"], found["after"], set(found["ends"])
    held = {
        f"memory grows by less than {MOST_GROWTH_MIB:g} MiB a minute": found["memory_mib_a_minute"]
        < MOST_GROWTH_MIB,
        **{f"as many {name} as before": after[name] <= before[name] for name in HELD},
        "nobody is left inside": not (after["running"] or after["waiting"] or after["engine"]),
        "every answer came": odd <= {"answered", "left", "nonsense refused"},
    }
    return [name for name, kept in held.items() if not kept]


def main() -> int:
    """Run it, and write it down."""
    reader = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    reader.add_argument("--minutes", type=float, default=10.0)
    reader.add_argument("--warm-requests", type=int, default=12_000, help="before it counts")
    reader.add_argument("--clients", type=int, default=12)
    reader.add_argument("--seed", type=int, default=0)
    reader.add_argument("--out", type=Path)
    wishes = reader.parse_args()
    with serving() as server:
        soak = Soak(server.url, server.process.pid, seed=wishes.seed, warm=wishes.warm_requests)
        asyncio.run(soak.run(wishes.minutes * 60, wishes.clients))
        found = soak.found()
        found["exit_code"] = server.stop()
    found["broken_promises"] = broken(found)
    text = json.dumps(found, indent=1)
    print(text)
    if wishes.out:
        wishes.out.write_text(text + "\n", encoding="utf-8")
    return int(bool(found["broken_promises"]))


if __name__ == "__main__":
    sys.exit(main())
