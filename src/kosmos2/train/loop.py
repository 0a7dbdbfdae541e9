"""The training loop: rows in order, a step for each batch of them, checkpoints now and then.

A step's rows come in micro-batches and over processes, and cost what they would as one batch. What
cannot be learnt from, a loss or a gradient that is no number, stops the run before the weights
change. A run that was stopped, whichever way, goes on to the same bits.
"""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch.utils.data import DataLoader

from kosmos2.data.rows import Rows
from kosmos2.data.tolerance import Tally
from kosmos2.errors import EngineError, Kosmos2Error, RecipeError
from kosmos2.train.again import compile_blocks, compute_again
from kosmos2.train.batches import Batch, Batches
from kosmos2.train.begin import SCRATCH, Begun, begin
from kosmos2.train.dense import extra
from kosmos2.train.ema import Average, average_of
from kosmos2.train.feed import rows_of
from kosmos2.train.learner import Learner, Report, counted
from kosmos2.train.lora import attach
from kosmos2.train.optimiser import freeze, optimiser_of, set_rate
from kosmos2.train.parallel import Alone, Parallel
from kosmos2.train.recipe import Recipe, Stage
from kosmos2.train.run_folder import RunFolder
from kosmos2.train.schedule import rate_at, spread_at
from kosmos2.train.signals import held_back, unmoved
from kosmos2.train.speed import Speed
from kosmos2.train.state import State
from kosmos2.train.watching.held_out import Exam
from kosmos2.train.watching.watcher import Run, Watcher, Watchers

log = logging.getLogger(__name__)

BAD_BATCH = "bad_batch.json"


class Stopped(Kosmos2Error):
    """Training was asked to stop, and can go on."""

    exit_code = 75


class NotFinite(EngineError):
    """A loss or a gradient that is no number; nothing was learnt from it."""

    exit_code = 4


def train(
    recipe: Recipe,
    folder: Path,
    *,
    begun: Begun | None = None,
    rows: Rows | None = None,
    watchers: Sequence[Watcher] = (),
    exam: Exam | None = None,
    parallel: Parallel | None = None,
    should_stop: Callable[[], bool] = lambda: False,
) -> Learner:
    """Follow a recipe, or go on where its folder stopped; returns what was learnt.

    Args:
        recipe: what to do.
        folder: where checkpoints, `recipe.toml` and `log.jsonl` go.
        begun: what it starts from, if that is loaded already; it is trained in place.
        rows: what every stage learns from, instead of the recipe's own data.
        watchers: told of every step.
        exam: held-out phrases, asked before and after and as often as the recipe says.
        parallel: the processes that share the run; this one alone if not given.
        should_stop: asked after every step; when true, the step is saved and training ends.

    Raises:
        Stopped: it was asked to stop.
        NotFinite: a loss or gradient is no number.
        DataError: too many rows cannot be used.
    """
    parallel = parallel or Alone()
    begun = begun or begin(recipe)
    learner = learner_of(recipe, begun).to(parallel.device).train()
    cost = parallel.wrap(learner)
    optimiser = optimiser_of(learner, recipe.train)
    average = average_of(learner, recipe.train)
    state = State(learner, optimiser, average, lean=recipe.lora is not None)
    opened = parallel.first(lambda: RunFolder.open(folder, recipe.to_toml()))
    watcher = Watchers(*watchers if opened else ())
    try:
        parallel.load(opened, learner, state.restore)
        run = _Run(recipe, begun, learner, cost, state, opened, parallel, watcher, exam)
        watcher.start(Run(folder, tuple((s.name, s.steps) for s in recipe.stage), state.step))
        run.all(rows, folder, should_stop)
    finally:
        watcher.end()
        if opened:
            opened.close()
    if average is not None:
        average.settle()
    return learner


def learner_of(recipe: Recipe, begun: Begun) -> Learner:
    """What learns, frozen and adapted as the recipe says.

    Raises:
        RecipeError: a name to freeze or to adapt that is not there.
    """
    settings = recipe.train
    if recipe.lora is not None:
        if settings.shared_cells:
            raise RecipeError("train.shared_cells makes the locations anew, and [lora] keeps them")
        attach(begun.network, recipe.lora)
    heads = [stage.heads for stage in recipe.stage]
    learner = Learner(
        begun.network,
        heads,
        shared_cells=settings.shared_cells,
        classes=len(extra(begun.classes)),
    )
    if recipe.model.start != SCRATCH and "dense" in heads:
        learner.patch_head.begin_silent()
        learner.latent_head.begin_silent()
    freeze(learner, settings.freeze)
    if settings.checkpointing:
        compute_again(begun.network)
    if settings.compile:
        compile_blocks(begun.network)
    return learner


