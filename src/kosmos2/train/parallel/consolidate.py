"""What a run has learnt so far, as one learner in one process, whoever wrote the checkpoint.

    export(*consolidate(Path("run")), Path("model"))

makes a folder in the layout of the released weights of it. The run need not have ended.
"""

from __future__ import annotations

import logging
from pathlib import Path

from kosmos2.errors import CheckpointError
from kosmos2.train import checkpoint
from kosmos2.train.begin import Begun, begin
from kosmos2.train.checkpoint import Checkpoint
from kosmos2.train.ema import average_of
from kosmos2.train.learner import Learner
from kosmos2.train.loop import learner_of
from kosmos2.train.parallel.reading import opened
from kosmos2.train.recipe import Recipe
from kosmos2.train.run_folder import RECIPE, NoCheckpoint
from kosmos2.train.state import AVERAGE, LEARNER

log = logging.getLogger(__name__)


def consolidate(folder: Path) -> tuple[Learner, Begun, Recipe]:
    """The learner of a run folder's newest good checkpoint, what it began with, and its recipe.

    With a moving average, or a share of the start, it holds that, as the model at the end does.

    Raises:
        NoCheckpoint: there is no good one.
        RecipeError: the folder has no recipe that can be read.
    """
    recipe = Recipe.read(folder / RECIPE)
    saved = opened(_newest(folder))
    begun = begin(recipe)
    learner = learner_of(recipe, begun)
    average = average_of(learner, recipe.train)
    try:
        learner.load_state_dict(saved.part(LEARNER), strict=recipe.lora is None)
        if average is not None:
            average.load_state_dict(saved.part(AVERAGE))
            average.settle()
    except (RuntimeError, ValueError) as error:
        raise CheckpointError(f"{saved.path} is not of {folder / RECIPE}: {error}") from error
    log.info("step %d of %s, as one", saved.step, folder)
    return learner.eval(), begun, recipe


def _newest(folder: Path) -> Checkpoint:
    for path in reversed(checkpoint.found(folder)):
        try:
            return checkpoint.read(path)
        except CheckpointError as error:
            log.warning("%s: PASSED OVER, trying the checkpoint before it", error)
    raise NoCheckpoint(f"{folder} has no good checkpoint; name the folder that --out named")
