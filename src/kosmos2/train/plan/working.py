"""Working out what a recipe costs: tokens, epochs, parameters, operations.

Arithmetic only. Where a recipe states how many rows a source has and how long they are, the data
need not be there; of other sources a few rows are read, if they can be.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import torch

from kosmos2.config import Config
from kosmos2.data.rows import IGNORED, PADDING, Row
from kosmos2.errors import RecipeError
from kosmos2.model import Network
from kosmos2.tokenizer import Tokenizer
from kosmos2.train import vocabulary
from kosmos2.train.begin import SCRATCH, Begun
from kosmos2.train.feed import rows_of
from kosmos2.train.learner import Learner
from kosmos2.train.optimiser import freeze
from kosmos2.train.peak import PARTS, Part, step_flops, still_blocks
from kosmos2.train.plan.figures import GPUS, Plan, Share, StagePlan
from kosmos2.train.plan.memory import memory_of
from kosmos2.train.recipe import Data, Recipe, Stage
from kosmos2.weights.adapters import linear_layers
from kosmos2.weights.fetch import resolve
from kosmos2.weights.load import read_config

_SAMPLED = 16  # rows that are read of a source whose rows' length is not stated


def plan(recipe: Recipe, gpus: str = "1") -> Plan:
    """Work out what a recipe costs.

    Args:
        recipe: what would be done.
        gpus: how many of which kind: "8", "256xV100".

    Raises:
        RecipeError: a kind that is not known, or a name that the recipe freezes and nothing has.
    """
    count, kind = _gpus(gpus)
    config, tokenizer = _sizes(recipe)
    with torch.device("meta"):
        network = Network(config)
        learner = Learner(network, [stage.heads for stage in recipe.stage],
                          shared_cells=recipe.train.shared_cells)  # fmt: skip
    freeze(learner, recipe.train.freeze)
    parameters = sum(one.numel() for one in network.parameters())
    learns, parts = _learns(recipe, learner)
    begun = Begun(network, tokenizer, 0) if tokenizer else None
    stages = []
    for stage in recipe.stage:
        shares = tuple(_shares(recipe, stage, begun, config))
        flops = _flops(config, stage, shares, parts, recipe, still_blocks(network.vision))
        stages.append(StagePlan(stage, shares, flops))
    return Plan(
        recipe, parameters, learns, tuple(stages),
        memory_of(recipe, config, parameters, learns, stages, count), count, kind,
    )  # fmt: skip


def _gpus(text: str) -> tuple[int, str]:
    found = re.fullmatch(r"(\d{1,6})(?:x(\w+))?", text.strip())
    kind = (found[2] or "H100").upper() if found else ""
    if not found or kind not in GPUS or not int(found[1]):
        raise RecipeError(f"--gpus {text}: give a number, or 8xA100; known: {', '.join(GPUS)}")
    return int(found[1]), kind


def _sizes(recipe: Recipe) -> tuple[Config, Tokenizer | None]:
    """The network's sizes, and its words where they are here."""
    model = recipe.model
    if model.start != SCRATCH:
        folder = resolve(model.start)
        return read_config(folder), Tokenizer.load(folder)
    assert model.config is not None
    if model.tokenizer == "scenes":
        return model.config, vocabulary.build()
    needs = any(
        one.tokens is None and one.source is not None
        for stage in recipe.stage
        for one in recipe.data_of(stage)
    )
    return model.config, None if not needs else _tokenizer(model.tokenizer)


def _tokenizer(name: str) -> Tokenizer | None:
    """It is not downloaded for a plan."""
    from kosmos2.errors import CheckpointError

    try:
        return Tokenizer.load(resolve(name, offline=True))
    except CheckpointError:
        return None


def _learns(recipe: Recipe, learner: Learner) -> tuple[int, list[Part]]:
    """How many numbers learn, and the parts whose own matrices do."""
    if recipe.lora is not None:
        layers = linear_layers(learner.network)
        targets = recipe.lora.among(layers)
        weights = [learner.network.get_parameter(f"{name}.weight") for name in targets]
        return sum(recipe.lora.rank * (one.shape[0] + one.shape[1]) for one in weights), []
    learning = {name for name, one in learner.network.named_parameters() if one.requires_grad}
    parts = [part for part in PARTS if any(name.startswith(f"{part}.") for name in learning)]
    return sum(one.numel() for one in learner.network.parameters() if one.requires_grad), parts


def _shares(recipe: Recipe, stage: Stage, begun: Begun | None, config: Config) -> Iterator[Share]:
    every = recipe.data_of(stage)
    whole = sum(one.weight for one in every)
    for one in every:
        rows = stage.rows * one.weight / whole
        drawn = [] if one.tokens is not None else _sampled(recipe, stage, one, begun)
        kind = "" if one.source is None else one.source.format
        tokens: float | None
        scored: float | None
        if drawn:
            tokens = _mean([int((row.segments != PADDING).sum()) for row in drawn])
            scored = _mean([int((row.labels != IGNORED).sum()) for row in drawn])
            pictures = _mean([len(row.pixels) for row in drawn])
        else:
            pictures = 0.0 if kind == "text" else 1.0
            tokens = one.tokens
            scored = None if tokens is None else tokens - pictures * (config.latents + 2)
        yield Share(_named(one), rows, tokens, _count(one), pictures, scored)


def _sampled(recipe: Recipe, stage: Stage, one: Data, begun: Begun | None) -> list[Row]:
    """A few of a source's rows, if it is here."""
    if begun is None or not (one.source is None or _is_here(one)):
        return []
    alone = replace(stage, data=(one,))
    quiet = replace(recipe, data=(), stage=(alone,), train=replace(recipe.train, held_out=0))
    rows = rows_of(quiet, alone, begun)
    return [rows[i] for i in range(_SAMPLED)]


def _count(one: Data) -> int | None:
    from kosmos2.data.sources import open_source

    if one.count is not None or one.source is None:
        return one.count
    return len(open_source(one.source)) if _is_here(one) else None


def _is_here(one: Data) -> bool:
    """A plan may be made before the data is there."""
    from kosmos2.data.sources import is_here

    return one.source is not None and is_here(one.source)


def _named(one: Data) -> str:
    if one.source is None:
        return one.name
    share = one.source.wording.boxes_share
    boxes = {0.0: ", without boxes", 1.0: ", with boxes"}.get(share, "")
    return f"{one.name}{boxes}"


def _flops(
    config: Config,
    stage: Stage,
    shares: Sequence[Share],
    learns: list[Part],
    recipe: Recipe,
    still: int,
) -> int | float | None:
    """Operations of a step; rows of a source are taken to be of one length."""
    if any(share.tokens is None for share in shares):
        return None
    passes: Any = None
    if recipe.lora is not None:  # gradients pass from the first adapter on
        lowest = min(
            (
                PARTS.index(part)
                for part in PARTS
                for t in recipe.lora.targets
                if t.startswith(part)
            ),
            default=0,
        )
        passes = PARTS[lowest:]
    told = stage.tell or stage.heads == "contrastive"
    return sum(
        step_flops(
            config,
            pictures=share.rows * share.pictures,
            rows=share.rows if told else 0,
            tokens=(share.tokens or 0) if told else 0,
            scored=share.rows * (share.scored or 0) if stage.tell else 0,
            learns=learns if stage.tell else [part for part in learns if part != "decoder"],
            passes=passes,
            still=still,
            again=recipe.train.checkpointing,
        )
        for share in shares
    )


def _mean(values: Sequence[int]) -> float:
    return sum(values) / len(values)
