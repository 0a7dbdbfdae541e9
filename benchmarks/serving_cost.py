"""What does HTTP cost? The same asks to a server and straight to an engine, in turns.

    python benchmarks/serving_cost.py [--rounds 15] [--requests 48] [--tokens 48] [--out cost.json]

Two processes with the embedded model each: a server, and an engine with nothing around it. While
one works the other waits for its turn. Streams: eight answers at once, each followed by the next,
of half as many tokens to half as many again; tokens a second, a ratio within each round, then the
median. The engine has as many threads as the server gives it; with all cores it is measured too,
and told. First token: one request at a time, from the moment it is sent to its first words, and
from `submit` to the first token; once with pictures that are known, once with new ones, which the
engine is given decoded and looks at. Prints JSON; ends with 1 beyond 10 % or 15 ms. The client
shares the machine's cores with the server, and what it takes is counted as the server's.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import count, islice
from pathlib import Path
from statistics import median
from typing import Any, Self

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

from serving_client import another, body_of, pictures, request_of, send

STREAMS = 8
MOST_LOST, MOST_LATER_MS = 0.10, 15.0
WORDS = "An image of"  # without boxes, so that the first token is the first word


def lengths(requests: int, tokens: int) -> list[int]:
    """How long each answer is: all in a row, so that they do not end together."""
    return [tokens // 2 + tokens * (7 * number % 16) // 16 for number in range(requests)]


def body(jpeg: bytes, tokens: int) -> dict[str, Any]:
    """An answer of so many tokens, whatever it says."""
    plain = {"grounding": {"enabled": False}}
    return body_of(jpeg, WORDS, max_tokens=tokens, ignore_eos=True, **plain)


# Over HTTP


async def stream_tokens(url: str, requests: int, tokens: int) -> dict[str, float]:
    """Eight streams at once, until so many are answered."""
    jpegs = pictures()
    ready = [
        request_of(url, body(jpegs[number % len(jpegs)], length))
        for number, length in enumerate(lengths(requests, tokens))
    ]
    waiting = iter(ready)
    told = 0

    async def ask() -> None:
        nonlocal told
        for request in waiting:
            reply = await send(url, request)
            assert reply.answered, f"{reply.status} {reply.code}"
            told += reply.tokens

    begun, worked = time.perf_counter(), time.process_time()
    await asyncio.gather(*(ask() for _ in range(STREAMS)))
    took_s = time.perf_counter() - begun
    return {"tokens_a_second": told / took_s, "client": (time.process_time() - worked) / took_s}


async def first_tokens(url: str, jpegs: Sequence[bytes]) -> list[float]:
    """One after the other, in milliseconds."""
    found = []
    for jpeg in jpegs:
        reply = await send(url, request_of(url, body(jpeg, 4)))
        assert reply.first_s is not None, f"{reply.status} {reply.code}"
        found.append(reply.first_s * 1000)
    return found


# Straight to the engine, in a process of its own


class Straight:
    """An engine with asks that were made beforehand."""

    def __init__(self) -> None:
        import torch

        from kosmos2 import Kosmos2
        from kosmos2.engine import Engine
        from kosmos2.grounder.looks import weights_of

        self.model = Kosmos2.load("demo")
        self.engine = Engine(self.model.network, slots=STREAMS)
        self.weights = weights_of(self.model.network)
        self.seen = self.model.see(pictures())
        self.numbers = count()
        self.every = torch.get_num_threads()

    def threads(self, count: int) -> None:
        """Let the engine's products have so many threads."""
        import torch

        self.engine.between(lambda: torch.set_num_threads(count))

    def request(self, seen: Any, tokens: int) -> Any:
        """What the server makes of `body`."""
        from kosmos2.grounder import tasks
        from kosmos2.options import Options

        ask = tasks.caption(seen, detailed=False, grounded=False)
        options = Options(max_new_tokens=tokens, min_new_tokens=tokens)
        return self.model.runner.rules.request(ask, options, weights=self.weights)

    def stream_tokens(self, requests: int, tokens: int, *, alike: bool) -> dict[str, float]:
        """Eight answers at once, until so many are there; with as many threads as in the server."""
        from kosmos2.serve.engines import threads_for

        self.threads(threads_for(self.model.config.text) if alike else self.every)
        waiting, over = iter(enumerate(lengths(requests, tokens))), threading.Semaphore(0)
        told = 0

        def ask() -> None:
            for number, length in islice(waiting, 1):
                request = self.request(self.seen[number % len(self.seen)], length)
                self.engine.submit(request, on_token=heard, on_end=ended)

        def heard(_: Any) -> None:
            nonlocal told
            told += 1

        def ended(ticket: Any) -> None:
            assert ticket.error is None, ticket.error
            over.release()

        begun = time.perf_counter()
        for _ in range(STREAMS):
            ask()
        for _ in range(requests):
            over.acquire()
            ask()
        return {"tokens_a_second": told / (time.perf_counter() - begun)}

    def first_tokens(self, requests: int, *, fresh: bool) -> dict[str, list[float]]:
        """One after the other, in milliseconds; new pictures are looked at."""
        import torch

        from kosmos2.images import to_pixels

        self.threads(self.every)
        vision = self.model.config.vision
        pixels = [to_pixels(seen.picture, vision) for seen in self.seen]
        found = []
        for number in range(requests):
            seen, came = self.seen[number % len(self.seen)], threading.Event()
            begun = time.perf_counter()
            if fresh:
                looked = self.engine.look(torch.from_numpy(pixels[number % len(pixels)])[None])
                picture = _Renamed(seen.picture, f"another {next(self.numbers)}")
                seen = replace(seen, picture=picture, latents=looked[0])
            ticket = self.engine.submit(
                self.request(seen, 4), on_token=lambda _, came=came: came.set()
            )
            came.wait(60)
            found.append((time.perf_counter() - begun) * 1000)
            ticket.wait(60)
        return {"ms": found}


