"""`kosmos2 train`: from a recipe and data to a model, stopped and gone on with at any time."""

from __future__ import annotations

import sys
from argparse import Namespace
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from kosmos2.cli.arguments import Commands, UsageError, command
from kosmos2.cli.output import note, show

if TYPE_CHECKING:
    from kosmos2.train.parallel import Parallel
    from kosmos2.train.recipe import Recipe
    from kosmos2.train.watching.watcher import Watcher

MODEL = "model"  # the folder, beside the checkpoints, that --model takes
USUAL = "finetune"  # the recipe, where there is data
_EPILOG = """\
recipes: finetune, lora, pretrain, pretrain-vision, instruct, demo, paper, or a file in TOML.
A run that was stopped goes on: give the same command again.
"""


def add(commands: Commands) -> None:
    """Add the command."""
    parser = command(
        commands, "train", _run, "train a model by a recipe, or go on with a run",
        epilog=_EPILOG,
    )  # fmt: skip
    parser.add_argument("recipe", nargs="?", metavar="RECIPE", help=f"name or file ({USUAL})")
    parser.add_argument("--out", metavar="DIR", help="checkpoints, log, report and model")
    parser.add_argument(
        "--data", nargs="+", action="extend", default=[], metavar="PATH",
        help="rows to learn from; the format is recognised, or told: coco:boxes.json",
    )  # fmt: skip
    parser.add_argument("--model", metavar="NAME", help="to start from: demo, a folder, a hub name")
    parser.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", dest="settings",
        help="a setting of the recipe, such as train.seed=3 or stage.steps=100",
    )  # fmt: skip
    parser.add_argument("--plan", action="store_true", help="what it will cost, and no more")
    parser.add_argument(
        "--gpus", metavar="N", help="the plan's machine: 8, or 256xV100 (1, an H100)"
    )
    parser.add_argument(
        "--dry-run", action="store_true", help="draw the first rows as the model will see them"
    )
    parser.add_argument(
        "--consolidate", action="store_true", help="make the model of a run's last checkpoint"
    )
    parser.add_argument("--report", action="store_true", help="make a run's report again")


def _run(arguments: Namespace) -> int:
    if arguments.consolidate or arguments.report:
        return _of_a_run(arguments)
    if arguments.gpus and not arguments.plan:
        raise UsageError("--gpus is the plan's machine; add --plan, or start with torchrun")
    if not arguments.plan and arguments.out is None:
        raise UsageError("training needs a folder; say --out DIR, or --plan to see what it costs")
    if arguments.recipe is None and not arguments.data:
        raise UsageError(f"say what to learn: a recipe, or --data PATH to {USUAL} with")
    recipe = _recipe(arguments)
    if arguments.plan:
        from kosmos2.train.plan import plan

        for line in plan(recipe, arguments.gpus or "1").lines():
            show(line)
        return 0
    folder = Path(arguments.out)
    if folder.exists() and not folder.is_dir():
        raise UsageError(f"--out {folder} is a file, and training needs a folder; name another")
    if arguments.dry_run:
        return _dry_run(recipe, folder)
    return _train(recipe, folder)


def _of_a_run(arguments: Namespace) -> int:
    """What is made of a run that is there, which has its recipe."""
    asked = "--consolidate" if arguments.consolidate else "--report"
    if arguments.out is None:
        raise UsageError(f"{asked} is of a run that is there; say --out DIR, its folder")
    further = (arguments.recipe, arguments.data, arguments.model, arguments.settings)
    if any((*further, arguments.plan, arguments.gpus, arguments.dry_run)):
        raise UsageError(f"{asked} takes all but --out DIR from the run itself; leave the rest out")
    folder = Path(arguments.out)
    if arguments.consolidate:
        from kosmos2.train.export import export
        from kosmos2.train.parallel.consolidate import consolidate

        learner, begun, recipe = consolidate(folder)
        export(learner, begun, recipe, folder / MODEL)
        _told(folder, "made one model of what was learnt so far")
    if arguments.report:
        from kosmos2.train.watching.report import write_report

        note(f"wrote {write_report(folder)}")
    return 0


def _recipe(arguments: Namespace) -> Recipe:
    """The recipe that is named, with what was asked otherwise."""
    from kosmos2.train.recipe.shipped import asked_otherwise, named, with_data, with_model

    recipe = named(arguments.recipe or USUAL)
    if arguments.model is not None:
        there = Path(arguments.model).is_dir() and arguments.model != "demo"
        recipe = with_model(
            recipe, str(Path(arguments.model).absolute()) if there else arguments.model
        )
    return asked_otherwise(with_data(recipe, arguments.data), arguments.settings)


def _train(recipe: Recipe, folder: Path) -> int:
    from kosmos2.train.begin import begin
    from kosmos2.train.export import export
    from kosmos2.train.feed import exam_of
    from kosmos2.train.freed import keep_freed
    from kosmos2.train.loop import train
    from kosmos2.train.parallel import launch
    from kosmos2.train.signals import stoppable

    if recipe.lora is None:  # which is there to need little memory, and would gain 4 %
        keep_freed()
    parallel = launch(recipe.parallel.how)
    try:
        begun = begin(recipe)
        with stoppable() as stop:
            learner = train(
                recipe,
                folder,
                begun=begun,
                watchers=_watchers(parallel, folder),
                exam=exam_of(recipe, begun),
                parallel=parallel,
                should_stop=stop.is_set,
            )
        whole = parallel.whole(learner)
        if whole is not None:
            export(whole, begun, recipe, folder / MODEL)
            _told(folder, "trained")
    finally:
        parallel.close()
    return 0


def _watchers(parallel: Parallel, folder: Path) -> Sequence[Watcher]:
    """A line on the terminal; curves where TensorBoard is installed; a report at the end."""
    from kosmos2.errors import ConfigError
    from kosmos2.train.watching.live import Live
    from kosmos2.train.watching.report import Reporter
    from kosmos2.train.watching.tensorboard import Board

    if parallel.rank:
        return ()
    watchers: list[Watcher] = [Live(sys.stderr), Reporter()]
    with suppress(ConfigError):  # an extra that a training can do without
        watchers.append(Board())
    return watchers


def _told(folder: Path, done: str) -> None:
    if (folder / MODEL).is_dir():
        note(f"{done}; now: kosmos2 caption PICTURE --model {folder / MODEL}")
    else:
        from kosmos2.train.export import ADAPTER

        note(f"{done}; the adapter is in {folder / ADAPTER}")


def _dry_run(recipe: Recipe, folder: Path) -> int:
    from kosmos2.train.begin import begin
    from kosmos2.train.dry_run import draw
    from kosmos2.train.feed import rows_of

    begun = begin(recipe)
    page = draw(rows_of(recipe, recipe.stage[-1], begun), begun.tokenizer, folder)
    note(f"drew the first rows: {page}")
    return 0
