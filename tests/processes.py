"""Two processes that train together, for tests: what they train on, and how they are started."""

from __future__ import annotations

import errno
import json
import os
import shutil
import socket
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from kosmos2.config import Config, TextConfig, VisionConfig
from kosmos2.data.rows import Row
from kosmos2.geometry import CELLS, SIDE
from kosmos2.train import vocabulary
from kosmos2.train.begin import begin
from kosmos2.train.parallel import Parallel
from kosmos2.train.recipe import Lora, Model, Recipe, Stage, Train

WORDS = vocabulary.build().size
CONFIG = Config(
    vision=VisionConfig(image_size=24, patch_size=12, width=24, layers=2, heads=3, ffn_width=9),
    text=TextConfig(
        vocabulary=WORDS, width=32, layers=2, heads=4, ffn_width=48, positions=200,
        dropout=0.0, attention_dropout=0.0,
    ),
    latents=4,
)  # fmt: skip


class TinyRows:
    """Rows of words, of different lengths; every other one has a picture, or every one."""

    def __init__(self, *, all_see: bool = False) -> None:
        self.all_see = all_see

    def __len__(self) -> int:
        return 1000

    def __getitem__(self, position: int) -> Row:
        rng = np.random.default_rng(position)
        pictures = int(self.all_see or position % 2 == 0)
        words = int(rng.integers(5, 12))
        slots = np.array([False] + [True] * CONFIG.latents * pictures + [False] * words)
        ids = rng.integers(4, WORDS, len(slots))
        labels = np.where(rng.random(len(slots)) < 0.8, np.roll(ids, -1), -100)
        labels[: len(slots) - words - 1] = -100
        labels[-1] = -100
        placed = (labels >= 0) & (rng.random(len(slots)) < 0.3)
        labels[placed] = rng.integers(WORDS - CELLS, WORDS, placed.sum())
        corners = np.full((len(slots), 2), -1.0, dtype=np.float32)
        corners[placed] = rng.random((placed.sum(), 2)) * SIDE
        side = CONFIG.vision.image_size
        return Row(
            pixels=rng.integers(0, 256, (pictures, side, side, 3), dtype=np.uint8),
            ids=ids,
            slots=slots,
            segments=np.minimum(np.arange(len(slots)), 1),
            positions=np.arange(len(slots)) + 2,
            labels=labels,
            corners=corners,
            weights=(labels != -100).astype(np.float32),
            kinds=("caption",),
            name=f"row {position}",
        )


def recipe(dropout: float | None = None, **train: Any) -> Recipe:
    """Four steps of eight rows in two micro-batches, each step clipped hard."""
    settings = {
        "freeze": ("vision.patch.*", "decoder.layers.0.ffn.*"), "shared_cells": True, "ema": 0.5,
        "clip": 0.1, "checkpointing": True, "precision": "float32", "workers": 0, "log_every": 1,
        "save_every": 2, "save_as": "float32",
    }  # fmt: skip
    stage = Stage(steps=4, rows=8, accumulate=2, rate=1e-2, spread=(1.0, 0.5))
    return Recipe(
        model=Model(start="scratch", config=CONFIG, dropout=dropout),
        stage=(stage,),
        train=Train(**(settings | train)),
    )


def _others() -> dict[str, Recipe]:
    """Recipes in which processes need more of each other."""
    contrastive = recipe(shared_cells=False, ema=0.0)
    stage = replace(contrastive.stage[0], steps=2, heads="contrastive", tell=False, accumulate=1)
    adapter = recipe(shared_cells=False, ema=0.0, freeze=())
    lora = Lora(rank=2, alpha=4.0, dropout=0.0, base="int8")
    return {
        "contrastive": replace(contrastive, stage=(stage,)),
        "lora": replace(adapter, stage=(replace(adapter.stage[0], steps=2),), lora=lora),
    }


OTHERS = _others()


def go_back(run: Path, copy: Path) -> Path:
    """A copy of a run that was stopped after its second step."""
    shutil.copytree(run, copy)
    shutil.rmtree(copy / "step-0000004")
    return copy


