"""How long whole answers take: the first token, many phrases, many pictures."""

from __future__ import annotations

import itertools
import time
from typing import Any

from gpu_bench import Bench
from gpu_work import CAPTION_TOKENS, Work

from kosmos2.engine import Engine
from kosmos2.model import Network


def first_token(bench: Bench, network: Network, work: Work) -> float:
    """From pixels on the host to the first id: a new picture each time."""
    numbers = itertools.cycle(range(len(work.pixels)))
    with Engine(network, background=False) as engine:

        def answer() -> None:
            picture = work.pixels[next(numbers)][None]
            engine.run([work.request(work.ids(4, 0), engine.look(picture), 1)])

        return bench.seconds(answer, times=10)


def phrases(bench: Bench, network: Network, work: Work) -> dict[str, float]:
    """Sixteen phrases on one picture: one look, one beginning, one batch."""
    count, new = (3, 4) if bench.tiny else (16, 5)
    prompts = [work.ids(3, n, phrase=True) for n in range(count)]
    beginning = network.config.latents + 3
    numbers = itertools.cycle(range(len(work.pixels)))
    with Engine(network, slots=count, background=False) as engine:

        def answer() -> None:
            picture = next(numbers)
            latents = engine.look(work.pixels[picture][None])
            share = {"prefix_key": time.perf_counter(), "prefix_length": beginning}
            engine.run([work.request(ids, latents, new, **share) for ids in prompts])

        return {"phrases": count, "seconds": bench.seconds(answer)}


def captions(bench: Bench, network: Network, work: Work, count: int, slots: int) -> float:
    """Seconds for so many pictures, looked at in batches, captioned in any order."""
    new, at_once = (4, 2) if bench.tiny else (CAPTION_TOKENS, 64)
    with Engine(network, slots=slots, queue=count, background=False) as engine:
        some = work.request(work.ids(4, 0), engine.look(work.pixels[:1]), new)
        engine.run([some] * slots)  # records
        bench.wait()
        begun = time.perf_counter()
        asked = []
        for start in range(0, count, at_once):
            latents = engine.look(work.pixels[start : start + at_once])
            asked += [work.request(work.ids(4, 0), each[None], new) for each in latents]
        answers = engine.run(asked)
        seconds = time.perf_counter() - begun
    assert all(len(answer.ids) == new for answer in answers)
    return seconds


def all_captions(bench: Bench, network: Network, work: Work) -> dict[str, Any]:
    """The best number of slots on a part, then all of them with it."""
    count = len(work.pixels)
    part, tried = (count, (2,)) if bench.tiny else (128, (32, 64, 128))
    rates = {slots: part / captions(bench, network, work, part, slots) for slots in tried}
    best = max(rates, key=lambda slots: rates[slots])
    seconds = captions(bench, network, work, count, best)
    return {
        "pictures": count,
        "tokens": CAPTION_TOKENS,
        "slots": best,
        "seconds": seconds,
        "pictures_s": count / seconds,
        "pictures_s_by_slots": rates,
    }
