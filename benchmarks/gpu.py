"""Every figure of the GPU in one command of at most 8 minutes: what is right, then what is fast.

    PYTHONPATH=src python benchmarks/gpu.py               # on a GPU; writes results/gpu.json
    PYTHONPATH=src python benchmarks/gpu.py --few-bits    # also with int8 and int4 weights
    PYTHONPATH=src python benchmarks/gpu.py --tiny        # anywhere, in seconds: does it run

The network has the released sizes and random weights, made on the device from a seed. Nothing is
downloaded. `--budget` seconds are kept: cases that no longer fit are named under `dropped`. The
file is written anew after each case, so that what was measured is there whatever happens.
"""

from __future__ import annotations

import argparse
import itertools
import json
import logging
import platform
import statistics
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from kosmos2.config import Config, TextConfig, VisionConfig
from kosmos2.engine import Completion, Engine, Grammar, Request, Tags, collect, generate
from kosmos2.engine.slots import Slots
from kosmos2.engine.static import Static, rounded_length
from kosmos2.model import Network
from kosmos2.options import Options

HERE = Path(__file__).resolve().parent
PAD, EOS, SLOT = 1, 2, 4
CAPTIONS, CAPTION_TOKENS = 512, 24


@dataclass
class Work:
    """The requests: ids and pixels from seeds."""

    config: Config
    pictures: int

    def __post_init__(self) -> None:
        words = self.config.text.vocabulary
        self.locations = range(words - 1024, words)
        # `<image>`, `</image>`, `<phrase>` ... `<delimiter>`, `<grounding>`, directly before.
        self.image, self.image_end, *tags, self.grounding = range(words - 1032, words - 1024)
        self.tags = Tags(**dict(zip(TAG_NAMES, tags)), locations=self.locations, columns=32)
        side, random = self.config.vision.image_size, np.random.default_rng(0)
        shape = (self.pictures, 3, side, side)
        self.pixels = torch.from_numpy(random.standard_normal(shape, dtype=np.float32))

    def ids(self, words: int, seed: int, *, phrase: bool = False) -> list[int]:
        """A prompt: a picture, and so many words."""
        said = np.random.default_rng(seed).integers(5, self.image, words).tolist()
        if phrase:
            said = [self.tags.phrase, *said, self.tags.phrase_end]
        picture = [self.image, *range(SLOT, SLOT + self.config.latents), self.image_end]
        return [0, *picture, self.grounding, *said]

    def slots(self, ids: list[int]) -> list[int]:
        """1 where a latent goes."""
        rest = len(ids) - 2 - self.config.latents
        return [0, 0, *[1] * self.config.latents, *[0] * rest]

    def request(self, ids: list[int], latents, new: int, **more: Any) -> Request:
        """What the engine is asked; it writes exactly so many tokens."""
        return Request(
            prompt=tuple(ids),
            eos=EOS,
            pad=PAD,
            locations=self.locations,
            slots=tuple(map(bool, self.slots(ids))),
            latents=latents,
            options=Options(max_new_tokens=new, min_new_tokens=new),
            **more,
        )


TAG_NAMES = ("phrase", "phrase_end", "object", "object_end", "delimiter")


@dataclass
class Alone:
    """A prompt as the plain loop takes it."""

    ids: torch.Tensor
    slots: torch.Tensor
    pixels: None = None

    @property
    def keep(self) -> torch.Tensor:
        return torch.ones_like(self.slots)


@dataclass
class Bench:
    """What is measured, in order, while there is time."""

    device: torch.device
    config: Config
    tiny: bool
    budget_s: float
    out: Path
    begun: float = field(default_factory=time.perf_counter)
    found: dict[str, Any] = field(default_factory=dict)
    dropped: dict[str, str] = field(default_factory=dict)

    @property
    def left_s(self) -> float:
        return self.budget_s - (time.perf_counter() - self.begun)

    def case(self, name: str, about_s: float, measure: Callable[[], Any]) -> Any:
        """Measure one thing, if it fits; what goes wrong is noted, and the next one begins."""
        if not self.tiny and self.left_s < about_s:
            self.dropped[name] = f"{self.left_s:.0f} s were left, it takes about {about_s:.0f}"
            print(f"{name}: dropped, {self.dropped[name]}", flush=True)
            self.save()
            return None
        begun = time.perf_counter()
        try:
            value = measure()
        except Exception as error:  # noqa: BLE001 - the other cases count
            traceback.print_exc()
            self.dropped[name] = f"{type(error).__name__}: {error}"[:500]
            value = None
        else:
            self.found[name] = value
        took = time.perf_counter() - begun
        print(f"[{took:5.1f} s] {name}: {json.dumps(value)}", flush=True)
        self.save()
        return value

    def save(self) -> None:
        """What there is so far."""
        seconds = round(time.perf_counter() - self.begun, 1)
        whole = {"tiny": self.tiny, **self.found, "dropped": self.dropped, "seconds": seconds}
        self.out.mkdir(parents=True, exist_ok=True)
        (self.out / "gpu.json").write_text(json.dumps(whole, indent=1) + "\n")

    def wait(self) -> None:
        """Until the device is done."""
        if self.device.type == "cuda":
            torch.cuda.synchronize()

    def seconds(self, do: Callable[[], Any], times: int = 5, warm: int = 2) -> float:
        """The median of some runs."""
        for _ in range(warm):
            do()
        took = []
        for _ in range(times):
            self.wait()
            begun = time.perf_counter()
            do()
            self.wait()
            took.append(time.perf_counter() - begun)
        return statistics.median(took)


