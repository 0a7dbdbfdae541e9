"""The two that take turns in the training benchmark: our trainer, and a loop on the reference.

Ours is `kosmos2.train.loop.train` as `kosmos2 train` calls it, with all that it does in a step. A
watcher is told after each; there the clock stops, the other one takes its turn in its own process,
and the clock goes on. The plain loop gets tensors that are ready; ours is timed with making them
from rows.
"""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import torch
import transformers
from torch import Tensor
from training_rows import Held
from transformers.initialization import no_init_weights

from kosmos2.config import Config
from kosmos2.data.rows import IGNORED, PADDING, Row
from kosmos2.model import Network
from kosmos2.train import vocabulary
from kosmos2.train.batches import collate
from kosmos2.train.begin import Begun
from kosmos2.train.freed import keep_freed
from kosmos2.train.learner import normalise, start
from kosmos2.train.loop import train
from kosmos2.train.recipe import Model, Recipe, Stage, Train
from kosmos2.train.schedule import rate_at
from kosmos2.train.watching.watcher import Watcher
from kosmos2.weights.names import config_to_reference, ours_to_theirs


class Enough(Exception):
    """The last turn was taken; nothing needs to be saved."""


class Turns(Watcher):
    """Tells after each step how long it took and what it cost, and lets the others have a turn."""

    def __init__(self, steps: int, told: Callable[[int, float, float], None]) -> None:
        self.steps, self.told = steps, told
        self.begun = time.perf_counter()

    def start(self, run: Any) -> None:
        self.begun = time.perf_counter()

    def step(self, progress: Any) -> None:
        took = time.perf_counter() - self.begun
        self.told(progress.step - 1, took, progress.report.loss)
        if progress.step == self.steps:
            raise Enough
        self.begun = time.perf_counter()


def network_of(config: Config) -> Network:
    """One with random weights, always the same."""
    with no_init_weights():
        network = Network(config)
    start(network, torch.Generator().manual_seed(0))
    return network


def recipe_of(network: Network, steps: int, rows: int, precision: str = "float32") -> Recipe:
    """What both do: AdamW with the trainer's usual settings, a short warm-up, then a falling rate.

    Steps are counted as if there were more, so that the rate never comes to nothing.
    """
    return Recipe(
        name="benchmark",
        model=Model(start="scratch", config=network.config),
        stage=(Stage(steps=4 * steps, rows=rows, rate=1e-4, warm_up=5),),
        train=Train(precision=precision, workers=0, save_every=10**9),
    )


def train_ours(
    network: Network,
    recipe: Recipe,
    rows: Sequence[Row],
    folder: Path,
    told: Callable[[int, float, float], None],
) -> None:
    """As many steps as there are rows for; the network learns in place."""
    steps = len(rows) // recipe.stage[0].rows
    begun = Begun(network, vocabulary.build(), 0)
    try:
        train(recipe, folder, begun=begun, rows=Held(rows), watchers=[Turns(steps, told)])
    except Enough:
        return
    raise AssertionError("training ended before the benchmark did")


@contextmanager
def away(config: Config, steps: Sequence[Sequence[Row]]) -> Iterator[Callable[..., Any]]:
    """The plain loop in a process of its own: what is given calls its methods.

    `step` takes the number of one of these steps, each with its rows of a picture and a text.
    """
    spawn = multiprocessing.get_context("spawn")  # nothing of ours is in it
    here, there = spawn.Pipe()
    process = spawn.Process(target=_serve, args=(there, config, steps), daemon=True)
    process.start()
    there.close()

    def ask(method: str, *given: int) -> Any:
        here.send((method, given))
        return here.recv()

    try:
        ask("ready")
        yield ask
    finally:
        here.close()
        process.join(60)


def _serve(pipe: Connection, config: Config, steps: Sequence[Sequence[Row]]) -> None:
    network = network_of(config)
    plain = Plain(network, recipe_of(network, len(steps), len(steps[0])))
    del network
    batches = [plain.inputs(rows) for rows in steps]
    methods = {
        "ready": lambda: None,
        "step": lambda step: plain.step(step, batches[step]),
        "unfused": plain.unfused,
        "keep_freed": keep_freed,
    }
    while True:
        try:
            method, given = pipe.recv()
        except EOFError:
            return
        pipe.send(methods[method](*given))


class Plain:
    """The loop that one writes around the reference's model."""

    def __init__(self, network: Network, recipe: Recipe) -> None:
        self.recipe, self.size = recipe, network.config.vision.image_size
        self.model = twin_of(network).train()
        settings = recipe.train
        matrices = [one for one in self.model.parameters() if one.dim() > 1]
        vectors = [one for one in self.model.parameters() if one.dim() <= 1]
        self.optimiser = torch.optim.AdamW(
            [
                {"params": matrices, "weight_decay": settings.weight_decay},
                {"params": vectors, "weight_decay": 0.0},
            ],
            lr=0.0,
            betas=settings.betas,
            eps=settings.eps,
            fused=True,
        )

    def inputs(self, rows: Sequence[Row]) -> dict[str, Tensor]:
        """The reference's words for a batch; its labels stand at the token that they name."""
        batch = collate(rows)
        assert batch.ids is not None
        assert batch.labels is not None
        assert batch.slots is not None
        assert batch.segments is not None
        labels = torch.full_like(batch.labels, IGNORED)
        labels[:, 1:] = batch.labels[:, :-1]
        return {
            "pixel_values": normalise(batch.pixels, self.size),
            "input_ids": batch.ids,
            "attention_mask": (batch.segments != PADDING).long(),
            "image_embeds_position_mask": batch.slots.long(),
            "labels": labels,
        }

    def step(self, step: int, inputs: dict[str, Tensor]) -> tuple[float, float]:
        """Learn from a batch; how long it took, and what it cost."""
        begun = time.perf_counter()
        for group in self.optimiser.param_groups:
            group["lr"] = rate_at(self.recipe.stage[0], step)
        self.optimiser.zero_grad()
        loss = self.model(**inputs).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), self.recipe.train.clip)
        self.optimiser.step()
        return time.perf_counter() - begun, float(loss.detach())

    def unfused(self) -> None:
        """AdamW as it is when nobody asks for more; the same numbers."""
        for group in self.optimiser.param_groups:
            group["fused"] = None


def twin_of(network: Network) -> transformers.Kosmos2ForConditionalGeneration:
    """The reference's model with our parameters."""
    config = transformers.Kosmos2Config(**config_to_reference(network.config))
    with no_init_weights():  # all of them come from ours
        twin = transformers.Kosmos2ForConditionalGeneration(config)
    theirs = {ours_to_theirs(name): value for name, value in network.state_dict().items()}
    missing, extra = twin.load_state_dict(theirs, strict=False)
    assert not extra
    assert set(missing) <= {"text_model.lm_head.weight"}
    twin.tie_weights()
    return twin
