"""Scenes as rows: drawn here and now, with the truth on each place and several lessons beside.

Row number i of a seed is a pure function of the two; with a count, the same scenes come again, each
time with other lessons.

Shapes: S pixels a side, P patches, L latents.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from PIL import Image

from kosmos2.config import Config
from kosmos2.data.encoding import encode
from kosmos2.data.rows import Row, pack
from kosmos2.errors import RecipeError
from kosmos2.scenes.draw import draw_scene
from kosmos2.scenes.layout import Scene, compose
from kosmos2.scenes.stickers import NOUNS
from kosmos2.scenes.teaching import lesson_of
from kosmos2.scenes.world import SECOND, World, world_of
from kosmos2.tokenizer import Tokenizer
from kosmos2.train.dense import truth
from kosmos2.train.lessons import MOST_TOKENS, lessons

_FROM_LARGER = 0.2  # share of scenes drawn larger and reduced, as photographs are
_ENDLESS = 2**62


class SceneRows:
    """Rows of one stream of scenes."""

    def __init__(
        self,
        config: Config,
        tokenizer: Tokenizer | None,
        *,
        seed: int,
        world: World = SECOND,
        count: int | None = None,
        most_tokens: int = MOST_TOKENS,
    ) -> None:
        """Choose a stream.

        Args:
            config: of the network that will learn.
            tokenizer: of its words; None where only seeing is taught.
            seed: of the stream; another one has no scene in common with it.
            world: what the scenes are made of; see `world_of_scenes`.
            count: how many scenes there are before they come again; None: no end of them.
            most_tokens: of all a scene's lessons together.
        """
        self.config, self.tokenizer, self.seed = config, tokenizer, seed
        self.world, self.count, self.most_tokens = world, count, most_tokens

    def __len__(self) -> int:
        return _ENDLESS

    def __getitem__(self, position: int) -> Row:
        if position < 0:
            raise IndexError(position)
        rng = np.random.default_rng([self.seed, position, 1])
        index = position % self.count if self.count else position
        scene = compose(self.seed, index, self.world)
        side = self.config.vision.image_size
        pixels = picture(scene, side, rng)[None]
        name = f"scene {self.seed}:{index}"
        if self.tokenizer is None:
            row = _wordless(pixels, name)
        else:
            taught = [encode(lesson_of(one), self.tokenizer) for one in lessons(scene, rng)]
            row = pack(pixels, taught, self.config, self.tokenizer, self.most_tokens, name=name)
        patch_names, patch_edges = truth(scene, self.config.vision.side)
        latent_names, latent_edges = truth(scene, round(self.config.latents**0.5))
        return replace(
            row,
            patch_names=patch_names,
            patch_edges=patch_edges,
            latent_names=latent_names,
            latent_edges=latent_edges,
        )


def _wordless(pixels: np.ndarray, name: str) -> Row:
    none = np.zeros(0, dtype=np.int64)
    return Row(
        pixels,
        ids=none,
        slots=none.astype(bool),
        segments=none,
        positions=none,
        labels=none,
        corners=np.zeros((0, 2), dtype=np.float32),
        weights=np.zeros(0, dtype=np.float32),
        name=name,
    )


def picture(scene: Scene, side_px: int, rng: np.random.Generator) -> np.ndarray:
    """Draw a scene at the network's size, sometimes by way of a larger one: uint8 (S, S, 3)."""
    if rng.random() >= _FROM_LARGER:
        return draw_scene(scene, side_px)
    larger = Image.fromarray(
        draw_scene(scene, int(rng.integers(side_px + 1, round(2.5 * side_px))))
    )
    return np.array(larger.resize((side_px, side_px), Image.Resampling.BICUBIC))


def world_of_scenes(name: str, nouns: Sequence[str] = ()) -> World:
    """The world of that name, or one like it with other nouns.

    Raises:
        InputError: no world is called so.
        RecipeError: a noun that nobody has drawn.
    """
    world = world_of(name)
    unknown = [noun for noun in nouns if noun not in NOUNS]
    if unknown:
        raise RecipeError(
            f"no sticker for {unknown[0]!r}; the nouns are listed in kosmos2.scenes.stickers.NOUNS"
        )
    return replace(world, nouns=tuple(nouns)) if nouns else world
