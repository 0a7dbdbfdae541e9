"""Two ways to spend time and memory differently: blocks computed twice, and blocks compiled."""

from __future__ import annotations

from functools import partial
from typing import Any

from torch import nn
from torch.utils.checkpoint import checkpoint

from kosmos2.model import Network


def compute_again(network: Network) -> None:
    """Keep only what enters each block; its insides are computed a second time on the way back.

    A third more work, for memory that no longer grows with the width of the blocks.
    """
    for block in _blocks(network):
        block.forward = partial(_twice, block.forward)


def compile_blocks(network: Network) -> None:
    """Compile the blocks, all of a kind once; the first steps take that much longer."""
    for block in _blocks(network):
        block.compile(dynamic=True)


def _twice(forward: Any, *inputs: Any) -> Any:
    return checkpoint(forward, *inputs, use_reentrant=False)


def _blocks(network: Network) -> list[nn.Module]:
    return [*network.vision.layers, *network.decoder.layers]
