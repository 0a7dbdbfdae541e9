"""Everything that has hurt other servers, sent to ours, with a good request beside each.

    python benchmarks/serving_hostile.py [--all] [--concurrency 4] [--out hostile.json]

Starts a server on the embedded model, or takes the one at --url whose process is --pid. Prints
JSON: how many requests, their statuses, what was answered wrongly, whether every good answer was
the same, memory, how long liveness took to answer (asked twenty times a second by another process),
and connections that the server made to anywhere. Ends with 1 if a promise was broken.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import re
import signal
import sys
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
from server_process import Canary, Gauge, Probe

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

import hostile
from hostile import Hostile, addresses, heads
from serving import serving

LEAKS = re.compile(
    r"0x[0-9a-f]{6,}|/root|/home|/work|/usr|site-packages|Traceback|\w+(?:Error|Exception)\b|\.py\b"
)
PATIENCE_S = 120.0
GO_ON = b"HTTP/1.1 100 Continue\r\n\r\n"
MEMORY_MIB, P99_MS = 1536, 100.0


class Attack:
    """Sends requests to one server and keeps what came of them."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.golden: Counter[str] = Counter()  # good answers
        self.statuses: Counter[int] = Counter()
        self.codes: Counter[str] = Counter()
        self.faults: list[str] = []
        self.slowest: list[tuple[float, str]] = []
        limits = httpx.Limits(max_keepalive_connections=16)
        self._client = httpx.AsyncClient(
            base_url=url, timeout=PATIENCE_S, limits=limits, trust_env=False
        )

    async def send(self, requests: Iterable[Hostile], concurrency: int) -> None:
        """All of them, so many at a time, each beside a good one."""
        waiting = iter(requests)

        async def work() -> None:
            for request in waiting:  # one iterator for all: each takes the next
                await asyncio.gather(self._one(request), self._good())

        async with self._client:
            await self._good()
            await asyncio.gather(*(work() for _ in range(concurrency)))

    async def send_heads(self) -> None:
        """Those that no library would send."""
        address = urlsplit(self.url)
        for name, data, right in heads.everything():
            reader, writer = await asyncio.open_connection(address.hostname, address.port)
            with contextlib.suppress(ConnectionError):
                writer.write(data)
                await writer.drain()
            reply = b""
            with contextlib.suppress(ConnectionError, TimeoutError):
                async with asyncio.timeout(PATIENCE_S):
                    while not reply.removeprefix(GO_ON):
                        reply += (part := await reader.read(2**16))
                        if not part:
                            break
            reply = reply.removeprefix(GO_ON)
            writer.close()
            status = int(reply[9:12]) if reply.startswith(b"HTTP/1.1 ") else 0
            self._note(f"head {name}", status, reply.decode("latin-1"))
            if status not in right:
                self.faults.append(f"head {name}: {status}, not {sorted(right)}")

    async def _one(self, request: Hostile) -> None:
        begun = time.perf_counter()
        try:
            reply = await self._client.request(
                request.method, request.path, content=request.body, headers=request.headers
            )
        except httpx.HTTPError as error:
            self.faults.append(f"{request.name}, {request.path}: no reply, {type(error).__name__}")
            return
        self.slowest.append((time.perf_counter() - begun, f"{request.name}, {request.path}"))
        self.slowest = sorted(self.slowest, reverse=True)[:5]
        code = None
        if reply.status_code >= 400:
            code = _code(reply)
            self.codes[str(code)] += 1
        self._note(f"{request.name}, {request.path}", reply.status_code, reply.text)
        if fault := request.fault(reply.status_code, code):
            self.faults.append(fault)

    def _note(self, name: str, status: int, text: str) -> None:
        self.statuses[status] += 1
        if status >= 400 and (leak := LEAKS.search(text)):
            self.faults.append(f"{name}: the reply holds {leak[0]!r}")

    async def _good(self) -> None:
        good = hostile.golden()
        headers = good.headers | {"x-request-id": "golden"}
        for _ in range(100):
            reply = await self._client.post(good.path, content=good.body, headers=headers)
            if reply.status_code != 429:
                break
            await asyncio.sleep(0.1)
        # How much of a prompt was known already is true of the moment, not of the answer.
        self.golden[re.sub(r'"cached_tokens":\d+', "", f"{reply.status_code} {reply.text}")] += 1


