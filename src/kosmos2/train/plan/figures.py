"""A recipe in figures, and the words they are told in."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from kosmos2.train.recipe import Recipe, Stage

# What a kind multiplies in 16 bits at most, in 10**12 operations a second, and its memory in GB.
GPUS = {
    "T4": (65, 16), "V100": (125, 32), "L4": (121, 24), "A10": (125, 24), "RTX3090": (71, 24),
    "RTX4090": (165, 24), "A100": (312, 80), "L40S": (362, 48), "H100": (989, 80),
    "H200": (989, 141), "B200": (2250, 192),
}  # fmt: skip
USUAL = 0.4  # share of that which a well-fed training reaches


@dataclass(frozen=True, slots=True)
class Share:
    """One source within a stage."""

    name: str
    rows: float  # a step
    tokens: float | None  # of a row
    count: int | None  # rows there are
    pictures: float  # of a row
    scored: float | None  # tokens of a row that are learnt

    def epochs(self, steps: int) -> int | float | None:
        """How often the source is gone through."""
        return None if self.count is None else self.rows * steps / self.count


@dataclass(frozen=True, slots=True)
class StagePlan:
    """One stage in figures."""

    stage: Stage
    shares: tuple[Share, ...]
    flops: float | None  # of a step

    @property
    def tokens(self) -> int | float | None:
        """Of a step; None where some source's are not known."""
        if any(share.tokens is None for share in self.shares):
            return None
        return sum(share.rows * (share.tokens or 0) for share in self.shares)


@dataclass(frozen=True, slots=True)
class Memory:
    """Bytes of one process that holds everything."""

    weights: int
    gradients: int
    moments: int
    average: int
    activations: int

    @property
    def whole(self) -> int:
        """All together."""
        return self.weights + self.gradients + self.moments + self.average + self.activations


@dataclass(frozen=True, slots=True)
class Plan:
    """A recipe in figures."""

    recipe: Recipe
    parameters: int
    learns: int
    stages: tuple[StagePlan, ...]
    memory: Memory
    gpus: int = 1
    kind: str = "H100"

    def days(self, flops: float) -> float:
        """On these GPUs, at the usual share of their peak."""
        return flops / (self.gpus * GPUS[self.kind][0] * 1e12 * USUAL) / 86_400

    def lines(self) -> Iterator[str]:
        """The plan in words."""
        recipe = self.recipe
        yield f"{recipe.name or 'recipe'}: {recipe.about}".rstrip(": ")
        yield (
            f"parameters    {_short(self.parameters)}, of which {_short(self.learns)} learn "
            f"({self.learns / self.parameters:.1%})"
        )
        for one in self.stages:
            yield from self._stage(one)
        memory = self.memory
        yield (
            f"memory        {_bytes(memory.whole)}: weights {_bytes(memory.weights)}, gradients "
            f"{_bytes(memory.gradients)}, moments {_bytes(memory.moments)}, average "
            f"{_bytes(memory.average)}, activations {_bytes(memory.activations)}"
        )
        many = recipe.parallel.how
        if many != "none" and self.gpus > 1:
            each = self._each()
            yield f"  each of {self.gpus:,} {many} processes: {_bytes(each)}"
        yield (
            f"a {self.kind} is taken to reach {USUAL:.0%} of its {GPUS[self.kind][0]} * 10^12 "
            f"operations/s, and has {GPUS[self.kind][1]} GB"
        )

    def _stage(self, one: StagePlan) -> Iterator[str]:
        stage = one.stage
        parts = f" in {stage.accumulate} parts" if stage.accumulate > 1 else ""
        yield (
            f"{stage.name:<13} {stage.steps:,} steps of {stage.rows:,} rows{parts}, rate "
            f"{stage.rate:g}, {stage.warm_up:,} steps of warm-up, then {stage.schedule}"
        )
        if one.tokens:
            whole = _short(one.tokens * stage.steps)
            yield f"  tokens      {_short(one.tokens)} a step, {whole} in all"
        for share in one.shares:
            epochs = share.epochs(stage.steps)
            passes = (
                "" if epochs is None else f", {epochs:.2f} epochs of {_short(share.count or 0)}"
            )
            length = "" if share.tokens is None else f" of {share.tokens:.0f} tokens"
            seen = (
                f"{share.rows:,.0f} rows a step{length}, {_short(share.rows * stage.steps)} in all"
            )
            yield f"  {share.name}: {seen}{passes}"
        if one.flops is not None:
            flops = one.flops * stage.steps
            yield (
                f"  operations  {one.flops:.2e} a step, {flops:.2e} in all: "
                f"{_time(self.days(flops))} on {self.gpus:,} {self.kind}"
            )

    def _each(self) -> int:
        memory = self.memory
        held = memory.weights + memory.gradients + memory.moments + memory.average
        if self.recipe.parallel.how == "fsdp":
            held //= self.gpus
        return held + memory.activations // self.gpus


def _short(value: int | float) -> str:
    """1234567 as 1.23 M."""
    for size, letter in ((1e12, "T"), (1e9, "B"), (1e6, "M"), (1e4, "K")):
        if value >= size:
            value /= 1e3 if letter == "K" else size
            return f"{value:.0f} {letter}" if value >= 100 else f"{value:.3g} {letter}"
    return f"{value:,.0f}"


def _bytes(value: int | float) -> str:
    for size, unit in ((2**40, "TiB"), (2**30, "GiB"), (2**20, "MiB")):
        if value >= size:
            return f"{value / size:.3g} {unit}"
    return f"{value / 2**10:.0f} KiB"


def _time(days: float) -> str:
    hours = days * 24
    if hours < 1:
        return f"{hours * 60:.0f} minutes" if hours > 1 / 30 else f"{hours * 3600:.0f} seconds"
    return f"{hours:.1f} hours" if hours < 48 else f"{days:.1f} days"
