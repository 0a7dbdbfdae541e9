"""How the embedded model is made, in numbers: its sizes, and what it is taught in what order."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from kosmos2.config import Config, TextConfig, VisionConfig
from kosmos2.errors import ConfigError


@dataclass(frozen=True, kw_only=True, slots=True)
class Stage:
    """A stretch of training: the rate climbs, stays, and falls to nothing in a straight line."""

    name: Literal["see", "tell"]  # the dense head alone; or all tasks, the dense head beside them
    steps: int
    scenes: int  # a step
    rate: float
    warm_up: int  # steps
    fall: float  # share of the steps, the last ones
    spread: tuple[float, float]  # of the bell around a true cell, in cells: at first, at last

    def rate_at(self, step: int) -> float:
        """The learning rate of a step of this stage."""
        left = (self.steps - step) / max(1.0, self.fall * self.steps)
        return self.rate * min(1.0, (step + 1) / self.warm_up, left)

    def spread_at(self, step: int) -> float:
        """How forgiving the location loss is at a step of this stage."""
        first, last = self.spread
        return first + (last - first) * min(1.0, step / self.steps)


@dataclass(frozen=True, kw_only=True, slots=True)
class Recipe:
    """Everything that decides what comes out, but the machine."""

    seed: int = 2
    config: Config = field(default_factory=lambda: demo_config(1309))
    stages: tuple[Stage, ...] = (
        Stage(name="see", steps=1500, scenes=64, rate=1e-3, warm_up=300, fall=0.3,
              spread=(1.0, 0.6)),
        Stage(name="tell", steps=3100, scenes=32, rate=8e-4, warm_up=200, fall=0.58,
              spread=(0.8, 0.3)),
    )  # fmt: skip

    def __post_init__(self) -> None:
        if not self.stages:
            raise ConfigError("the recipe has no stages; give it at least one")

    def to_dict(self) -> dict[str, Any]:
        """Plain nested values, ready for JSON."""
        return asdict(self)


def demo_config(vocabulary: int) -> Config:
    """The embedded model's sizes: the released architecture, 160 pixels, 10 x 10 patches."""
    return Config(
        vision=VisionConfig(
            image_size=160, patch_size=16, width=320, layers=6, heads=5, ffn_width=1280
        ),
        text=TextConfig(
            vocabulary=vocabulary,
            width=256,
            layers=4,
            heads=4,
            ffn_width=1024,
            positions=512,
            dropout=0.0,
            attention_dropout=0.0,
        ),
        latents=64,
    )
