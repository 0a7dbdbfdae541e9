"""What learns, and how fast: parameters by name, in groups of one rate and one decay each.

Names are the network's own ("vision.layers.3.ffn.widen.weight"); the throw-away heads' begin with
their head ("patch_head.name.weight").
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from fnmatch import fnmatchcase

import torch
from torch import nn

from kosmos2.errors import RecipeError
from kosmos2.train.recipe import Train

_LAYER = re.compile(r"^(vision|decoder)\.layers\.(\d+)\.")
# What comes before the layers of the tower, or of the decoder, counts as the lowest of them.
_STACK = re.compile(r"^(vision|decoder)\.(words|class_vector|patch|positions|first_norm)\b")


def freeze(learner: nn.Module, patterns: Iterable[str]) -> int:
    """Let parameters whose names match stay as they are; returns how many numbers that are.

    Raises:
        RecipeError: a pattern that matches nothing, or nothing is left to learn.
    """
    parameters = {_own(name): one for name, one in learner.named_parameters()}
    for pattern in patterns:
        matched = [name for name in parameters if fnmatchcase(name, pattern)]
        if not matched:
            tops = sorted({name.partition(".")[0] for name in parameters})
            raise RecipeError(
                f"train.freeze: {pattern!r} matches no parameter; their names begin with "
                f"{', '.join(tops)}, and * stands for the rest"
            )
        for name in matched:
            parameters[name].requires_grad_(False)
    if not any(one.requires_grad for one in parameters.values()):
        raise RecipeError("train.freeze leaves nothing to learn; freeze less")
    return sum(one.numel() for one in parameters.values() if not one.requires_grad)


def optimiser_of(learner: nn.Module, train: Train) -> torch.optim.Optimizer:
    """AdamW; matrices decay, vectors do not, and each layer's rate is its own if that is wanted.

    A group's `share` is what its rate is multiplied by; see `set_rate`.
    """
    depth = _depths(_own(name) for name, _ in learner.named_parameters())
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    for name, one in learner.named_parameters():
        if one.requires_grad:
            share = train.layer_decay ** _below(_own(name), depth)
            decay = train.weight_decay if one.dim() > 1 else 0.0
            groups.setdefault((share, decay), []).append(one)
    # Matrices first, then vectors, as checkpoints of one rate have always had them.
    ordered = sorted(groups.items(), key=lambda item: (-item[0][1], -item[0][0]))
    return torch.optim.AdamW(
        [{"params": held, "weight_decay": decay, "share": share}
         for (share, decay), held in ordered],
        lr=0.0,
        betas=train.betas,
        eps=train.eps,
        fused=True,
    )  # fmt: skip


def set_rate(optimiser: torch.optim.Optimizer, rate: float) -> None:
    """The rate of the next step, each group its share of it."""
    for group in optimiser.param_groups:
        group["lr"] = rate * group["share"]


def _own(name: str) -> str:
    """A parameter's name without what it is wrapped in."""
    for wrapped in ("module.", "network.", "base_model.model.", "_orig_mod."):
        name = name.replace(wrapped, "")
    return name.replace(".parametrizations.weight.original", ".weight")


def _depths(names: Iterable[str]) -> dict[str, int]:
    """How many layers each stack has."""
    depths: dict[str, int] = {}
    for name in names:
        if found := _LAYER.match(name):
            stack, layer = found[1], int(found[2])
            depths[stack] = max(depths.get(stack, 0), layer + 1)
    return depths


def _below(name: str, depths: dict[str, int]) -> int:
    """How many layers lie above a parameter, in its own stack; none for what is in no stack."""
    if found := _LAYER.match(name):
        return depths[found[1]] - 1 - int(found[2])
    if found := _STACK.match(name):
        return depths.get(found[1], 0)
    return 0