def machine(bench: Bench) -> dict[str, Any]:
    """What this runs on, and how fast its memory and its matrix products are."""
    cuda = bench.device.type == "cuda"
    size = 2**20 if bench.tiny else 2**30  # numbers of 4 bytes
    source = torch.ones(size, device=bench.device)
    target = torch.empty_like(source)
    copy_s = bench.seconds(lambda: target.copy_(source), times=10)
    read_s = bench.seconds(source.sum, times=10)
    del source, target
    side = 256 if bench.tiny else 8192
    a = torch.randn(side, side, device=bench.device, dtype=torch.bfloat16)
    product_s = bench.seconds(lambda: a @ a, times=10)
    return {
        "device": torch.cuda.get_device_name() if cuda else platform.processor() or "cpu",
        "torch": torch.__version__,
        "cuda": torch.version.cuda,
        "python": platform.python_version(),
        "copy_gb_s": 8 * size / copy_s / 1e9,
        "read_gb_s": 4 * size / read_s / 1e9,
        "bf16_tflops": 2 * side**3 / product_s / 1e12,
    }


def right(bench: Bench, network: Network, work: Work, dtype: str) -> dict[str, Any]:
    """Loop, ordinary road and fixed shapes on the same requests, alone and in company."""
    new, count = (6, 4) if bench.tiny else (24, 12)
    with torch.no_grad():
        latents = network.look(work.pixels[:3].to(bench.device))
    asked = []
    for n in range(count):
        ids = work.ids(3 + (7 * n) % 37, seed=n, phrase=n % 4 == 1)
        more: dict[str, Any] = {"no_repeat_ngram_size": (0, 3)[n % 2]}
        if n % 4 == 1:
            more["filters"] = (Grammar(tags=work.tags, stops=frozenset({EOS}), limit=new),)
        asked.append(work.request(ids, latents[n % 3][None], new, **more))
    plain = [looped(network, request) for request in asked]
    found: dict[str, Any] = {
        "answers": count,
        "tokens": count * new,
        "different_tokens": len({id for answer in plain for id in answer.ids}),
    }
    for name, static, slots in (
        ("ordinary_in_company", False, 8),
        ("static_in_company", True, 8),
        ("static_alone", True, 1),
    ):
        with Engine(network, static=static, slots=slots, background=False) as engine:
            answers = engine.run(asked)
            recorded = engine._static.recorded if engine._static else 0
        found[name] = {**agreement(answers, plain), "recorded_steps": recorded}
    found["weights"] = dtype
    return found


def looped(network: Network, request: Request) -> Completion:
    """The plain loop's answer."""
    alone = Alone(
        torch.tensor([request.prompt], device=network.device),
        torch.tensor([request.slots], device=network.device),
    )
    (answer,) = collect(
        generate(
            network,
            alone,
            options=request.options,
            eos=EOS,
            pad=PAD,
            locations=request.locations,
            latents=request.latents,
            no_repeat_ngram_size=request.no_repeat_ngram_size,
            filters=request.filters,
        )
    )
    return answer


def agreement(answers: list[Completion], plain: list[Completion]) -> dict[str, Any]:
    """How much of the answers is the same, up to the first token that is not."""
    same, apart = [], [0.0]
    for ours, theirs in zip(answers, plain, strict=True):
        pairs = list(zip(ours.ids, theirs.ids))
        same.append(sum(1 for _ in itertools.takewhile(lambda pair: pair[0] == pair[1], pairs)))
        apart += [abs(a - b) for a, b in zip(ours.logprobs[: same[-1]], theirs.logprobs)]
    return {
        "equal_answers": sum(ours.ids == theirs.ids for ours, theirs in zip(answers, plain)),
        "equal_share": sum(same) / sum(len(answer.ids) for answer in plain),
        "logprobs_apart_at_most": max(apart),
    }


