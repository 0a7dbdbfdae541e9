"""Where a run is and how fast it goes, for whoever watches."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import torch

from kosmos2.config import Config
from kosmos2.train.batches import IGNORED, Batch
from kosmos2.train.learner import Learner, Report
from kosmos2.train.parallel import Parallel
from kosmos2.train.peak import PARTS, peak_flops, step_flops, still_blocks
from kosmos2.train.recipe import Recipe, Stage

_RECENT = 0.9  # how much of the pace so far stays in its moving mean


@dataclass(frozen=True, slots=True)
class Progress:
    """Where a run is."""

    stage: str
    step: int  # of the stage, from 1
    steps: int
    rows_per_s: float  # waiting for data included
    tokens_per_s: float
    share_of_peak: float | None  # of what this machine can multiply; None while only heads learn
    left_s: float
    memory: int  # bytes, the most that tensors took on a GPU; 0 elsewhere
    report: Report


class Speed:
    """Measures from one step's end to the next."""

    def __init__(
        self, recipe: Recipe, learner: Learner, config: Config, parallel: Parallel
    ) -> None:
        self.recipe, self.config, self.parallel = recipe, config, parallel
        names = {name for name, one in learner.network.named_parameters() if one.requires_grad}
        own = {name for name in names if ".lora_" not in name}
        self.learns = [part for part in PARTS if any(name.startswith(f"{part}.") for name in own)]
        # Gradients pass from the end down to the first part with anything that learns.
        lowest = (i for i, part in enumerate(PARTS) if any(n.startswith(f"{part}.") for n in names))
        self.passes = PARTS[next(lowest, len(PARTS)) :]
        self.still = still_blocks(learner.network.vision)
        self.row_s: float | None = None
        self.last = time.perf_counter()

    def progress(
        self, stage: Stage, step: int, whole: int, micros: Sequence[Batch], report: Report
    ) -> Progress:
        """What is told of a step (from 0) that has just been done, the run's `whole`-th."""
        now = time.perf_counter()
        took, self.last = now - self.last, now
        # The first step warms up: memory is asked for, kernels are chosen.
        usual = self.row_s is not None
        row_s = took / stage.rows
        self.row_s = row_s if self.row_s is None else _RECENT * self.row_s + (1 - _RECENT) * row_s
        tokens = sum(batch.tokens for batch in micros) * self.parallel.world
        return Progress(
            stage.name,
            step + 1,
            stage.steps,
            rows_per_s=stage.rows / took,
            tokens_per_s=tokens / took,
            share_of_peak=self._work(stage, micros) / took / self._peak if usual else None,
            left_s=self.row_s * self._rows_left(whole),
            memory=self._memory(),
            report=report,
        )

    def _rows_left(self, whole: int) -> int:
        left, before = 0, 0
        for stage in self.recipe.stage:
            left += stage.rows * max(0, stage.steps - max(0, whole - before))
            before += stage.steps
        return left

    def _work(self, stage: Stage, micros: Sequence[Batch]) -> float:
        """Operations of this process's part of a step."""
        parts = (
            step_flops(
                self.config,
                pictures=len(batch.pixels),
                rows=0 if batch.ids is None else len(batch.ids),
                tokens=0 if batch.ids is None else batch.ids.shape[1],
                scored=0 if batch.labels is None else int((batch.labels != IGNORED).sum()),
                learns=self.learns,
                passes=self.passes,
                still=self.still,
                again=self.recipe.train.checkpointing,
            )
            for batch in micros
        )
        return float(sum(parts))

    @cached_property
    def _peak(self) -> float:
        from kosmos2.train.loop import precise

        way = precise(self.recipe, self.parallel.device)
        kind = torch.bfloat16 if way._enabled else torch.float32
        return peak_flops(self.parallel.device, kind)

    def _memory(self) -> int:
        device = self.parallel.device
        return torch.cuda.max_memory_allocated(device) if device.type == "cuda" else 0