class _Renamed:
    """A picture by another name, so that nothing of it is remembered."""

    def __init__(self, picture: Any, digest: str) -> None:
        self._picture, self.digest = picture, digest

    def __getattr__(self, name: str) -> Any:
        return getattr(self._picture, name)


class Child:
    """The other process; answers orders."""

    def __enter__(self) -> Self:
        self._child = subprocess.Popen(
            [sys.executable, __file__, "--straight"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        return self

    def __exit__(self, *_: object) -> None:
        self._child.communicate("", timeout=60)

    def do(self, what: str, **words: Any) -> Any:
        """One order, and what came of it."""
        assert self._child.stdin is not None
        assert self._child.stdout is not None
        print(json.dumps([what, words]), file=self._child.stdin, flush=True)
        return json.loads(self._child.stdout.readline())


def straight() -> None:
    """Be the other process."""
    desk = Straight()
    for line in sys.stdin:
        what, words = json.loads(line)
        print(json.dumps(getattr(desk, what)(**words)), flush=True)
    desk.engine.close()


def fresh(jpegs: Sequence[bytes], numbers: Iterator[int], many: int) -> list[bytes]:
    """Pictures that nobody has seen."""
    return [another(jpegs[number % len(jpegs)], number) for number in islice(numbers, many)]


def measure(url: str, child: Child, wishes: argparse.Namespace) -> dict[str, Any]:
    """Rounds of everything, now here and now there."""
    jpegs, numbers = pictures(), count(1)
    rows: dict[str, list[Any]] = {"http": [], "engine": [], "every": [], "known": [], "new": []}
    for turn in range(wishes.rounds + 1):
        http = asyncio.run(stream_tokens(url, wishes.requests, wishes.tokens))
        sizes = {"requests": wishes.requests, "tokens": wishes.tokens}
        engine = child.do("stream_tokens", **sizes, alike=True)
        every = child.do("stream_tokens", **sizes, alike=False)
        known = asyncio.run(first_tokens(url, [jpegs[n % 4] for n in range(wishes.firsts)]))
        known_there = child.do("first_tokens", requests=wishes.firsts, fresh=False)["ms"]
        new = asyncio.run(first_tokens(url, fresh(jpegs, numbers, wishes.firsts)))
        new_there = child.do("first_tokens", requests=wishes.firsts, fresh=True)["ms"]
        if turn == 0:
            continue  # warms up
        rows["http"].append(http)
        rows["engine"].append(engine)
        rows["every"].append(every)
        rows["known"].append((median(known), median(known_there)))
        rows["new"].append((median(new), median(new_there)))
        print(turn, http, engine, rows["known"][-1], rows["new"][-1], file=sys.stderr)
    ratios = [
        here["tokens_a_second"] / there["tokens_a_second"]
        for here, there in zip(rows["http"], rows["engine"], strict=True)
    ]
    return {
        "streams": STREAMS,
        "rounds": wishes.rounds,
        "requests": wishes.requests,
        "tokens": wishes.tokens,
        "http_tokens_a_second": round(median(r["tokens_a_second"] for r in rows["http"]), 1),
        "engine_tokens_a_second": round(median(r["tokens_a_second"] for r in rows["engine"]), 1),
        "engine_with_all_cores": round(median(r["tokens_a_second"] for r in rows["every"]), 1),
        "ratio": round(median(ratios), 3),
        "ratios": [round(ratio, 3) for ratio in ratios],
        "client_cores": round(median(r["client"] for r in rows["http"]), 3),
        "first_token": {name: told(rows[name]) for name in ("known", "new")},
    }


def told(pairs: Sequence[tuple[float, float]]) -> dict[str, float]:
    """First tokens here and there, and how much later here."""
    return {
        "http_ms": round(median(here for here, _ in pairs), 1),
        "engine_ms": round(median(there for _, there in pairs), 1),
        "later_ms": round(median(here - there for here, there in pairs), 1),
    }


def broken(found: dict[str, Any]) -> list[str]:
    """Promises that were not kept."""
    held = {
        f"at most {MOST_LOST:.0%} of tokens a second": found["ratio"] >= 1 - MOST_LOST,
        **{
            f"first token at most {MOST_LATER_MS:g} ms later, {name} picture": one["later_ms"]
            <= MOST_LATER_MS
            for name, one in found["first_token"].items()
        },
    }
    return [name for name, kept in held.items() if not kept]


def main() -> int:
    """Measure, and write it down."""
    reader = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    reader.add_argument("--rounds", type=int, default=15)
    reader.add_argument("--requests", type=int, default=48, help="streams of each round")
    reader.add_argument("--tokens", type=int, default=48, help="of each stream")
    reader.add_argument("--firsts", type=int, default=16, help="first tokens of each round")
    reader.add_argument("--url", help="of a server that runs, without keys")
    reader.add_argument("--straight", action="store_true", help=argparse.SUPPRESS)
    reader.add_argument("--out", type=Path)
    wishes = reader.parse_args()
    if wishes.straight:
        straight()
        return 0
    from serving_load import server

    with server(wishes.url) as url, Child() as child:
        found = measure(url, child, wishes)
    found["broken_promises"] = broken(found)
    text = json.dumps(found, indent=1)
    print(text)
    if wishes.out:
        wishes.out.write_text(text + "\n", encoding="utf-8")
    return int(bool(found["broken_promises"]))


if __name__ == "__main__":
    sys.exit(main())