class Decoding:
    """Answers being written together: when each step was done."""

    def __init__(self, bench: Bench, network: Network, work: Work, *, fuse: bool = False) -> None:
        self.bench, self.network, self.work, self.fuse = bench, network, work, fuse
        self.token_bytes = 0

    def step_s(self, rows: int) -> float:
        """Seconds a step, of so many answers at once, through the whole engine."""
        new = 8 if self.bench.tiny else 96
        with torch.no_grad():
            latents = self.network.look(self.work.pixels[:1].to(self.bench.device))
        asked = [self.work.request(self.work.ids(4, n), latents, new) for n in range(rows)]
        with Engine(
            self.network, slots=rows, static=True, fuse=self.fuse, background=False
        ) as engine:
            engine.run(asked)  # records what is to be recorded
            gaps = []
            for _ in range(3):
                times: list[float] = []
                tickets = [
                    engine.submit(request, on_token=lambda _, times=times: times.append(clock()))
                    for request in asked
                ]
                for ticket in tickets:
                    ticket.result()
                steps = times[rows - 1 :: rows]
                gaps += [b - a for a, b in itertools.pairwise(steps)]
        return statistics.median(gaps)

    def figures(self, rows: int, gb_s: float) -> dict[str, float]:
        """The same, and what part of the time the memory needs at least."""
        seconds = self.step_s(rows)
        return {"ms_a_step": seconds * 1e3, "tokens_s": rows / seconds} | share(
            self.bench, self.network, rows, seconds, gb_s
        )


def share(
    bench: Bench,
    network: Network,
    rows: int,
    seconds: float,
    gb_s: float,
    bytes_: int | None = None,
) -> dict[str, float]:
    """Bytes that a step has to read, and the time for them as a share of what it took."""
    text = network.config.text
    seen = network.config.latents + 8 + (4 if bench.tiny else 48)  # half way through the answer
    weights = decoder_bytes(network) if bytes_ is None else bytes_
    heard = rows * seen * 2 * text.layers * text.width * network.dtype.itemsize
    least_s = (weights + heard) / gb_s / 1e9
    return {"limit_ms": least_s * 1e3, "share_of_limit": least_s / seconds}


def decoder_bytes(network: Network) -> int:
    """The blocks and the words: each step reads all of them."""
    return sum(p.nbytes for p in network.decoder.parameters())


def bare_steps(
    bench: Bench, network: Network, gb_s: float, *, pack: Any = None, fuse: bool = False
) -> dict[str, Any]:
    """The recorded step alone, again and again: what the engine around it adds is not in it."""
    found = {}
    for rows in (1, 2) if bench.tiny else (1, 2, 4, 8, 16, 32, 64):
        memory = Slots(network.config.text, rows, device=bench.device, dtype=network.dtype, spare=1)
        memory.reserve(rows - 1, 100 if bench.tiny else 256)
        static = Static(network, memory, pack=pack, fuse=fuse)
        length = rounded_length(96, memory.capacity)
        static._told[:rows] = torch.tensor([7, 92, 90, 0] + [PAD] * (static._told.shape[1] - 4))
        times = 3 if bench.tiny else 50
        # Many at once: the host only waits at the end.
        run = lambda: [static.run(rows, length, range(0)) for _ in range(times)]  # noqa: B023, E731
        seconds = bench.seconds(run, times=3, warm=1) / times
        found[str(rows)] = {"ms": seconds * 1e3, "recorded": static.recorded} | share(
            bench, network, rows, seconds, gb_s, static.step.step_bytes
        )
        del static, memory
    return found


def profile(bench: Bench, network: Network) -> list[dict[str, Any]]:
    """Where the time of a step at batch 1 goes: kernels, the longest first."""
    from torch.profiler import ProfilerActivity
    from torch.profiler import profile as watched

    cuda = bench.device.type == "cuda"
    memory = Slots(network.config.text, 1, device=bench.device, dtype=network.dtype, spare=1)
    memory.reserve(0, 100)
    static = Static(network, memory)
    static._told[:] = torch.tensor([7, 92, 90, 0] + [PAD] * (static._told.shape[1] - 4))
    for _ in range(3):
        static.run(1, 128, range(0))
    bench.wait()
    steps = 2 if bench.tiny else 20
    kinds = [ProfilerActivity.CUDA] if cuda else [ProfilerActivity.CPU]
    with watched(activities=kinds) as seen:
        for _ in range(steps):
            static.run(1, 128, range(0))
        bench.wait()
    spent = "self_device_time_total" if cuda else "self_cpu_time_total"
    rows = sorted(seen.key_averages(), key=lambda row: -getattr(row, spent))
    return [
        {
            "kernel": row.key[:120],
            "us_a_step": getattr(row, spent) / steps,
            "calls_a_step": row.count / steps,
        }
        for row in rows[:20]
    ]


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


