"""The cases: what is asked of every peer, round by round, and what is noted of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from statistics import median
from typing import Any

from figures import Sample, agreement, percentile, summary
from process import Process, Skipped
from workload import World, arrival_times

MACHINE = "machine"
ONE_AT_A_TIME = ("first_token", "decode_b1", "follow")  # cases of one answer


@dataclass(frozen=True, kw_only=True)
class Plan:
    """How much of everything."""

    rounds: int = 3
    decode: dict[int, tuple[int, int]] = field(  # batch: rounds, new tokens
        default_factory=lambda: {1: (3, 24), 4: (2, 16), 16: (1, 8)}
    )
    phrases: int = 16
    phrase_rounds: int = 1
    requests: int = 32
    longest: int = 40  # words of a prompt, tokens of an answer
    gap_s: float = 0.4  # between two arrivals; as if more came than the reference can answer
    pictures: int = 64
    pictures_of_reference: int = 16  # in float32 a rate does not depend on how many there are
    caption: int = 20
    batches: tuple[int, ...] = (1, 4, 8, 16)
    cold_rounds: int = 3
    cold_full_rounds: int = 1


QUICK = Plan(
    rounds=2,
    decode={1: (2, 6), 4: (1, 4), 16: (1, 2)},
    phrases=3,
    phrase_rounds=1,
    requests=4,
    longest=8,
    pictures=4,
    pictures_of_reference=4,
    caption=4,
    batches=(4,),
    cold_rounds=1,
)


@dataclass
class Bench:
    """The peers that run, and what each of them could not do."""

    world: World
    plan: Plan
    processes: dict[str, Process]
    machine: Process | None
    reference: str
    tell: Callable[[str], None]
    skipped: dict[str, str] = field(default_factory=dict)
    dismissed: dict[str, str] = field(default_factory=dict)

    def alternate(self, rounds: int) -> Iterator[tuple[int, str, Process]]:
        """A B C, A B C: every peer once in each round, the machine last."""
        for turn in range(rounds):
            yield from ((turn, *item) for item in list(self.processes.items()))
            if self.machine is not None:
                yield turn, MACHINE, self.machine

    def ask(self, name: str, process: Process, do: str, **words: Any) -> dict[str, Any] | None:
        """One order; None, and no more of this peer in this case, if it cannot."""
        if name in self.skipped:
            return None
        try:
            return process.ask(do, **words)
        except Skipped as reason:
            self.skipped[name] = str(reason)
            self.tell(f"{name} does not go on with this: {reason}")
            return None

    def make_room(self, case: str) -> None:
        """Let those go that have no part in this case nor in the ones after it."""
        for name, process in list(self.processes.items()):
            why = None
            if process.facts.get("one_at_a_time") and case not in ONE_AT_A_TIME:
                why = "one answer at a time is all that is compared with it"
            if name == "kosmos2-int4" and case == "captions":
                why = "24 GiB do not hold four of them and 16 pictures at once"
            if why is not None:
                process.stop()
                del self.processes[name]
                self.dismissed[name] = why
                self.tell(f"{name} has done its part: {why}")


@dataclass(frozen=True)
class Case:
    """One thing that is measured."""

    name: str
    title: str
    run: Callable[[Bench], dict[str, Any]]
    modes: bool = False  # of the reference's own other ways to run


def measured(
    bench: Bench,
    rounds: int,
    once: Callable[[str, Process], tuple[Sample, list[list[int]] | None] | None],
) -> dict[str, Any]:
    """Alternate, and summarise; tokens are held against the reference's."""
    bench.skipped = dict(bench.dismissed)
    samples: dict[str, list[Sample]] = {}
    tokens: dict[str, list[list[int]]] = {}
    for _, name, process in bench.alternate(rounds):
        came = once(name, process)
        if came is None:
            continue
        sample, answers = came
        if answers is not None:
            tokens.setdefault(name, answers)
            if name != bench.reference and bench.reference in tokens:
                sample["same_tokens"] = agreement(answers, tokens[bench.reference])
        samples.setdefault(name, []).append(sample)
        bench.tell(f"{name}: " + ", ".join(f"{key} {value:.4g}" for key, value in sample.items()))
    for name in bench.skipped:
        samples.pop(name, None)
    return {
        "rounds": rounds,
        "peers": summary(samples, bench.reference),
        "skipped": dict(bench.skipped),
    }


