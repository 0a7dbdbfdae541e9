"""`kosmos2 train`: make the embedded model again, or one like it."""

from __future__ import annotations

import signal
from argparse import Namespace
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING, Any

from kosmos2.cli.arguments import Commands, UsageError, command, whole
from kosmos2.cli.output import note
from kosmos2.cli.progress import Progress

if TYPE_CHECKING:
    from kosmos2.train.recipe import Recipe

MODEL = "model"  # the folder, beside the checkpoints, that --model takes


def add(commands: Commands) -> None:
    """Add the command."""
    parser = command(
        commands, "train", _run, "train the embedded model from nothing, on scenes drawn meanwhile",
        epilog="A folder with checkpoints is gone on with: run the same command again.",
    )  # fmt: skip
    parser.add_argument("--out", required=True, metavar="DIR", help="checkpoints, log, model")
    parser.add_argument("--seed", type=whole(0), metavar="S", help="(the recipe's)")
    for stage, what in (("see", "of seeing alone"), ("tell", "of all tasks")):
        parser.add_argument(
            f"--steps-{stage}", type=whole(0), metavar="N", help=f"steps {what} (the recipe's)"
        )
    parser.add_argument(
        "--save-every", type=whole(1), default=500, metavar="N",
        help="steps between checkpoints (%(default)s)",
    )  # fmt: skip
    parser.add_argument(
        "--workers", type=whole(0), default=1, metavar="N",
        help="processes that draw scenes meanwhile (%(default)s)",
    )  # fmt: skip


def _run(arguments: Namespace) -> int:
    from kosmos2.train import vocabulary
    from kosmos2.train.export import export
    from kosmos2.train.loop import Progress as Place
    from kosmos2.train.loop import train

    recipe = _recipe(arguments)
    folder = Path(arguments.out)
    if folder.exists() and not folder.is_dir():
        raise UsageError(f"--out {folder} is a file, and training needs a folder; name another")
    steps = {stage.name: stage.steps for stage in recipe.stages}
    tokenizer = vocabulary.build()

    def watch(place: Place) -> None:
        before = steps["see"] if place.stage == "tell" and "see" in steps else 0
        loss = f"{place.stage}: loss {place.report.loss:.3f}"
        rate = f"{place.scenes_per_s:.0f} scenes/s"
        progress(before + place.step, sum(steps.values()), f"{loss}, {rate}")

    with Progress("training", "steps") as progress, _stoppable() as stop:
        learner = train(
            recipe,
            folder,
            tokenizer,
            save_every=arguments.save_every,
            workers=arguments.workers,
            on_progress=watch,
            should_stop=stop.is_set,
        )
    export(learner, tokenizer, folder / "model")
    note(f"trained; now: kosmos2 caption PICTURE --model {folder / 'model'}")
    return 0


@contextmanager
def _stoppable() -> Iterator[Event]:
    """Ctrl-C and SIGTERM ask for a stop at the end of the step; a second Ctrl-C does not wait."""
    stop = Event()
    usual = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def ask(number: int, frame: object) -> None:
        if stop.is_set() and number == signal.SIGINT:
            raise KeyboardInterrupt("stopped at once; the last checkpoint is the place to go on")
        stop.set()

    for number in usual:
        signal.signal(number, ask)
    try:
        yield stop
    finally:
        for number, handler in usual.items():
            signal.signal(number, handler)


def _recipe(arguments: Namespace) -> Recipe:
    """The recipe of the embedded model, with what was asked otherwise."""
    from kosmos2.train.recipe import Recipe

    usual = Recipe()
    stages = []
    for stage in usual.stages:
        steps = getattr(arguments, f"steps_{stage.name}")
        stages.append(stage if steps is None else replace(stage, steps=steps))
    changes: dict[str, Any] = {"stages": tuple(stage for stage in stages if stage.steps)}
    if arguments.seed is not None:
        changes["seed"] = arguments.seed
    return replace(usual, **changes)