class TheirCases:
    """The same cases with the general-purpose library."""

    def __init__(self, bench: Bench, network: Network, work: Work) -> None:
        sys.path.insert(0, str(HERE))
        from gpu_peer import GpuPeer

        self.bench, self.work, self.peer = bench, work, GpuPeer(network)

    def _together(self, pictures: torch.Tensor, prompts: list[list[int]], new: int):
        slots = [self.work.slots(ids) for ids in prompts]
        return self.peer.together(pictures, prompts, slots, new)

    def agreement(self, network: Network) -> dict[str, Any]:
        """Whether it and the plain loop say the same (both in bf16, so only mostly)."""
        new, same = (4 if self.bench.tiny else 16), []
        for n in range(4):
            ids, picture = self.work.ids(5, n), self.work.pixels[n % 2][None]
            with torch.no_grad():
                latents = network.look(picture.to(self.bench.device))
            ours = looped(network, self.work.request(ids, latents, new)).ids
            _, (theirs,) = self._together(picture, [ids], new)
            pairs = itertools.takewhile(lambda pair: pair[0] == pair[1], zip(ours, theirs))
            same.append(sum(1 for _ in pairs))
        return {"tokens": 4 * new, "equal_up_to_the_first_difference": sum(same)}

    def first_token(self) -> float:
        numbers = itertools.cycle(range(len(self.work.pixels)))
        ids = self.work.ids(4, 0)
        return self.bench.seconds(
            lambda: self._together(self.work.pixels[next(numbers)][None], [ids], 1), times=10
        )

    def step_s(self, rows: int) -> float:
        new = 4 if self.bench.tiny else 32
        prompts = [self.work.ids(4, n) for n in range(rows)]
        pictures = self.work.pixels[:1].expand(rows, -1, -1, -1)
        self._together(pictures, prompts, 3)
        times, _ = self._together(pictures, prompts, new)
        return statistics.median(b - a for a, b in itertools.pairwise(times))

    def phrases(self) -> dict[str, float]:
        count, new = (3, 4) if self.bench.tiny else (16, 5)
        prompts = [self.work.ids(3, n, phrase=True) for n in range(count)]
        picture = self.work.pixels[:1]

        def answer() -> None:
            for ids in prompts:
                self._together(picture, [ids], new)

        return {"phrases": count, "seconds": self.bench.seconds(answer, times=2, warm=1)}

    def captions(self) -> dict[str, Any]:
        """Pictures a second, by batch size, and the best of them."""
        new = 4 if self.bench.tiny else CAPTION_TOKENS
        ids, rates = self.work.ids(4, 0), {}
        for batch in (2,) if self.bench.tiny else (16, 32, 64, 128, 256):
            pictures = self.work.pixels[:batch]
            self._together(pictures, [ids] * batch, 2)
            times, _ = self._together(pictures, [ids] * batch, new)
            rates[batch] = batch / times[-1]
        best = max(rates, key=lambda batch: rates[batch])
        return {"batch": best, "pictures_s": rates[best], "pictures_s_by_batch": rates}


def clock() -> float:
    return time.perf_counter()


def full_size_or_tiny(tiny: bool) -> Config:
    """The released sizes; or small ones, each a multiple of 64 where kernels want that."""
    if not tiny:
        return Config()
    return Config(
        vision=VisionConfig(
            image_size=28, patch_size=14, width=64, layers=2, heads=2, ffn_width=96
        ),
        text=TextConfig(
            vocabulary=1500, width=128, layers=2, heads=4, ffn_width=256, positions=200
        ),
        latents=8,
    )


def made(config: Config, device: torch.device) -> Network:
    """Random weights on the device, in fp32."""
    with torch.device(device):
        network = Network(config)
        network.initialise(torch.Generator(device).manual_seed(0))
        # Quiet words: loud ones would be answered with themselves, whatever the blocks say.
        network.decoder.words.weight.data.mul_(0.1)
    return network.eval().requires_grad_(False)


