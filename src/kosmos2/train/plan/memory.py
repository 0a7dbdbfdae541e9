"""How much memory a recipe takes: what is held, and what is kept for the way back.

Shapes: D text width, V vision width, T tokens, W words.
"""

from __future__ import annotations

from collections.abc import Sequence

from kosmos2.config import Config
from kosmos2.train.plan.figures import Memory, StagePlan
from kosmos2.train.recipe import Recipe

# Numbers kept for the way back, for each vector: so many of the block's width, so many of the wide
# one's. Counted on our own blocks; a test counts again.
_KEPT = {"vision": (8, 3), "decoder": (9, 4)}


def memory_of(
    recipe: Recipe,
    config: Config,
    parameters: int,
    learns: int,
    stages: Sequence[StagePlan],
    gpus: int,
) -> Memory:
    """Bytes of everything, of the stage that keeps most."""
    held = {"int8": 1, "bfloat16": 2, "float32": 4}[recipe.lora.base if recipe.lora else "float32"]
    fraction = gpus if recipe.parallel.how != "none" else 1
    most = max((kept(config, one, recipe, fraction) for one in stages), default=0)
    start = bool(recipe.train.start_share)
    return Memory(
        weights=held * parameters + (4 * learns if recipe.lora else 0),
        gradients=4 * learns,
        moments=8 * learns,
        average=4 * learns * (start + (start or recipe.train.ema > 0)),
        activations=round(most),
    )


def kept(config: Config, one: StagePlan, recipe: Recipe, processes: int = 1) -> float:
    """Bytes that a micro-batch keeps for the way back, over all processes together."""
    wide = 4 if recipe.train.precision == "float32" else 2
    part = 1 / one.stage.accumulate
    vision, text = config.vision, config.text
    vectors = part * sum(share.rows * share.pictures for share in one.shares) * vision.vectors
    tokens = part * sum(share.rows * (share.tokens or 0) for share in one.shares)
    scored = part * sum(share.rows * (share.scored or 0) for share in one.shares)
    if not one.stage.tell:
        tokens = tokens if one.stage.heads == "contrastive" else 0
        scored = 0
    total = 0.0
    for stack, of, count in ((vision, "vision", vectors), (text, "decoder", tokens)):
        narrow, wider = _KEPT[of]
        block = wide * count * (narrow * stack.width + wider * stack.ffn_width)
        whole = 4 * count * stack.width  # what enters a block
        total += (
            stack.layers * whole + block if recipe.train.checkpointing else stack.layers * block
        )
    # Scores become their own gradient in place, unless places near the true one count too.
    copies = 3 if max(one.stage.spread) else 1
    return total + copies * 4 * scored * text.vocabulary
