"""Scenes as the network takes them: pixels, the truth on each place, and packed rows of examples.

A row holds one picture and then several examples side by side. Each example sees the picture and
itself, and its positions go on from the picture's, so it reads exactly as if it were alone.

Shapes: N scenes, S pixels a side, P patches, L latents, T tokens of a row.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Int, UInt8
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset

from kosmos2.config import Config
from kosmos2.markup import IMAGE, IMAGE_END
from kosmos2.scenes.draw import draw_scene
from kosmos2.scenes.layout import Scene, compose
from kosmos2.tokenizer import Tokenizer
from kosmos2.train.dense import truth
from kosmos2.train.lessons import MOST_TOKENS, lessons
from kosmos2.train.tokens import NOWHERE, tokens_of

IGNORED = -100  # a label that does not count
PICTURE, PADDING = 0, -1  # segments: the picture's prefix, padding; examples count from 1
_FROM_LARGER = 0.2  # share of scenes drawn larger and reduced, as photographs are


@dataclass(slots=True)
class Batch:
    """What one step learns from; the token fields are None while only seeing is taught."""

    pixels: UInt8[Tensor, "N S S 3"]
    patch_names: Int[Tensor, "N P"]
    patch_edges: Float[Tensor, "N P 4"]
    latent_names: Int[Tensor, "N L"]
    latent_edges: Float[Tensor, "N L 4"]
    ids: Int[Tensor, "N T"] | None = None
    slots: Bool[Tensor, "N T"] | None = None
    segments: Int[Tensor, "N T"] | None = None
    positions: Int[Tensor, "N T"] | None = None
    labels: Int[Tensor, "N T"] | None = None
    corners: Float[Tensor, "N T 2"] | None = None


class SceneBatches(Dataset[Batch]):
    """Batch number i of a seed: a pure function of the two, so resuming needs no more than i."""

    def __init__(
        self, config: Config, tokenizer: Tokenizer | None, *, seed: int, scenes: int, length: int
    ) -> None:
        self.config, self.tokenizer = config, tokenizer
        self.seed, self.scenes, self.length = seed, scenes, length

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> Batch:
        if not 0 <= index < self.length:
            raise IndexError(index)
        first = index * self.scenes
        return _stack([self._sample(first + i) for i in range(self.scenes)])

    def _sample(self, index: int) -> dict[str, np.ndarray]:
        rng = np.random.default_rng([self.seed, index, 1])
        scene = compose(self.seed, index)
        names, edges = truth(scene, self.config.vision.side)
        latent_names, latent_edges = truth(scene, round(self.config.latents**0.5))
        sample = {
            "pixels": picture(scene, self.config.vision.image_size, rng),
            "patch_names": names,
            "patch_edges": edges,
            "latent_names": latent_names,
            "latent_edges": latent_edges,
        }
        if self.tokenizer is not None:
            sample |= pack(scene, self.config, self.tokenizer, rng)
        return sample


def picture(scene: Scene, side_px: int, rng: np.random.Generator) -> np.ndarray:
    """Draw a scene at the network's size, sometimes by way of a larger one."""
    if rng.random() >= _FROM_LARGER:
        return draw_scene(scene, side_px)
    larger = Image.fromarray(draw_scene(scene, int(rng.integers(side_px + 1, 3 * side_px))))
    return np.array(larger.resize((side_px, side_px), Image.Resampling.BICUBIC))


def pack(
    scene: Scene, config: Config, tokenizer: Tokenizer, rng: np.random.Generator
) -> dict[str, np.ndarray]:
    """Put a picture's slots and several examples into one row."""
    slots = [tokenizer.first_slot + i for i in range(config.latents)]
    prefix = [tokenizer.bos, tokenizer.tag(IMAGE), *slots, tokenizer.tag(IMAGE_END)]
    start = config.text.pad + 1
    ids, segments = list(prefix), [PICTURE] * len(prefix)
    positions = [start + i for i in range(len(prefix))]
    labels = [IGNORED] * len(prefix)
    corners = [NOWHERE] * len(prefix)
    room = MOST_TOKENS
    for number, example in enumerate(lessons(scene, rng), start=1):
        tokens = tokens_of(example, tokenizer)
        count = len(tokens.ids)
        if count > room:
            continue
        room -= count
        ids += tokens.ids
        segments += [number] * count
        positions += [start + len(prefix) + i for i in range(count)]
        # A token's label is the one after it; the last token of the prompt already has one.
        unasked = [IGNORED] * (tokens.asked - 1)
        labels += [*unasked, *tokens.ids[tokens.asked :], IGNORED]
        corners += [*tokens.corners[1:], NOWHERE]
    held = np.zeros(len(ids), dtype=bool)
    held[2 : 2 + config.latents] = True
    return {
        "ids": np.array(ids),
        "slots": held,
        "segments": np.array(segments),
        "positions": np.array(positions),
        "labels": np.array(labels),
        "corners": np.array(corners, dtype=np.float32),
    }


def visible(segments: Int[Tensor, "N T"]) -> Bool[Tensor, "N T T"]:
    """Each token sees the picture, and what came before it in its own example."""
    same = segments[:, :, None] == segments[:, None, :]
    order = torch.ones(segments.shape[1], segments.shape[1], dtype=torch.bool).tril()
    return (same | (segments == PICTURE)[:, None, :]) & order


_FILL = {"ids": 1, "slots": False, "segments": PADDING, "positions": 1, "labels": IGNORED}


def _stack(samples: Sequence[dict[str, np.ndarray]]) -> Batch:
    columns: dict[str, Any] = {}
    for name in (f.name for f in fields(Batch)):
        if name not in samples[0]:
            continue
        rows = [torch.from_numpy(sample[name]) for sample in samples]
        if name in _FILL or name == "corners":
            fill = _FILL.get(name, NOWHERE[0])
            columns[name] = torch.nn.utils.rnn.pad_sequence(
                rows, batch_first=True, padding_value=fill
            )
        else:
            columns[name] = torch.stack(rows)
    return Batch(**columns)
