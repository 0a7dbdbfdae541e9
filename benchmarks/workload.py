"""What every peer is asked to do: the same ids and the same pixels, made from seeds.

No tokenizer is needed: words are ids. A prompt is `<s><image>`, the slots, `</image>`,
`<grounding>` and words; as in the released vocabulary, the locations are its last 1,024 ids and the
tags stand before them.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np

BOS, PAD, EOS, FIRST_SLOT, LOCATIONS, COLUMNS = 0, 1, 2, 4, 1024, 32


@dataclass(frozen=True)
class World:
    """What the ids of a folder mean."""

    config: dict[str, Any]

    @classmethod
    def of(cls, folder: str | Path) -> Self:
        """Read it from a folder's config.json."""
        return cls(json.loads((Path(folder) / "config.json").read_text()))

    @property
    def latents(self) -> int:
        return self.config["latent_query_num"]

    @property
    def locations(self) -> range:
        end = self.config["text_config"]["vocab_size"]
        return range(end - LOCATIONS, end)

    @property
    def words(self) -> range:
        """Ids that are no tag, no location and not in a slot."""
        return range(FIRST_SLOT + self.latents, self.locations.start - 10)

    @property
    def image(self) -> int:
        return self.locations.start - 10

    @property
    def image_end(self) -> int:
        return self.locations.start - 9

    @property
    def phrase(self) -> int:
        return self.locations.start - 6

    @property
    def phrase_end(self) -> int:
        return self.locations.start - 5

    @property
    def object(self) -> int:
        return self.locations.start - 4

    @property
    def object_end(self) -> int:
        return self.locations.start - 3

    @property
    def delimiter(self) -> int:
        return self.locations.start - 2

    @property
    def grounding(self) -> int:
        return self.locations.start - 1

    @property
    def prefix(self) -> list[int]:
        """How every prompt begins."""
        slots = range(FIRST_SLOT, FIRST_SLOT + self.latents)
        return [BOS, self.image, *slots, self.image_end]

    def ids(self, ask: Ask) -> list[int]:
        """The whole prompt."""
        return [*self.prefix, *ask.words]

    def slots(self, ask: Ask) -> list[int]:
        """1 where a latent goes."""
        return [0, 0, *[1] * self.latents, 0, *[0] * len(ask.words)]

    def pixels(self, picture: int) -> np.ndarray:
        """A picture's normalised numbers, 3 x side x side."""
        side = self.config["vision_config"]["image_size"]
        random = np.random.default_rng(picture)
        return random.standard_normal((3, side, side), dtype=np.float32)

    def captions(self, count: int, new: int, *, first: int = 0) -> list[Ask]:
        """Different pictures, the same short prompt: 71 tokens at full size."""
        words = (self.grounding, *self.words[-3:])
        return [Ask(first + number, words, new) for number in range(count)]

    def questions(self, count: int, new: int) -> list[Ask]:
        """One picture, prompts of one length, of other words each."""
        return [Ask(0, (self.grounding, *self._some(n, 3)), new) for n in range(count)]

    def phrases(self, count: int, new: int) -> list[Ask]:
        """One picture, and a phrase of three words for each ask."""
        return [
            Ask(0, (self.grounding, self.phrase, *self._some(n, 3), self.phrase_end), new)
            for n in range(count)
        ]

    def mixed(self, count: int, longest: int, *, first: int = 100) -> list[Ask]:
        """A new picture each, prompts of 3 words and answers of 4 tokens up to the longest."""
        random = np.random.default_rng(1)
        asks = []
        for number in range(count):
            length = int(random.integers(3, longest + 1))
            words = (self.grounding, *self._some(1000 + number, length))
            asks.append(Ask(first + number, words, int(random.integers(4, longest + 1))))
        return asks

    def first_token_operations(self, ask: Ask) -> float:
        """Multiplications and additions from pixels to the first token, the matrices' alone."""
        text, vision = self.config["text_config"], self.config["vision_config"]
        width, tall = text["embed_dim"], vision["hidden_size"]
        seen = (vision["image_size"] // vision["patch_size"]) ** 2 + 1
        tower = vision["num_hidden_layers"] * _block(tall, vision["intermediate_size"])
        patches = 3 * vision["patch_size"] ** 2 * tall
        connector = tall * width + 2 * width**2  # of each vector; and of each latent, 3 matrices
        decoder = text["layers"] * _block(width, text["ffn_dim"])
        return 2.0 * (
            seen * (tower + patches + connector)
            + self.latents * 4 * width**2
            + len(self.ids(ask)) * decoder
            + width * text["vocab_size"]
        )

    def _some(self, seed: int, count: int) -> tuple[int, ...]:
        random = np.random.default_rng(seed)
        return tuple(random.integers(self.words.start, self.words.stop, count).tolist())


@dataclass(frozen=True)
class Ask:
    """One request: a picture by its seed, the words after it, and how many tokens to write."""

    picture: int
    words: tuple[int, ...]
    new: int

    @classmethod
    def of(cls, values: dict[str, Any]) -> Self:
        """From what `asdict` made, over JSON or not."""
        return cls(values["picture"], tuple(values["words"]), values["new"])


def arrival_times(count: int, mean_gap_s: float) -> list[float]:
    """Seconds after the start, with exponential gaps; the first comes at once."""
    gaps = np.random.default_rng(2).exponential(mean_gap_s, count - 1)
    return [0.0, *np.cumsum(gaps).tolist()]


def _block(width: int, ffn_width: int) -> int:
    """The weights of one block of attention and feed-forward."""
    return 4 * width**2 + 2 * width * ffn_width