def together(job: Callable[[Path], None], folder: Path, world: int = 2) -> None:
    """Run a job in so many processes that know of each other, as `torchrun` would start them."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    torch.multiprocessing.spawn(_one, (job, folder, world, port), nprocs=world)


def _one(rank: int, job: Callable[[Path], None], folder: Path, world: int, port: int) -> None:
    torch.set_num_threads(1)
    os.environ |= {
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
        "RANK": str(rank),
        "LOCAL_RANK": str(rank),
        "WORLD_SIZE": str(world),
    }
    job(folder)


def everything(folder: Path) -> None:
    """What `test_train_parallel` looks at, by each of two processes.

    The folder holds the run "alone" of one process. What the processes do beside runs goes to
    `seen.json`.
    """
    from kosmos2.train.export import export
    from kosmos2.train.loop import train
    from kosmos2.train.parallel import launch

    rows = TinyRows()
    ddp, fsdp = launch("ddp"), launch("fsdp")
    train(recipe(), folder / "ddp", rows=rows, parallel=ddp)
    learner = train(recipe(), folder / "fsdp", rows=rows, parallel=fsdp)
    whole = fsdp.whole(learner)
    if whole is not None:
        export(whole, begin(recipe()), recipe(), folder / "model")
    for source, copy, parallel in (
        ("fsdp", "fsdp, then ddp", ddp), ("alone", "alone, then fsdp", fsdp),
    ):  # fmt: skip
        again = fsdp.first(partial(go_back, folder / source, folder / copy)) or folder / copy
        train(recipe(), again, rows=rows, parallel=parallel)
    for name, other in OTHERS.items():
        train(other, folder / f"{name}, fsdp", rows=TinyRows(all_see=True), parallel=fsdp)
    dropping = recipe(dropout=0.3)
    train(dropping, folder / "dropout", rows=rows, parallel=fsdp)
    fsdp.first(partial(go_back, folder / "dropout", folder / "dropout, stopped"))
    train(dropping, folder / "dropout, stopped", rows=rows, parallel=fsdp)
    seen = {"gathered": _gathered(ddp), "full disk": _full_disk(fsdp, folder / "fsdp")}
    seen["drawn"] = torch.rand(1).item()  # both began with the same seed, and drew nothing since
    told = fsdp.each(seen)
    fsdp.first(lambda: (folder / "seen.json").write_text(json.dumps(told)))
    fsdp.close()


def _gathered(parallel: Parallel) -> dict[str, Any]:
    """Rows of two processes that have one and two of them, and what a loss on all sends back."""
    rows = torch.full((parallel.rank + 1, 2), parallel.rank + 1.0, requires_grad=True)
    whole = parallel.gather(rows)
    (whole**2 * (parallel.rank + 1)).sum().backward()
    assert rows.grad is not None
    return {"rows": whole.tolist(), "gradient": rows.grad.tolist()}


def _full_disk(parallel: Parallel, folder: Path) -> list[str]:
    """What each process is told when the second one's slices find no room; the run stays good."""
    from kosmos2.errors import Kosmos2Error
    from kosmos2.train.parallel import sharded
    from kosmos2.train.run_folder import RunFolder

    network = torch.nn.Linear(3, 5)
    network.loss = network.forward
    torch.manual_seed(1)
    parallel.wrap(network)
    run = parallel.first(lambda: RunFolder.open(folder, recipe().to_toml()))
    usual = sharded.bytes_of
    if parallel.rank == 1:
        sharded.bytes_of = _no_room
    try:
        parallel.save(run, 5, {"learner": network.state_dict(), "random": {}}, {})
    except Kosmos2Error as error:
        return [type(error).__name__, str(error), str(error.exit_code)]
    finally:
        sharded.bytes_of = usual
        if run:
            run.close()
    return []


def _no_room(*_: object) -> Iterator[bytes]:
    raise OSError(errno.ENOSPC, "No space left on device")