@dataclass(slots=True)
class _Run:
    """A run's parts, and its steps."""

    recipe: Recipe
    begun: Begun
    learner: Learner
    cost: Callable[..., tuple[torch.Tensor, Report]]
    state: State
    folder: RunFolder | None  # the first process's
    parallel: Parallel
    watcher: Watcher
    exam: Exam | None

    def all(self, rows: Rows | None, path: Path, should_stop: Callable[[], bool]) -> None:
        """Every step that is left, of every stage."""
        settings, state, parallel = self.recipe.train, self.state, self.parallel
        speed = Speed(self.recipe, self.learner, self.begun.network.config, parallel)
        tally = Tally(
            settings.bad_share, rows=state.more.get("rows", 0), bad=state.more.get("bad", 0)
        )
        if state.step == 0:
            self._measure()
        before = 0
        for stage in self.recipe.stage:
            batches = self._batches(stage, rows, max(0, state.step - before))
            for step in range(max(0, state.step - before), stage.steps):
                micros = [next(batches).to(parallel.device) for _ in range(stage.accumulate)]
                report = self._step(stage, step, micros)
                mine = sum(batch.rows for batch in micros), [b for m in micros for b in m.bad]
                for used, bads in parallel.each(mine):
                    tally.add(used, bads)
                state.step, state.position = before + step + 1, (step + 1) * stage.rows
                state.more |= {"rows": tally.rows, "bad": tally.bad}
                progress = speed.progress(stage, step, state.step, micros, report)
                self.watcher.step(progress)
                if self.folder and state.step % settings.log_every == 0:
                    bad = {
                        "bad": tally.bad,
                        "bad_rows": [f"{b.name}: {b.why}" for b in tally.first],
                    }
                    self.folder.log({**asdict(progress), "whole": state.step, **bad})
                if settings.measure_every and state.step % settings.measure_every == 0:
                    self._measure()
                stopping = parallel.any(should_stop())
                if stopping or state.step % settings.save_every == 0 or step + 1 == stage.steps:
                    parallel.save(self.folder, state.step, state.parts(), state.notes())
                if stopping:
                    raise Stopped(
                        f"stopped after step {state.step}, which is saved in {path}; "
                        "the same command goes on from there"
                    )
            before += stage.steps
        if not settings.measure_every or state.step % settings.measure_every:
            self._measure()

    def _step(self, stage: Stage, step: int, micros: Sequence[Batch]) -> Report:
        """Learn from a step's rows."""
        settings, optimiser, parallel = self.recipe.train, self.state.optimiser, self.parallel
        set_rate(optimiser, rate_at(stage, step))
        optimiser.zero_grad(set_to_none=True)
        whole = parallel.sum(torch.stack([counted(batch) for batch in micros]).sum(0))
        report = Report()
        for number, batch in enumerate(micros):
            with parallel.accumulate(last=number == len(micros) - 1):
                with precise(self.recipe, parallel.device):
                    loss, part = self.cost(batch, stage, spread_at(stage, step), whole)
                parallel.backward(loss)
            report += part
        norm = parallel.clip(self.learner.parameters(), settings.clip)
        parts, report = parallel.each(report), Report(norm=float(norm))
        for part in parts:
            report += part
        if not (math.isfinite(float(norm)) and math.isfinite(report.loss)):
            self._refuse(stage, step, micros, report)
            return report.settle()
        optimiser.step()
        self.state.more.pop("refused", None)
        if isinstance(self.state.average, Average):
            self.state.average.update()
        return report.settle()

    def _refuse(self, stage: Stage, step: int, micros: Sequence[Batch], report: Report) -> None:
        """Learn nothing from a step; stop, or go on if so many in a row may be passed over."""
        self.state.optimiser.zero_grad(set_to_none=True)
        refused = self.state.more.get("refused", 0) + 1
        self.state.more["refused"] = refused
        names = self.parallel.each([name for batch in micros for name in batch.names])
        told = f"loss {report.loss} and gradient norm {report.norm} at step {step + 1} of stage "
        told += f"{stage.name!r}: nothing was learnt from it"
        if self.folder:
            held = {
                "stage": stage.name,
                "step": step + 1,
                "whole": self.state.step + 1,
                "loss": str(report.loss),
                "norm": str(report.norm),
                "rows": [name for each in names for name in each],
            }
            self.folder.write(BAD_BATCH, json.dumps(held, indent=1) + "\n")
        if refused <= self.recipe.train.skip_nonfinite:
            log.warning("%s, passed over", told)
            return
        raise NotFinite(
            f"{told}; {BAD_BATCH} in the run folder names its rows: look at them, "
            "or train with a lower rate"
        )

    def _batches(self, stage: Stage, rows: Rows | None, first: int) -> Iterator[Batch]:
        """The micro-batches from a step on, made by other processes meanwhile."""
        workers = self.recipe.train.workers
        if rows is None:
            rows = rows_of(self.recipe, stage, self.begun)
        data = Batches(
            rows, steps=stage.steps, step_rows=stage.rows, of=stage.accumulate,
            share=self.parallel.share,
        )  # fmt: skip
        with held_back():  # its processes begin here
            return iter(
                DataLoader(
                    data,
                    batch_size=None,
                    sampler=range(first * stage.accumulate, len(data)),
                    num_workers=workers,
                    prefetch_factor=6 if workers else None,
                    worker_init_fn=unmoved,
                    pin_memory=self.parallel.device.type == "cuda",
                    # Its own: the run's random state is no business of a loader's.
                    generator=torch.Generator(),
                )
            )

    def _measure(self) -> None:
        """Ask for the held-out phrases, of the average if there is one."""
        if self.exam is None:
            return
        average = self.state.average
        with average.instead() if isinstance(average, Average) else nullcontext():
            learner = self.parallel.whole(self.learner)
            if learner is not None:
                found = self.exam.take(learner.network, self.state.step)
                self.watcher.held_out(found)


def precise(recipe: Recipe, device: torch.device) -> torch.autocast:
    """What is multiplied in bfloat16, if the recipe wants it, or the machine has a way for it."""
    wanted = recipe.train.precision
    if wanted == "auto":
        on_gpu = device.type == "cuda" and torch.cuda.is_bf16_supported()
        able = on_gpu or (device.type == "cpu" and torch.cpu._is_avx512_bf16_supported())
        wanted = "bfloat16" if able else "float32"
    return torch.autocast(device.type, torch.bfloat16, enabled=wanted == "bfloat16")
