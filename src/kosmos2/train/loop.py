"""The training loop: batches in order, a step for each, checkpoints now and then."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import nn
from torch.utils.data import DataLoader

from kosmos2.errors import EngineError, InputError, Kosmos2Error
from kosmos2.model import Network
from kosmos2.tokenizer import Tokenizer
from kosmos2.train import checkpoint
from kosmos2.train.batches import Batch, SceneBatches
from kosmos2.train.learner import Learner, Report, start
from kosmos2.train.recipe import Recipe, Stage

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Progress:
    """Where a run is, for whoever watches."""

    stage: str
    step: int  # of the stage, from 1
    steps: int
    scenes_per_s: float
    report: Report


Watcher = Callable[[Progress], None]


class Stopped(Kosmos2Error):
    """Training was asked to stop, and can go on."""

    exit_code = 75


def train(
    recipe: Recipe,
    folder: Path,
    tokenizer: Tokenizer,
    *,
    save_every: int = 500,
    workers: int = 1,
    bf16: bool | None = None,
    on_progress: Watcher | None = None,
    should_stop: Callable[[], bool] = lambda: False,
) -> Learner:
    """Run a recipe, or go on where its folder stopped; returns the trained learner.

    Args:
        recipe: what to do.
        folder: where checkpoints and `log.jsonl` go; one with checkpoints is resumed.
        tokenizer: of the vocabulary in `recipe.config`.
        save_every: steps between checkpoints.
        workers: processes that draw scenes beside the training.
        bf16: multiply in bfloat16; None does so where the processor has instructions for it.
        on_progress: called after every step.
        should_stop: asked after every step; when true, the step is saved and training ends.

    Raises:
        Stopped: it was asked to stop.
        InputError: the tokenizer has another size than the recipe's vocabulary.
        EngineError: the loss is not a number any more; nothing was learnt from that step.
    """
    if tokenizer.size != recipe.config.text.vocabulary:
        raise InputError(
            f"the tokenizer has {tokenizer.size} words, the recipe {recipe.config.text.vocabulary}"
        )
    torch.manual_seed(recipe.seed)
    network = Network(recipe.config)
    start(network, torch.Generator().manual_seed(recipe.seed))
    learner = Learner(network).train()
    optimiser = _optimiser(learner)
    done = 0
    for path in reversed(checkpoint.found(folder)):
        done = int(checkpoint.restore(path, learner, optimiser)["step"])
        log.info("going on from step %d of %s", done, folder)
        break
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "recipe.json").write_text(json.dumps(recipe.to_dict(), indent=1))
    if bf16 is None:
        bf16 = torch.cpu._is_avx512_bf16_supported()
    before = 0
    for stage in recipe.stages:
        first = max(0, done - before)
        batches = _batches(recipe, stage, tokenizer, first, workers)
        for step, batch in enumerate(batches, first):
            whole = before + step + 1
            started = time.perf_counter()
            report = _step(learner, optimiser, batch, stage, step, bf16)
            took = time.perf_counter() - started
            progress = Progress(stage.name, step + 1, stage.steps, stage.scenes / took, report)
            if on_progress:
                on_progress(progress)
            if whole % 20 == 0:
                _note(folder, whole, progress)
            stopping = should_stop()
            if stopping or whole % save_every == 0 or step + 1 == stage.steps:
                checkpoint.save(folder, whole, learner, optimiser, {"stage": stage.name})
            if stopping:
                raise Stopped(
                    f"stopped after step {whole}, which is saved in {folder}; "
                    "the same command goes on from there"
                )
        before += stage.steps
    return learner


def _step(
    learner: Learner,
    optimiser: torch.optim.Optimizer,
    batch: Batch,
    stage: Stage,
    step: int,
    bf16: bool,
) -> Report:
    for group in optimiser.param_groups:
        group["lr"] = stage.rate_at(step)
    with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
        loss, report = learner.loss(batch, stage.spread_at(step))
    optimiser.zero_grad(set_to_none=True)
    loss.backward()
    norm = nn.utils.clip_grad_norm_(learner.parameters(), 1.0)
    if not torch.isfinite(norm):
        raise EngineError(
            f"loss {report.loss} and gradient norm {float(norm)} at step {step} of stage "
            f"{stage.name!r}: nothing was learnt from it; resume with a lower rate"
        )
    optimiser.step()
    return report


def _optimiser(learner: Learner) -> torch.optim.Optimizer:
    matrices = [p for p in learner.parameters() if p.dim() > 1]
    vectors = [p for p in learner.parameters() if p.dim() <= 1]
    groups = [{"params": matrices, "weight_decay": 0.02}, {"params": vectors, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=0.0, betas=(0.9, 0.98), eps=1e-6, fused=True)


def _batches(
    recipe: Recipe, stage: Stage, tokenizer: Tokenizer, first: int, workers: int
) -> DataLoader[Batch]:
    """The stage's batches from number `first` on; each stage draws scenes of its own."""
    data = SceneBatches(
        recipe.config,
        tokenizer if stage.name == "tell" else None,
        seed=recipe.seed * 10 + recipe.stages.index(stage),
        scenes=stage.scenes,
        length=stage.steps,
    )
    order = range(first, stage.steps)
    return DataLoader(
        data,
        batch_size=None,
        sampler=order,
        num_workers=workers,
        prefetch_factor=6 if workers else None,
    )


def _note(folder: Path, step: int, progress: Progress) -> None:
    line = {"step": step, **asdict(progress)}
    with (folder / "log.jsonl").open("a") as file:
        file.write(json.dumps(line) + "\n")