def _code(reply: httpx.Response) -> str | None:
    """The code of a refusal, if it has OpenAI's shape."""
    try:
        error = reply.json()["error"]
        return error["code"] if set(error) == {"message", "type", "param", "code"} else None
    except (ValueError, LookupError, TypeError):
        return None


async def attack(
    url: str, pid: int, requests: Iterable[Hostile], concurrency: int, *, with_heads: bool = True
) -> dict[str, Any]:
    """Send it all, and watch the server meanwhile."""
    sent = Attack(url)
    with (
        Canary(addresses.PORT) as canary,
        Gauge(pid, urlsplit(url).port) as gauge,
        Probe(url) as probe,
    ):
        begun = time.perf_counter()
        await sent.send(requests, concurrency)
        if with_heads:
            await sent.send_heads()
        took_s = time.perf_counter() - begun
    return {
        "requests": sent.statuses.total(),
        "seconds": round(took_s, 1),
        "statuses": {str(status): count for status, count in sorted(sent.statuses.items())},
        "codes": dict(sent.codes.most_common()),
        "five_hundreds": sum(count for status, count in sent.statuses.items() if status >= 500),
        "faults": sent.faults,
        "golden": {
            "asked": sent.golden.total(),
            "different": len(sent.golden) - 1,
        },
        "slowest_s": [[round(seconds, 2), name] for seconds, name in sent.slowest],
        "memory_mib": gauge.memory_mib(),
        "liveness_ms": probe.figures(),
        "outbound": {"canary": canary.hits, "seen": sorted(gauge.outbound)},
        "same_process": gauge.alive,
    }


def broken(found: dict[str, Any]) -> list[str]:
    """Promises that were not kept."""
    held = {
        "no status of 500 or above": not found["five_hundreds"],
        "every reply is a right one": not found["faults"],
        "good answers are the same": found["golden"]["different"] == 0,
        f"at most {MEMORY_MIB} MiB more": found["memory_mib"]["growth"] <= MEMORY_MIB,
        f"liveness within {P99_MS:g} ms": (found["liveness_ms"]["p99"] or 0) <= P99_MS,
        "no connection to anywhere": not (found["outbound"]["canary"] or found["outbound"]["seen"]),
        "the same process": found["same_process"],
    }
    return [name for name, kept in held.items() if not kept]


@contextlib.contextmanager
def server(wishes: argparse.Namespace) -> Iterator[tuple[str, int]]:
    """The one that was named, or a new one."""
    if wishes.url:
        yield wishes.url, wishes.pid
    else:
        with serving() as started:
            yield started.url, started.process.pid


def main() -> int:
    """Attack, and say what came of it."""
    reader = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    reader.add_argument("--url", help="of a server that runs; needs --pid")
    reader.add_argument("--pid", type=int)
    reader.add_argument("--all", action="store_true", help="every item at every route")
    reader.add_argument("--concurrency", type=int, default=4)
    reader.add_argument("--only", default="", help="items whose name contains this")
    reader.add_argument("--out", type=Path)
    wishes = reader.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # and so the server ends with us
    requests = hostile.everything() if wishes.all else hostile.a_little()
    chosen = (request for request in requests if wishes.only in request.name)
    with server(wishes) as (url, pid):
        found = asyncio.run(
            attack(url, pid, chosen, wishes.concurrency, with_heads=not wishes.only)
        )
    found["broken"] = broken(found)
    text = json.dumps(found, indent=2)
    print(text)
    if wishes.out:
        wishes.out.write_text(text + "\n", encoding="utf-8")
    return int(bool(found["broken"]))


if __name__ == "__main__":
    sys.exit(main())
