"""How many requests can the server take, and what becomes of them when there are more?

    python benchmarks/serving_load.py [--shares 0.25,0.5,0.75,1,1.5] [--seconds 20]
    python benchmarks/serving_load.py --rates 2,4,8
    python benchmarks/serving_load.py --over 10 [--times 20]

Requests come when they come, whether or not those before have their answers (Poisson arrivals); a
share is one of the capacity, which is measured first, with as many clients as the server answers
side by side. The mix is of captions, questions, phrases and boxes over the shipped examples, as
streams of the chat route. Starts a server on the embedded model, or takes the one at --url. Prints
JSON; with --over ends with 1 if an accepted request was not finished, a request got lost, or a
refusal took longer than 50 ms, what the machine itself stood still left out (see `stillness`). The
slowest of thousands is a matter of luck, so --times does it all again, each time with another
server and other moments. The client shares the machine's cores with the server.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import gc
import json
import random
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

from serving_client import Reply, mixed, send, shares
from stillness import watched

from serving import serving

RUNNING = 8  # of the default limits
REFUSED_MS = 50.0


async def at_rate(url: str, rate: float, seconds: float, *, seed: int, fresh: bool) -> Any:
    """Requests at random moments, so many a second."""
    dice, asks = random.Random(seed), mixed(url, fresh=fresh)
    tasks: list[asyncio.Task[Reply]] = []
    late: list[float | None] = []
    gc.collect()
    gc.disable()  # the client's own pauses would count as the server's
    with watched() as machine:
        begun = time.perf_counter()
        due = 0.0
        while (due := due + dice.expovariate(rate)) < seconds:
            await asyncio.sleep(max(begun + due - time.perf_counter(), 0))
            late.append(time.perf_counter() - begun - due)
            tasks.append(asyncio.create_task(send(url, next(asks))))
        replies = await asyncio.gather(*tasks)
        took_s = time.perf_counter() - begun
    gc.enable()
    lateness = shares(late)
    return told(replies, took_s) | {
        "rate": round(rate, 2),
        "client_late_ms": lateness["p99"],
        "client_latest_ms": lateness["max"],
        "machine_still_ms": machine.longest_ms,
    }


async def capacity(url: str, seconds: float, *, clients: int, fresh: bool) -> dict[str, Any]:
    """As many clients as are answered side by side, each asking again when it has its answer."""
    asks, replies = mixed(url, fresh=fresh), list[Reply]()
    until = time.perf_counter() + seconds

    async def ask() -> None:
        while time.perf_counter() < until:
            replies.append(await send(url, next(asks)))

    begun = time.perf_counter()
    await asyncio.gather(*(ask() for _ in range(clients)))
    return told(replies, time.perf_counter() - begun)


def told(replies: Sequence[Reply], took_s: float) -> dict[str, Any]:
    """What became of requests."""
    answered = [reply for reply in replies if reply.answered]
    refused = [reply for reply in replies if reply.status >= 400]
    return {
        "sent": len(replies),
        "answered": len(answered),
        "refused": len(refused),
        "broken": len(replies) - len(answered) - len(refused),
        "refusals": dict(Counter(f"{reply.status} {reply.code}" for reply in refused)),
        "seconds": round(took_s, 1),
        "requests_a_second": round(len(answered) / took_s, 2),
        "tokens_a_second": round(sum(reply.tokens for reply in answered) / took_s, 1),
        "first_token_ms": shares([reply.first_s for reply in answered]),
        "whole_ms": shares([reply.whole_s for reply in answered]),
        "refused_ms": shares([reply.head_s for reply in refused]),
    }


async def measure(url: str, wishes: argparse.Namespace) -> dict[str, Any]:
    """All that was asked for."""
    await capacity(url, 2, clients=RUNNING, fresh=wishes.fresh)  # warms up
    most = await capacity(url, wishes.capacity_seconds, clients=RUNNING, fresh=wishes.fresh)
    found: dict[str, Any] = {"capacity": most}
    full = most["requests_a_second"]
    if wishes.over:
        rates = [full * wishes.over]
    else:
        rates = wishes.rates or [full * share for share in wishes.shares]
    found["rates"] = []
    for rate in rates:
        one = await at_rate(url, rate, wishes.seconds, seed=wishes.seed, fresh=wishes.fresh)
        found["rates"].append(one | {"share": round(rate / full, 2)})
        print(json.dumps(one), file=sys.stderr)
    return found


def broken(one: dict[str, Any]) -> list[str]:
    """Promises about too many requests that were not kept."""
    held = {
        "every accepted request is finished": not one["broken"],
        "sent = answered + refused": one["sent"] == one["answered"] + one["refused"],
        "refusals are 429": all(name.startswith("429 ") for name in one["refusals"]),
        f"every refusal within {REFUSED_MS:g} ms of a machine that goes on": (
            one["refused_ms"]["max"] or 0
        )
        <= REFUSED_MS + (one.get("machine_still_ms") or 0),
    }
    return [name for name, kept in held.items() if not kept]


@contextlib.contextmanager
def server(url: str | None) -> Iterator[str]:
    """The one that was named, or a new one."""
    if url:
        yield url
    else:
        with serving() as started:
            yield started.url


def numbers(text: str) -> list[float]:
    """Numbers with commas between them."""
    return [float(word) for word in text.split(",")]


def main() -> int:
    """Measure, and write it down."""
    reader = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    reader.add_argument("--url", help="of a server that runs, without keys")
    reader.add_argument("--rates", type=numbers, help="requests a second, with commas between")
    reader.add_argument("--shares", type=numbers, default=[0.25, 0.5, 0.75, 1.0, 1.5])
    reader.add_argument("--over", type=float, help="times the capacity, and nothing else")
    reader.add_argument("--times", type=int, default=1, help="all of it, with a new server each")
    reader.add_argument("--seconds", type=float, default=20.0, help="for each rate")
    reader.add_argument("--capacity-seconds", type=float, default=10.0)
    reader.add_argument("--fresh", action="store_true", help="no picture comes twice")
    reader.add_argument("--seed", type=int, default=0)
    reader.add_argument("--out", type=Path)
    wishes = reader.parse_args()
    found: dict[str, Any] = {"capacity": [], "rates": []}
    for _ in range(wishes.times):
        with server(wishes.url) as url:
            one = asyncio.run(measure(url, wishes))
        found["capacity"].append(one["capacity"])
        found["rates"] += one["rates"]
        wishes.seed += 1
    faults = [fault for one in found["rates"] for fault in broken(one)] if wishes.over else []
    found["fresh_pictures"] = wishes.fresh
    found["broken_promises"] = faults
    text = json.dumps(found, indent=1)
    print(text)
    if wishes.out:
        wishes.out.write_text(text + "\n", encoding="utf-8")
    return int(bool(faults))


if __name__ == "__main__":
    sys.exit(main())
