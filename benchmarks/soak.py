"""Does the engine leak? Thousands of small requests, some of them cancelled, late or faulty.

    python benchmarks/soak.py [--requests 2000] [--model demo] [--out soak.json]

Prints JSON: what became of the requests, slots still taken at the end, and how memory grew. A first
part of as many requests as one in four warms up and is not counted in the growth. Without --model
the network is tiny and random, with it a real one.
"""

from __future__ import annotations

import argparse
import gc
import json
import math
import random
import sys
import time
from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from kosmos2.config import Config
from kosmos2.engine.request import Request
from kosmos2.engine.ticket import Cancelled, Late, Ticket
from kosmos2.engine.worker import Engine
from kosmos2.errors import Busy, EngineError
from kosmos2.model import Network
from kosmos2.options import Options
from kosmos2.weights.fetch import resolve
from kosmos2.weights.load import load_network

PICTURES, SLOTS, QUEUE = 12, 8, 32


@dataclass(frozen=True)
class Breaks:
    """A rule with a bug."""

    at: int

    def apply(
        self, logits: torch.Tensor, prompt: Sequence[int], answer: Sequence[int]
    ) -> torch.Tensor:
        """Break at one length of the answer."""
        if len(answer) == self.at:
            raise LookupError("a rule broke")
        return logits


def resident_bytes() -> int:
    """Memory of this process that is really there."""
    gc.collect()
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * 4096


def request_of(dice: random.Random, config: Config, pictures: torch.Tensor) -> Request:
    """Some words, mostly after a picture; one in twenty is faulty."""
    words = tuple(dice.randrange(5, config.text.vocabulary) for _ in range(dice.randint(1, 24)))
    picture = dice.randrange(PICTURES) if dice.random() < 0.8 else None
    before: tuple[int, ...] = () if picture is None else (3, *range(4, 4 + config.latents), 4)
    slots = (False, False, *[True] * config.latents, *[False] * (1 + len(words)))
    latents, key = (None, None) if picture is None else (pictures[picture : picture + 1], picture)
    fault = dice.random()
    if latents is not None and fault < 0.02:
        latents, key = torch.full_like(latents, math.nan), None
    return Request(
        prompt=(config.text.bos, *before, *words),
        slots=() if picture is None else slots,
        latents=latents,
        prefix_key=key,
        prefix_length=0 if picture is None else len(before) + 1,
        eos=config.text.eos,
        pad=config.text.pad,
        locations=range(config.text.vocabulary - 1024, config.text.vocabulary),
        options=Options(
            max_new_tokens=dice.randint(1, 16),
            temperature=dice.choice([0.0, 1.0]),
            seed=dice.randrange(1000),
        ),
        filters=(Breaks(dice.randint(0, 8)),) if fault > 0.97 else (),
        deadline_s=0.005 if 0.02 < fault < 0.05 else None,
    )


def became(ticket: Ticket) -> str:
    """In a word, what happened to a request."""
    error = ticket.error
    if error is None:
        return "answered"
    for kind, word in ((Cancelled, "cancelled"), (Late, "late"), (EngineError, "not finite")):
        if isinstance(error, kind):
            return word
    return "broken rule" if isinstance(error, LookupError) else type(error).__name__


def soak(network: Network, requests: int, seed: int) -> dict[str, object]:
    """Hand them in as fast as there is room, cancelling one in five at some moment."""
    dice, config = random.Random(seed), network.config
    random_pictures = torch.Generator().manual_seed(seed)
    pictures = torch.randn(PICTURES, config.latents, config.text.width, generator=random_pictures)
    ends: Counter[str] = Counter()
    memory: list[tuple[int, int]] = []
    refused = 0
    start = time.perf_counter()
    # Room for about half of the pictures, so that beginnings come and go.
    prefix_bytes = PICTURES // 2 * (config.latents + 3) * 8 * config.text.layers * config.text.width
    with Engine(network, slots=SLOTS, queue=QUEUE, chunk=64, prefix_bytes=prefix_bytes) as engine:
        open_tickets: deque[Ticket] = deque()
        for number in range(requests):
            request = request_of(dice, config, pictures)
            while True:
                try:
                    open_tickets.append(engine.submit(request))
                    break
                except Busy:
                    refused += 1
                    open_tickets[0].wait(60)
                    while open_tickets and open_tickets[0].done:
                        ends[became(open_tickets.popleft())] += 1
            if dice.random() < 0.2:
                dice.choice(open_tickets).cancel()
            if number >= requests // 4 and number % max(requests // 20, 1) == 0:
                memory.append((number, resident_bytes()))
        for ticket in open_tickets:
            ticket.wait(60)
            ends[became(ticket) if ticket.done else "lost"] += 1
        until = time.monotonic() + 5  # who was cancelled leaves within a step
        while (left := engine.statistics()).running + left.waiting and time.monotonic() < until:
            time.sleep(0.01)
        memory.append((requests, resident_bytes()))
    return {
        "requests": requests,
        "ends": dict(ends.most_common()),
        "lost": requests - ends.total() + ends["lost"],
        "leaked_slots": left.running,
        "still_waiting": left.waiting,
        "busy": refused,
        "memory_mib": [round(size / 2**20, 2) for _, size in memory],
        "growth_mib_per_1000": round(slope(memory) * 1000 / 2**20, 3),
        "seconds": round(time.perf_counter() - start, 1),
        "steps": left.steps,
        "tokens": left.tokens,
        "prefix_hits": left.prefix_hits,
    }


def slope(points: list[tuple[int, int]]) -> float:
    """Bytes for each request: the line nearest to the points."""
    middle_x = sum(x for x, _ in points) / len(points)
    middle_y = sum(y for _, y in points) / len(points)
    rise = sum((x - middle_x) * (y - middle_y) for x, y in points)
    return rise / sum((x - middle_x) ** 2 for x, _ in points)


def main() -> int:
    """Run it; 1 if something leaked or was lost."""
    reader = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    reader.add_argument("--requests", type=int, default=2000)
    reader.add_argument("--seed", type=int, default=0)
    reader.add_argument("--model", help="a folder or name; without it a tiny random network")
    reader.add_argument("--out", type=Path)
    wishes = reader.parse_args()
    if wishes.model:
        network = load_network(
            resolve(wishes.model), device=torch.device("cpu"), dtype=torch.float32
        )
    else:
        network = Network(Config.tiny())
        network.initialise(torch.Generator().manual_seed(wishes.seed))
    found = soak(network.eval(), wishes.requests, wishes.seed)
    text = json.dumps(found, indent=2)
    print(text)
    if wishes.out:
        wishes.out.write_text(text + "\n", encoding="utf-8")
    bad = found["leaked_slots"] or found["lost"] or found["still_waiting"]
    return int(bool(bad) or found["growth_mib_per_1000"] >= 1)


if __name__ == "__main__":
    sys.exit(main())
