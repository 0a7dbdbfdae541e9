"""From prompts and pictures to the tensors that the network reads.

A picture takes `<image>`, one slot for each latent, `</image>`. With the picture first, as usual:

    ids     <pad> <pad>  <s>  <image>  4  5  6  </image>  An  image  of
    slots     .     .     .      .     X  X  X     .      .     .    .
    keep      .     .     X      X     X  X  X     X      X     X    X

The ids in slots are what the released weights were trained with: nothing reads their embeddings,
but they count for the n-grams that may not repeat.

Shapes: B prompts, T ids of the longest, N pictures in all, S side of a picture.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from kosmos2.config import Config
from kosmos2.errors import CheckpointError, ConfigError, PromptError
from kosmos2.images import MEAN, STD, Picture, to_pixels
from kosmos2.markup import IMAGE, IMAGE_END
from kosmos2.prompts import PICTURE, Markup, Prompt, Words
from kosmos2.tokenizer import Tokenizer

Side = Literal["left", "right"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Inputs:
    """A batch of prompts, padded to the longest."""

    ids: Int64[Tensor, "B T"]
    slots: Bool[Tensor, "B T"]  # where latents go, in the order of `pixels`
    keep: Bool[Tensor, "B T"]  # where a prompt is, rather than padding
    pixels: Float[Tensor, "N 3 S S"] | None  # None without pictures

    def to(self, device: torch.device | str) -> Inputs:
        """The same on a device."""
        pixels = None if self.pixels is None else self.pixels.to(device)
        ids, slots, keep = (part.to(device) for part in (self.ids, self.slots, self.keep))
        return replace(self, ids=ids, slots=slots, keep=keep, pixels=pixels)


@dataclass(frozen=True, slots=True)
class _Row:
    """One prompt. `block` marks what belongs to a picture, and `<s>`: it is never cut."""

    ids: tuple[int, ...]
    slots: tuple[bool, ...]
    block: tuple[bool, ...]

    def __add__(self, other: _Row) -> _Row:
        return _Row(self.ids + other.ids, self.slots + other.slots, self.block + other.block)

    def __len__(self) -> int:
        return len(self.ids)


class Processor:
    """Puts prompts and pictures together the way one network expects them."""

    def __init__(self, tokenizer: Tokenizer, config: Config) -> None:
        """Refuse a tokenizer and a network that do not belong together.

        Raises:
            CheckpointError: ids that the network has no row for, or that mean something else to it.
        """
        _check_match(tokenizer, config)
        self.tokenizer = tokenizer
        self.config = config
        first = tokenizer.first_slot
        latents = config.latents
        self._start = _Row((tokenizer.bos,), (False,), (True,))
        self._picture = _Row(
            (tokenizer.tag(IMAGE), *range(first, first + latents), tokenizer.tag(IMAGE_END)),
            (False, *[True] * latents, False),
            (True,) * (latents + 2),
        )

    def __call__(
        self,
        prompts: Sequence[Prompt],
        pictures: Sequence[Sequence[Picture]],
        *,
        side: Side = "left",
        max_length: int | None = None,
        look: bool = True,
    ) -> Inputs:
        """Encode a batch.

        Args:
            prompts: what is asked. A prompt that marks no place for pictures has them in front.
            pictures: for each prompt, its pictures in the order of their places; maybe none.
            side: where shorter prompts are padded. Generation wants the left.
            max_length: ids to cut each prompt to: words go from the end, pictures stay whole.
                None cuts nothing.
            look: whether to compute `pixels`; not needed for pictures already looked at.

        Raises:
            PromptError: pictures and places that do not match, or a prompt that is too long.
        """
        if side not in ("left", "right"):
            raise ConfigError(f"prompts cannot be padded on side {side!r}; say 'left' or 'right'")
        if not prompts:
            raise PromptError("no prompts; give at least one")
        if len(prompts) != len(pictures):
            raise PromptError(
                f"{len(pictures)} lists of pictures for {len(prompts)} prompts; "
                "give one list for each prompt, empty where it has none"
            )
        rows = [
            self._fit(self._row(prompt, len(seen)), max_length)
            for prompt, seen in zip(prompts, pictures)
        ]
        every = [picture for seen in pictures for picture in seen]
        pixels = self.pixels(every) if every and look else None
        return self._batch(rows, side, pixels)

    def pixels(self, pictures: Sequence[Picture]) -> Float[Tensor, "N 3 S S"]:
        """What the network looks at."""
        vision = self.config.vision
        return torch.from_numpy(np.stack([to_pixels(picture, vision) for picture in pictures]))

    def save(self, folder: Path | str) -> None:
        """Write the tokenizer, and the settings that the reference library reads pictures by."""
        folder = Path(folder)
        self.tokenizer.save(folder)
        side = self.config.vision.image_size
        pictures = {
            "image_processor_type": "CLIPImageProcessor",
            "size": {"height": side, "width": side},
            "crop_size": {"height": side, "width": side},
            "resample": 3,  # bicubic
            "image_mean": MEAN,
            "image_std": STD,
        }
        both = {"processor_class": "Kosmos2Processor", "num_patch_index_tokens": 1024}
        for name, settings in (
            ("preprocessor_config.json", pictures),
            ("processor_config.json", both),
        ):
            (folder / name).write_text(json.dumps(settings, indent=2) + "\n", encoding="utf-8")

    def _row(self, prompt: Prompt, count: int) -> _Row:
        if prompt.images not in (0, count):
            raise PromptError(
                f"{count} pictures for a prompt with {prompt.images} places; "
                "give one picture for each PICTURE"
            )
        row = self._start
        for part in (*[PICTURE] * (count - prompt.images), *prompt.parts):
            if isinstance(part, Words | Markup):
                # The reference strips too; it matters for tokenizers saved by its older versions.
                text = part.text.strip()
                ids = tuple(self.tokenizer.encode(text, markup=isinstance(part, Markup)))
                row += _Row(ids, (False,) * len(ids), (False,) * len(ids))
            else:
                row += self._picture
        return row

    def _fit(self, row: _Row, max_length: int | None) -> _Row:
        """Drop words from the end until the row fits."""
        positions = self.config.text.positions
        if max_length is not None and len(row) > max_length:
            fixed = sum(row.block)
            if fixed > max_length:
                raise PromptError(
                    f"max_length is {max_length}, but the start and the pictures of a prompt "
                    f"take {fixed}; allow more"
                )
            words = [at for at, block in enumerate(row.block) if not block]
            cut = set(words[max_length - fixed :])
            kept = [at for at in range(len(row)) if at not in cut]
            row = _Row(
                tuple(row.ids[at] for at in kept),
                tuple(row.slots[at] for at in kept),
                tuple(row.block[at] for at in kept),
            )
        if len(row) > positions:
            raise PromptError(
                f"the prompt is {len(row)} tokens long, the model reads {positions}; "
                "shorten it, or give max_length to have its end cut off"
            )
        return row

    def _batch(
        self, rows: Sequence[_Row], side: Side, pixels: Float[Tensor, "N 3 S S"] | None
    ) -> Inputs:
        longest = max(map(len, rows))
        ids = torch.full((len(rows), longest), self.tokenizer.pad, dtype=torch.int64)
        slots = torch.zeros(len(rows), longest, dtype=torch.bool)
        keep = torch.zeros(len(rows), longest, dtype=torch.bool)
        for at, row in enumerate(rows):
            place = slice(longest - len(row), longest) if side == "left" else slice(len(row))
            ids[at, place] = torch.tensor(row.ids)
            slots[at, place] = torch.tensor(row.slots)
            keep[at, place] = True
        return Inputs(ids=ids, slots=slots, keep=keep, pixels=pixels)


def _check_match(tokenizer: Tokenizer, config: Config) -> None:
    text = config.text
    way_out = "take both from the same model"
    if tokenizer.size > text.vocabulary:
        raise CheckpointError(
            f"the tokenizer has {tokenizer.size} tokens, the network {text.vocabulary}; {way_out}"
        )
    for name in ("bos", "pad", "eos"):
        ours, theirs = getattr(tokenizer, name), getattr(text, name)
        if ours != theirs:
            raise CheckpointError(
                f"{name} is {ours} to the tokenizer and {theirs} to the network; {way_out}"
            )
    if tokenizer.first_slot + config.latents > tokenizer.size:
        raise CheckpointError(
            f"{config.latents} latents need as many ids from {tokenizer.first_slot} on, "
            f"the tokenizer ends at {tokenizer.size}; {way_out}"
        )