def measure(bench: Bench, *, fuse: bool, few_bits: bool, peer: bool) -> None:
    """Everything, in this order."""
    about = bench.case("machine", 0, lambda: machine(bench)) or {}
    gb_s = max(about.get("copy_gb_s", 1.0), about.get("read_gb_s", 1.0))
    config = bench.config
    work = Work(config, 4 if bench.tiny else CAPTIONS)
    network = made(config, bench.device)
    bench.case("right_fp32", 60, lambda: right(bench, network, work, "float32"))
    network.to(torch.bfloat16)
    bench.case("right_bf16", 60, lambda: right(bench, network, work, "bfloat16"))
    batches = (1, 2) if bench.tiny else (1, 4, 16, 64)
    decoding = Decoding(bench, network, work)
    bench.case("first_token_s", 10, lambda: first_token(bench, network, work))
    for rows in batches:
        bench.case(f"decode_{rows}", 15, lambda rows=rows: decoding.figures(rows, gb_s))
    bench.case("bare_steps", 20, lambda: bare_steps(bench, network, gb_s))
    theirs = None
    if peer:
        theirs = their_cases(bench, network, work)
    if theirs is not None:
        with_it = theirs
        bench.case("peer_agreement", 15, lambda: with_it.agreement(network))
        bench.case("peer_first_token_s", 10, with_it.first_token)
        for rows in batches:
            bench.case(f"peer_decode_{rows}_s", 10, lambda rows=rows: with_it.step_s(rows))
    bench.case("phrases", 10, lambda: phrases(bench, network, work))
    if theirs is not None:
        bench.case("peer_phrases", 20, theirs.phrases)
    bench.case("captions", 40, lambda: all_captions(bench, network, work))
    if theirs is not None:
        bench.case("peer_captions", 30, theirs.captions)
    bench.case("profile", 15, lambda: profile(bench, network))
    if fuse:
        fused = Decoding(bench, network, work, fuse=True)
        bench.case("fused_decode_1", 60, lambda: fused.figures(1, gb_s))
        bench.case("fused_decode_16", 40, lambda: fused.figures(16, gb_s))
    if few_bits:
        sys.path.insert(0, str(HERE))
        from few_bits import PACKS

        for name, pack in PACKS.items():
            steps = lambda pack=pack: bare_steps(bench, network, gb_s, pack=pack)  # noqa: E731
            bench.case(f"bare_steps_{name}", 30, steps)
    bench.case("ratios", 0, lambda: dict(ratios(bench.found)))


def their_cases(bench: Bench, network: Network, work: Work) -> TheirCases | None:
    """The other library with the same weights, where it is."""
    made: list[TheirCases] = []

    def begin() -> str:
        made.append(TheirCases(bench, network, work))
        return made[0].peer.name

    bench.case("peer", 30, begin)
    return made[0] if made else None


def ratios(found: dict[str, Any]) -> Iterator[tuple[str, float]]:
    """How many times as fast as the peer, of what both were measured at."""
    if found.get("first_token_s") and found.get("peer_first_token_s"):
        yield "first_token", found["peer_first_token_s"] / found["first_token_s"]
    for name in [name for name in found if "decode_" in name and not name.startswith("peer")]:
        theirs = found.get(f"peer_{name.removeprefix('fused_')}_s")
        if theirs and found[name]:
            yield name, theirs * 1e3 / found[name]["ms_a_step"]
    if found.get("phrases") and found.get("peer_phrases"):
        yield "phrases", found["peer_phrases"]["seconds"] / found["phrases"]["seconds"]
    if found.get("captions") and found.get("peer_captions"):
        yield "captions", found["captions"]["pictures_s"] / found["peer_captions"]["pictures_s"]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=HERE.parent / "results")
    parser.add_argument("--budget", type=float, default=450, help="seconds")
    parser.add_argument("--tiny", action="store_true", help="small sizes, on any machine")
    parser.add_argument("--no-fuse", action="store_true", help="without what torch.compile makes")
    parser.add_argument("--few-bits", action="store_true", help="also int8 and int4 weights")
    parser.add_argument("--no-peer", action="store_true", help="without the other library")
    asked = parser.parse_args()
    logging.basicConfig(level=logging.WARNING)
    if not torch.cuda.is_available() and not asked.tiny:
        print("there is no GPU here; --tiny runs anywhere, to see that it does", file=sys.stderr)
        return 2
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    bench = Bench(device, full_size_or_tiny(asked.tiny), asked.tiny, asked.budget, asked.out)
    measure(
        bench,
        fuse=not (asked.no_fuse or asked.tiny),
        few_bits=asked.few_bits,
        peer=not asked.no_peer,
    )
    print(f"{bench.left_s:.0f} s of the budget are left; {bench.out / 'gpu.json'}")
    broken = [name for name, why in bench.dropped.items() if "were left" not in why]
    return 1 if broken and broken != ["peer"] else 0


if __name__ == "__main__":
    sys.exit(main())