def first_token(bench: Bench) -> dict[str, Any]:
    """One picture and a short prompt; one more round comes first, to warm up."""
    asks = bench.world.captions(1, 1)
    operations = bench.world.first_token_operations(asks[0])
    rates: list[float] = []

    def once(name: str, process: Process) -> tuple[Sample, Any] | None:
        if name == MACHINE:
            rates.append(process.ask("multiply")["operations_a_second"])
            return None
        if (came := bench.ask(name, process, "first", asks=asks)) is None:
            return None
        return {"seconds": came["seconds"]}, came["tokens"]

    for name, process in bench.processes.items():
        bench.ask(name, process, "first", asks=asks)
    case = measured(bench, bench.plan.rounds, once) | {"operations": operations}
    return _shares(case, "seconds", "arithmetic_share", rates, lambda _: operations)


def decode(batch: int) -> Callable[[Bench], dict[str, Any]]:
    """Steps of so many rows; reading the prompts is not counted."""

    def run(bench: Bench) -> dict[str, Any]:
        rounds, new = bench.plan.decode[batch]
        asks = bench.world.questions(batch, new)
        rates: list[float] = []

        def once(name: str, process: Process) -> tuple[Sample, Any] | None:
            if name == MACHINE:
                rates.append(process.ask("read")["bytes_a_second"])
                return None
            if (came := bench.ask(name, process, "decode", asks=asks)) is None:
                return None
            return {"seconds_a_step": median(came["steps"])}, came["tokens"]

        case = measured(bench, rounds, once) | {"batch": batch}
        return _shares(
            case,
            "seconds_a_step",
            "memory_share",
            rates,
            lambda name: bench.processes[name].facts["step_bytes"],
        )

    return run


def phrases(bench: Bench) -> dict[str, Any]:
    """16 phrases, one picture, 5 tokens each; the reference has no grammar, so tokens differ."""
    asks = bench.world.phrases(bench.plan.phrases, 5)

    def once(name: str, process: Process) -> tuple[Sample, None] | None:
        if name == MACHINE or (came := bench.ask(name, process, "phrases", asks=asks)) is None:
            return None
        return {key: came[key] for key in ("seconds", "forced") if key in came}, None

    return measured(bench, bench.plan.phrase_rounds, once) | {"phrases": len(asks)}


def arrivals(bench: Bench) -> dict[str, Any]:
    """Requests that do not wait for each other; tokens a second from the first to the last."""
    plan = bench.plan
    asks = bench.world.mixed(plan.requests, plan.longest)
    at = arrival_times(len(asks), plan.gap_s)

    def once(name: str, process: Process) -> tuple[Sample, Any] | None:
        if name == MACHINE:
            return None
        if (came := bench.ask(name, process, "arrivals", asks=asks, at=at)) is None:
            return None
        sample = {
            "tokens_a_second": sum(map(len, came["tokens"])) / came["seconds"],
            "first_token_p50_s": percentile(came["first"], 50),
            "first_token_p95_s": percentile(came["first"], 95),
        }
        return sample, came["tokens"]

    tokens = sum(ask.new for ask in asks)
    return measured(bench, 1, once) | {"requests": len(asks), "tokens": tokens, "last_s": at[-1]}


