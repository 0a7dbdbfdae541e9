"""How much of the machine a training uses: the work of a step, against the most there can be.

The most is measured, not read from a data sheet: large square matrices are multiplied in the
precision that the training multiplies in, on as many threads. The work of a step is counted from
the sizes: what the network's matrices, its attention and the output layer need, forward and back,
padding included as it is computed; the last block's second half is for what is scored alone. Norms,
activations, throw-away heads and the optimiser are not counted, so the share is rather too small
than too large.

Letters: N pictures, P tower vectors, V vision width, L latents, D text width, R rows, T tokens of
the longest, W words that are scored.
"""

from __future__ import annotations

import time
from collections.abc import Collection
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Literal

import torch

from kosmos2.config import Config
from kosmos2.model.vision import VisionTower

Count = int | float  # a mean may be none of the whole numbers
Part = Literal["vision", "connector", "decoder"]
PARTS: tuple[Part, ...] = ("vision", "connector", "decoder")  # in the order that gradients leave
_LEAST_S, _LEAST_TIMES = 0.3, 5  # of measuring
_SIDES = {"cpu": 1024, "cuda": 8192}


def peak_flops(device: torch.device | str = "cpu", dtype: torch.dtype = torch.float32) -> float:
    """The most floating-point operations a second that this machine reaches in one matrix product.

    Measured once for each device, precision and number of threads; takes about half a second.
    """
    return _peak(str(torch.device(device)), dtype, torch.get_num_threads())


@lru_cache(maxsize=16)
def _peak(device: str, dtype: torch.dtype, threads: int) -> float:
    place = torch.device(device)
    side = _SIDES.get(place.type, 4096)
    dice = torch.Generator().manual_seed(0)  # its own: measuring changes no training
    one = torch.randn(side, side, generator=dice).to(place, dtype)
    two = torch.empty_like(one)
    fastest, spent, times = float("inf"), 0.0, 0
    with torch.inference_mode():
        while spent < _LEAST_S or times < _LEAST_TIMES:
            _wait(place)
            started = time.perf_counter()
            torch.mm(one, one, out=two)
            _wait(place)
            took = time.perf_counter() - started
            fastest, spent, times = min(fastest, took), spent + took, times + 1
    return 2 * side**3 / fastest


def _wait(place: torch.device) -> None:
    if place.type == "cuda":
        torch.cuda.synchronize(place)


def forward_flops(
    config: Config, *, pictures: Count, rows: Count, tokens: Count, scored: Count
) -> Count:
    """Operations of looking and reading; an addition and a multiplication are two.

    Args:
        config: the network's sizes.
        pictures: N, of all rows.
        rows: R.
        tokens: T.
        scored: W, of all rows: tokens whose next word is learnt.
    """
    works = _works(config, pictures, rows, tokens, scored)
    return sum(work.whole for work in works.values())


def step_flops(
    config: Config,
    *,
    pictures: Count,
    rows: Count,
    tokens: Count,
    scored: Count,
    learns: Collection[Part] = PARTS,
    passes: Collection[Part] | None = None,
    still: int = 0,
    again: bool = False,
) -> Count:
    """Operations of a whole step.

    Going back, matrices cost once what going forward did for the gradients of their numbers, and
    once for those of what came in; attention has two things that came in, and costs twice.

    Args:
        config: the network's sizes.
        pictures: of all rows.
        rows: in the step.
        tokens: of the longest row.
        scored: tokens of all rows whose next word is learnt.
        learns: the parts whose own matrices learn.
        passes: the parts that gradients pass through; usually those that learn and whatever comes
            after them. Adapters need it beside matrices that do not learn.
        still: lowest blocks of the tower below which nothing learns; see `still_blocks`.
        again: whether the blocks are computed a second time on the way back (checkpointing).
    """
    works = _works(config, pictures, rows, tokens, scored)
    forward = sum(work.whole for work in works.values())
    if passes is None:
        lowest = min((PARTS.index(part) for part in learns), default=len(PARTS))
        passes = PARTS[lowest:]
    if still:
        works["vision"] = _look(config, pictures, config.vision.layers - still)
    back = sum(works[part].matrices for part in learns)
    back += sum(works[part].matrices + 2 * works[part].attention for part in passes)
    if "vision" in passes and not still:
        back -= _patches(config, pictures)  # pixels have no gradients
    blocks = sum(works[part].blocks for part in passes) if again else 0
    return forward + back + blocks


def still_blocks(tower: VisionTower) -> int:
    """How many of its lowest blocks no gradient comes to: nothing in them or before them learns."""
    blocks = {f"layers.{number}": number for number in range(len(tower.layers))}
    learns = [name for name, one in tower.named_parameters() if one.requires_grad]
    lowest = (
        next((number for block, number in blocks.items() if name.startswith(f"{block}.")), 0)
        for name in learns
        if not name.startswith("last_norm.")
    )
    return min(lowest, default=len(blocks))


@dataclass(frozen=True, slots=True)
class _Work:
    """Of one part, going forward."""

    matrices: Count
    attention: Count  # what vectors hear of each other
    blocks: Count = 0  # of both, in blocks that may be computed again

    @property
    def whole(self) -> Count:
        return self.matrices + self.attention


def _works(
    config: Config, pictures: Count, rows: Count, tokens: Count, scored: Count
) -> dict[Part, _Work]:
    vision, text = config.vision, config.text
    seen, latents, wide = vision.vectors, config.latents, text.width
    n = 2 * pictures
    look = _look(config, pictures, vision.layers)
    read = 2 * rows * tokens * text.layers * (4 * wide + 2 * text.ffn_width) * wide
    read -= 4 * (rows * tokens - scored) * text.ffn_width * wide  # the last block's
    listen = 4 * rows * tokens * tokens * wide * text.layers
    keys = seen + latents
    carry = n * seen * vision.width * wide + n * wide**2 * (2 * latents + 2 * keys)
    return {
        "vision": replace(look, matrices=_patches(config, pictures) + look.matrices),
        "connector": _Work(carry, 2 * n * latents * keys * wide),
        "decoder": _Work(read + 2 * scored * wide * text.vocabulary, listen, read + listen),
    }


def _look(config: Config, pictures: Count, blocks: int) -> _Work:
    """Of so many of the tower's blocks."""
    vision = config.vision
    matrices = 2 * pictures * vision.vectors * blocks * vision.width
    matrices *= 4 * vision.width + 2 * vision.ffn_width
    attention = 4 * pictures * vision.vectors**2 * vision.width * blocks
    return _Work(matrices, attention, matrices + attention)


def _patches(config: Config, pictures: Count) -> Count:
    vision = config.vision
    return 2 * pictures * vision.patches * 3 * vision.patch_size**2 * vision.width
