"""From what `forward` was given to what the network is fed: checked first, and only then read.

Shapes: N pictures, Y by X pixels, L latents of a picture, B rows, T new tokens, S tokens remembered
and new, D text width.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from kosmos2.errors import InputError
from kosmos2.hf import arguments
from kosmos2.hf.cache import DynamicCache
from kosmos2.hf.forward import Heard, Seen, Wishes, look, padded_positions, read
from kosmos2.hf.notices import once
from kosmos2.model import Cache, Network


@dataclass(frozen=True, kw_only=True, slots=True)
class Given:
    """The tensors of one call, as they came: nothing of it is changed."""

    pixels: Float[Tensor, "N 3 Y X"] | None
    latents: Float[Tensor, "N L D"] | None  # in place of pixels
    ids: Int[Tensor, "B T"] | None
    embedded: Float[Tensor, "B T D"] | None  # in place of ids
    slots: Tensor | None
    mask: Tensor | None
    positions: Tensor | None
    past: Any
    interpolate: bool = False


def feed(
    network: Network, given: Given, wishes: Wishes, *, caches: bool, compat: str | None
) -> tuple[Seen, Heard]:
    """Check everything, look at the pictures, read the tokens.

    Raises:
        InputError: whatever does not fit.
    """
    text = network.config.text
    rows, new = arguments.check_tokens(given.ids, given.embedded, text)
    cache = arguments.cache_of(given.past, rows, text.layers)
    length = 0 if cache is None else cache.length
    keep = arguments.keep_of(given.mask, rows, length, new)
    positions = arguments.positions_of(given.positions, rows, new)
    slots = _slots_of(network, given, (rows, new)) if not length else None
    if given.latents is not None or given.pixels is None:
        seen = Seen(given.latents)
    else:
        if length:
            once(
                "pixel_values are looked at again, though the prompt was read before; "
                "leave them out where past_key_values are given"
            )
        seen = look(network, given.pixels, wishes, interpolate=given.interpolate)
    if cache is None and caches:
        cache = DynamicCache()
    if cache is not None and length:
        _remember(cache, keep, tuples=cache is not given.past, compat=compat)
    if positions is None and compat is not None:
        positions = padded_positions(given.ids, given.embedded, length, text.pad)
    heard = read(
        network,
        given.ids,
        given.embedded,
        wishes,
        cache=cache,
        latents=None if slots is None else seen.latents,
        slots=slots,
        keep=None if keep is None else keep[:, length:],
        positions=positions,
    )
    return seen, heard


def _slots_of(network: Network, given: Given, shape: tuple[int, int]) -> Bool[Tensor, "B T"]:
    """Where in a prompt its pictures go."""
    config = network.config
    if given.latents is not None:
        return arguments.slots_of(given.slots, shape, given.latents, config.text.width)
    if given.pixels is None:
        raise InputError(
            "there is no picture: give pixel_values, or image_embeds made of them before"
        )
    arguments.check_pixels(given.pixels, config.vision, interpolate=given.interpolate)
    made = (len(given.pixels), config.latents)
    return arguments.slots_of(given.slots, shape, made, config.text.width)


def _remember(
    cache: Cache, keep: Bool[Tensor, "B S"] | None, *, tuples: bool, compat: str | None
) -> None:
    """Let the mask of a call decide what is padding among the tokens remembered.

    Without one a cache knows it by itself (though the reference's would not); tuples that stand for
    a cache know neither that nor how many real tokens each row has.
    """
    assert cache.keep is not None
    if keep is not None:
        cache.keep = keep[:, : cache.length]
        if tuples:
            cache.counted = cache.keep.sum(dim=1)
    elif compat is not None:
        cache.keep = torch.ones_like(cache.keep)