def captions(bench: Bench) -> dict[str, Any]:
    """All pictures are there from the start; the reference first finds its best batch size."""
    plan, tried = bench.plan, {}
    process = bench.processes.get(bench.reference)
    bench.skipped = {}
    for batch in plan.batches if process is not None and len(plan.batches) > 1 else ():
        asks = bench.world.captions(max(batch, 4), plan.caption)
        came = bench.ask(bench.reference, process, "captions", asks=asks, batch=batch)
        if came is not None:
            tried[batch] = len(asks) / came["seconds"]
            bench.tell(f"{bench.reference}: {tried[batch]:.3f} pictures a second, {batch} at once")
    best = max(tried, key=tried.__getitem__, default=plan.batches[-1])

    def once(name: str, process: Process) -> tuple[Sample, Any] | None:
        if name == MACHINE:
            return None
        theirs = name == bench.reference
        slow = theirs or name.endswith("fp32")
        asks = bench.world.captions(
            plan.pictures_of_reference if slow else plan.pictures, plan.caption
        )
        batch = best if theirs else 16
        came = bench.ask(name, process, "captions", asks=asks, batch=batch)
        if came is None:
            return None
        sample = {"pictures_a_second": len(asks) / came["seconds"], "batch": float(batch)}
        return sample, came["tokens"][: plan.pictures_of_reference]

    return measured(bench, 1, once) | {
        "pictures": plan.pictures,
        "pictures_of_reference": plan.pictures_of_reference,
        "batches_tried": {str(batch): rate for batch, rate in tried.items()},
    }


def follow(bench: Bench) -> dict[str, Any]:
    """How often the next token would be the reference's, after all of the reference's before it."""
    asks = bench.world.captions(4, bench.plan.caption)
    answers: list[list[int]] = []

    def once(name: str, process: Process) -> tuple[Sample, None] | None:
        if name == bench.reference:
            came = bench.ask(name, process, "captions", asks=asks, batch=len(asks))
            answers[:] = [] if came is None else came["tokens"]
        if name == MACHINE or name.startswith(bench.reference) or not answers:
            return None
        came = bench.ask(name, process, "follow", asks=asks, tokens=answers)
        return None if came is None else ({"same_next_tokens": came["same"]}, None)

    return measured(bench, 1, once) | {"tokens": sum(ask.new for ask in asks)}


def modes(bench: Bench) -> dict[str, Any]:
    """The reference's own other ways: is one of them faster than the one that all is held against?

    One ask, twice: what a way has to prepare is in the first. Its steps and its first token.
    """
    asks, one = bench.world.questions(1, 8), bench.world.captions(1, 1)

    def once(name: str, process: Process) -> tuple[Sample, Any] | None:
        if name == MACHINE or (came := bench.ask(name, process, "decode", asks=asks)) is None:
            return None
        first = bench.ask(name, process, "first", asks=one)
        if first is None:
            return None
        sample = {"seconds_a_step": median(came["steps"]), "seconds": first["seconds"]}
        return sample, came["tokens"]

    warm = measured(bench, 1, once)
    return measured(bench, 2, once) if not warm["skipped"] else warm


def _shares(
    case: dict[str, Any],
    seconds: str,
    share: str,
    rates: list[float],
    amount: Callable[[str], float],
) -> dict[str, Any]:
    """How near each peer comes to what the machine could do at most."""
    if not rates:
        return case
    rate = median(rates)
    for name, found in case["peers"].items():
        times = found[seconds]
        found[share] = {
            "median": amount(name) / rate / times["median"],
            "min": amount(name) / rate / times["max"],
            "max": amount(name) / rate / times["min"],
        }
    return case | {"limit_a_second": rate}


CASES = {
    case.name: case
    for case in (
        Case("first_token", "first token: a picture and a prompt of 71 tokens", first_token),
        Case("decode_b1", "each further token, 1 answer at a time", decode(1)),
        Case("follow", "next tokens that are the reference's, after its own", follow),
        Case("decode_b4", "each step of 4 answers", decode(4)),
        Case("decode_b16", "each step of 16 answers", decode(16)),
        Case("phrases", "16 phrases on one picture", phrases),
        Case("arrivals", "32 mixed requests arriving over time", arrivals),
        Case("captions", "64 pictures captioned offline", captions),
        Case("modes", "the reference's other ways to run", modes, modes=True),
    )
}
