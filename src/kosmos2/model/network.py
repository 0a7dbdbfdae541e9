"""KOSMOS-2 whole: look at pictures, then read tokens with what was seen in their midst.

Shapes: N pictures, S pixels a side, L latents a picture, B rows, T new tokens, D text width,
R scored tokens (all T, or the last one), W words in the vocabulary.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from kosmos2.config import Config
from kosmos2.errors import PromptError
from kosmos2.model.cache import Cache
from kosmos2.model.connector import Connector
from kosmos2.model.decoder import Decoder, DecoderLayer, attention_mask, positions_of
from kosmos2.model.vision import VisionLayer, VisionTower


class Network(nn.Module):
    """The tower, the connector and the decoder."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config = config
        self.vision = VisionTower(config.vision)
        self.connector = Connector(config)
        self.decoder = Decoder(config.text)

    @property
    def device(self) -> torch.device:
        """Where the parameters are."""
        return self.decoder.words.weight.device

    @property
    def dtype(self) -> torch.dtype:
        """What the parameters are stored as; logits are float32 whatever this is."""
        return self.decoder.words.weight.dtype

    def look(
        self, pixels: Float[Tensor, "N 3 Y X"], *, interpolate: bool = False
    ) -> Float[Tensor, "N L D"]:
        """Turn pictures into latents, once; every question about them can share the result.

        `interpolate` admits pictures that are not S by S pixels.

        Quirk: all of the tower's vectors, not only the class vector, pass its last norm.
        """
        return self.connector(self.vision.last_norm(self.vision(pixels, interpolate=interpolate)))

    def forward(
        self,
        ids: Int[Tensor, "B T"] | None,
        *,
        embedded: Float[Tensor, "B T D"] | None = None,
        pixels: Float[Tensor, "N 3 S S"] | None = None,
        latents: Float[Tensor, "N L D"] | None = None,
        slots: Bool[Tensor, "B T"] | None = None,
        keep: Bool[Tensor, "B T"] | None = None,
        cache: Cache | None = None,
        positions: Int[Tensor, "B T"] | None = None,
        last: bool = False,
        watch: list[Tensor] | None = None,
        attentions: list[Tensor] | None = None,
    ) -> Float[Tensor, "B R W"]:
        """Score the next word after each token, or after the last one only.

        Latents (or the pixels to make them of) fill the slots in reading order, row by row, so a
        row may hold several pictures. `keep` is False on padding. `watch` collects what enters
        each block of the decoder, and then what leaves the last norm; `attentions` collects how
        much each token heard of each, block by block. Embedded tokens, not yet scaled, may come
        instead of ids; each of them then counts as a real one.

        Raises:
            PromptError: the number of slots is not the number of latents.
        """
        if pixels is not None and latents is None:
            latents = self.look(pixels)
        hidden = self.read(
            ids,
            embedded=embedded,
            latents=latents,
            slots=slots,
            keep=keep,
            cache=cache,
            positions=positions,
            watch=watch,
            attentions=attentions,
        )
        return self.decoder.logits(hidden[:, -1:] if last else hidden)

    def read(
        self,
        ids: Int[Tensor, "B T"] | None,
        *,
        embedded: Float[Tensor, "B T D"] | None = None,
        latents: Float[Tensor, "N L D"] | None = None,
        slots: Bool[Tensor, "B T"] | None = None,
        keep: Bool[Tensor, "B T"] | None = None,
        cache: Cache | None = None,
        positions: Int[Tensor, "B T"] | None = None,
        visible: Bool[Tensor, "B T T"] | None = None,
        watch: list[Tensor] | None = None,
        attentions: list[Tensor] | None = None,
        wanted: Bool[Tensor, "B T"] | None = None,
    ) -> Float[Tensor, "B T D"] | Float[Tensor, "M D"]:
        """Read tokens as `forward` does, up to the vectors that the output layer scores.

        `visible` replaces the usual order of who sees whom among the T tokens, for training rows
        that hold several texts side by side after one picture. With `wanted`, only the vectors of
        those M tokens come out, row by row.
        """
        if ids is not None and embedded is None:
            real, embedded = ids != self.config.text.pad, self.decoder.words(ids)
        elif embedded is not None and ids is None:
            real = torch.ones(embedded.shape[:2], dtype=torch.bool, device=embedded.device)
        else:
            raise PromptError("give tokens as ids or as embedded, and not both")
        if positions is None:
            counted = None if cache is None else cache.counted
            positions = positions_of(real, counted, self.config.text.pad)
        if visible is None:
            mask, causal = self._order(keep, real, cache)
        else:
            mask, causal = visible[:, None], False
        return self.decoder(
            self._fill(embedded, latents, slots),
            positions,
            mask=mask,
            causal=causal,
            cache=cache,
            watch=watch,
            attentions=attentions,
            wanted=wanted,
        )

    def loss(
        self,
        ids: Int[Tensor, "B T"],
        labels: Int[Tensor, "B T"],
        *,
        pixels: Float[Tensor, "N 3 S S"] | None = None,
        latents: Float[Tensor, "N L D"] | None = None,
        slots: Bool[Tensor, "B T"] | None = None,
        keep: Bool[Tensor, "B T"] | None = None,
    ) -> Float[Tensor, ""]:
        """Mean cross-entropy of each token given those before it; labels of -100 do not count."""
        with self.decoder.one_gradient():
            logits = self(ids, pixels=pixels, latents=latents, slots=slots, keep=keep)
        return F.cross_entropy(logits[:, :-1].flatten(0, 1), labels[:, 1:].flatten())

    def _fill(
        self, embedded: Tensor, latents: Tensor | None, slots: Tensor | None
    ) -> Float[Tensor, "B T D"]:
        """Embedded tokens with latents in their slots; what was given stays as it is."""
        if latents is None:
            if slots is not None and bool(slots.any()):
                raise PromptError("the prompt has slots for a picture, but no picture came with it")
            return embedded
        if slots is None or int(slots.sum()) != latents.shape[0] * latents.shape[1]:
            have = 0 if slots is None else int(slots.sum())
            raise PromptError(
                f"{have} slots for {latents.shape[0]} pictures of {latents.shape[1]} latents; "
                "the prompt must hold one block of slots for each picture"
            )
        return embedded.masked_scatter(slots[..., None], latents.to(embedded.dtype))

    def _order(
        self, keep: Tensor | None, real: Tensor, cache: Cache | None
    ) -> tuple[Tensor | None, bool]:
        """Who sees whom: a mask to add to the scores, or none and whether plainly causal."""
        new = real.shape[1]
        if keep is None:
            keep = torch.ones_like(real)
        if cache is not None:
            cache.admit(keep, real)
            assert cache.keep is not None
            keep = cache.keep
        if new in (1, keep.shape[1]) and bool(keep.all()):
            return None, new > 1  # no padding, and a beginning or a single step: no mask needed
        return attention_mask(keep, new, self.dtype), False

    @torch.no_grad()
    def initialise(self, generator: torch.Generator | None = None) -> None:
        """Fill the parameters for training from nothing, each with the reference's spread."""
        for module in self.modules():
            if isinstance(module, nn.LayerNorm):
                module.weight.fill_(1.0)
                module.bias.zero_()
            elif isinstance(module, nn.Linear):
                module.weight.normal_(0.0, 0.02, generator=generator)
                module.bias.zero_()
        vision = self.config.vision
        width, depth = vision.width, 2 * vision.layers
        self.vision.class_vector.normal_(0.0, width**-0.5, generator=generator)
        self.vision.patch.weight.normal_(0.0, 0.02, generator=generator)
        self.vision.positions.weight.normal_(0.0, 0.02, generator=generator)
        for layer in self.vision.layers:
            assert isinstance(layer, VisionLayer)
            for part in (layer.attention.query, layer.attention.key, layer.attention.value):
                part.weight.normal_(0.0, (width * depth) ** -0.5, generator=generator)
            layer.attention.out.weight.normal_(0.0, width**-0.5, generator=generator)
            layer.ffn.widen.weight.normal_(0.0, (2 * width) ** -0.5, generator=generator)
            layer.ffn.narrow.weight.normal_(0.0, (width * depth) ** -0.5, generator=generator)
        # Magneto's scaling of the decoder (Wang et al. 2022): deeper networks start louder.
        gain = math.sqrt(math.log(2 * self.config.text.layers))
        for layer in self.decoder.layers:
            assert isinstance(layer, DecoderLayer)
            attention, ffn = layer.attention, layer.ffn
            for part in (attention.value, attention.out, ffn.widen, ffn.narrow):
                part.weight.mul_(gain)
        self.connector.queries.normal_(0.0, 1.0, generator=generator)
        self.decoder.words.weight.normal_(0.0, 0.02, generator=generator)
        self.decoder.words.weight[self.config.text.pad].zero_()
