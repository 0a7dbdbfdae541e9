"""What the GPU is asked to do: ids, pixels and weights from seeds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from kosmos2.config import Config, TextConfig, VisionConfig
from kosmos2.engine import Request, Tags
from kosmos2.model import Network
from kosmos2.options import Options

PAD, EOS, SLOT = 1, 2, 4
CAPTIONS, CAPTION_TOKENS = 512, 24
TAG_NAMES = ("phrase", "phrase_end", "object", "object_end", "delimiter")


def full_size_or_tiny(tiny: bool) -> Config:
    """The released sizes; or small ones, each a multiple of 64 where kernels want that."""
    if not tiny:
        return Config()
    return Config(
        vision=VisionConfig(
            image_size=28, patch_size=14, width=64, layers=2, heads=2, ffn_width=96
        ),
        text=TextConfig(
            vocabulary=1500, width=128, layers=2, heads=4, ffn_width=256, positions=200
        ),
        latents=8,
    )


def made(config: Config, device: torch.device) -> Network:
    """Random weights on the device, in fp32."""
    with torch.device(device):
        network = Network(config)
        network.initialise(torch.Generator(device).manual_seed(0))
        # Quiet words: loud ones would be answered with themselves, whatever the blocks say.
        network.decoder.words.weight.data.mul_(0.1)
    return network.eval().requires_grad_(False)


@dataclass
class Work:
    """The requests: ids and pixels from seeds."""

    config: Config
    pictures: int

    def __post_init__(self) -> None:
        words = self.config.text.vocabulary
        self.locations = range(words - 1024, words)
        # `<image>`, `</image>`, `<phrase>` ... `<delimiter>`, `<grounding>`, directly before.
        self.image, self.image_end, *tags, self.grounding = range(words - 1032, words - 1024)
        self.tags = Tags(**dict(zip(TAG_NAMES, tags)), locations=self.locations, columns=32)
        side, random = self.config.vision.image_size, np.random.default_rng(0)
        shape = (self.pictures, 3, side, side)
        self.pixels = torch.from_numpy(random.standard_normal(shape, dtype=np.float32))

    def ids(self, words: int, seed: int, *, phrase: bool = False) -> list[int]:
        """A prompt: a picture, and so many words."""
        said = np.random.default_rng(seed).integers(5, self.image, words).tolist()
        if phrase:
            said = [self.tags.phrase, *said, self.tags.phrase_end]
        picture = [self.image, *range(SLOT, SLOT + self.config.latents), self.image_end]
        return [0, *picture, self.grounding, *said]

    def slots(self, ids: list[int]) -> list[int]:
        """1 where a latent goes."""
        rest = len(ids) - 2 - self.config.latents
        return [0, 0, *[1] * self.config.latents, *[0] * rest]

    def request(self, ids: list[int], latents, new: int, **more: Any) -> Request:
        """What the engine is asked; it writes exactly so many tokens."""
        return Request(
            prompt=tuple(ids),
            eos=EOS,
            pad=PAD,
            locations=self.locations,
            slots=tuple(map(bool, self.slots(ids))),
            latents=latents,
            options=Options(max_new_tokens=new, min_new_tokens=new),
            **more,
        )


@dataclass
class Alone:
    """A prompt as the plain loop takes it."""

    ids: torch.Tensor
    slots: torch.Tensor
    pixels: None = None

    @property
    def keep(self) -> torch.Tensor:
        return torch.ones_like(self.slots)
