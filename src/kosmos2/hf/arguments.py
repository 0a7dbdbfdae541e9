"""What `forward` was given, held against what the network can read before any of it is read.

The reference finds most of these faults deep inside, or never. Shapes: B rows, T new tokens, P
tokens remembered, N pictures, L latents of a picture, D text width.
"""

from __future__ import annotations

from difflib import get_close_matches
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from kosmos2.config import TextConfig, VisionConfig
from kosmos2.errors import ConfigError, ImageError, InputError, PromptError
from kosmos2.hf.cache import DynamicCache
from kosmos2.model import Cache

IGNORED = -100  # a label that does not count
COMPAT = (None, "transformers-5")
WAYS = (None, "eager", "sdpa")


def check_choices(attn_implementation: str | None, compat: str | None) -> None:
    """Refuse ways to compute that there are not.

    Raises:
        ConfigError: naming those that there are.
    """
    if attn_implementation not in WAYS:
        raise ConfigError(
            f"there is no attn_implementation {attn_implementation!r} here; say 'sdpa', which is "
            "fast and the default, or 'eager'"
        )
    if compat not in COMPAT:
        raise ConfigError(f"compat is {compat!r}; it can be 'transformers-5', or left out")


def check_words(words: dict[str, Any], known: list[str]) -> None:
    """Refuse keyword arguments that are none, and those that the reference no longer has.

    Raises:
        InputError: with the name that was probably meant.
    """
    for name in words:
        near = get_close_matches(name, known, n=1)
        hint = f"did you mean {near[0]}?" if near else f"it has {', '.join(known)}"
        raise InputError(f"forward has no argument {name!r}; {hint}")


def check_tokens(ids: Tensor | None, embedded: Tensor | None, text: TextConfig) -> tuple[int, int]:
    """B and T of the tokens, which come as ids or embedded.

    Raises:
        InputError: both or neither, of another shape or type, or beyond the vocabulary.
    """
    if (ids is None) == (embedded is None):
        have = "neither is there" if ids is None else "both are there"
        raise InputError(f"tokens come as input_ids or as inputs_embeds, one of them; {have}")
    if ids is not None:
        _check_whole("input_ids", ids, "(rows, tokens)", axes=2)
        _check_range("input_ids", ids, 0, text.vocabulary)
        rows, tokens = ids.shape
    else:
        assert embedded is not None
        if not _is_tensor(embedded, 3) or embedded.shape[2] != text.width:
            raise InputError(
                f"inputs_embeds {_like(embedded)}; it should be (rows, tokens, {text.width})"
            )
        rows, tokens, _ = embedded.shape
    if not rows or not tokens:
        raise InputError(f"there are {rows} rows of {tokens} tokens; give at least one of each")
    return rows, tokens


def check_pixels(pixels: Tensor, vision: VisionConfig, *, interpolate: bool) -> None:
    """Refuse what the tower cannot read, or would misread.

    Raises:
        ImageError: not a batch of normalised pictures of the right size.
    """
    side = vision.image_size
    if not _is_tensor(pixels, 4) or pixels.shape[1] != 3:
        raise ImageError(
            f"pixel_values {_like(pixels)}; it should be (pictures, 3, {side}, {side})"
        )
    if not pixels.is_floating_point():
        raise ImageError(
            f"pixel_values are {pixels.dtype}, so not normalised; make them with the processor"
        )
    if not interpolate and pixels.shape[2:] != (side, side):
        raise ImageError(
            f"pixel_values are pictures of {pixels.shape[2]} by {pixels.shape[3]}; this model "
            f"reads {side} by {side}, and other sizes only with interpolate_pos_encoding=True"
        )


def slots_of(
    mask: Tensor | None, shape: tuple[int, int], latents: Tensor | tuple[int, int], width: int
) -> Bool[Tensor, "B T"]:
    """Where latents go: as many places as there are latents, given as they are or as (N, L).

    Raises:
        PromptError: no mask, one of another shape, or with more places or fewer.
        InputError: latents of another width.
    """
    if isinstance(latents, Tensor):
        if not _is_tensor(latents, 3) or latents.shape[2] != width:
            raise InputError(
                f"image_embeds {_like(latents)}; it should be (pictures, latents, {width})"
            )
        latents = latents.shape[0], latents.shape[1]
    pictures, each = latents
    if mask is None:
        raise PromptError(
            "pictures came without image_embeds_position_mask, which says where in the prompt "
            "they belong; the processor makes it together with input_ids"
        )
    if not torch.is_tensor(mask) or mask.shape != shape:
        raise PromptError(
            f"image_embeds_position_mask {_like(mask)}; it should be {shape}, as the tokens"
        )
    slots = mask.bool()
    if (marked := int(slots.sum())) != pictures * each:
        raise PromptError(
            f"image_embeds_position_mask marks {marked} places, but {pictures} pictures of {each} "
            f"latents need {pictures * each}; the prompt must hold one block for each picture"
        )
    return slots


def keep_of(mask: Tensor | None, rows: int, past: int, new: int) -> Bool[Tensor, "B S"] | None:
    """Where a token is, rather than padding, among those remembered and then the new ones.

    Raises:
        InputError: of another length, or with other values than 0 and 1.
    """
    if mask is None:
        return None
    if not torch.is_tensor(mask) or mask.shape != (rows, past + new):
        remembered = f": {past} remembered and {new} new" if past else ""
        raise InputError(
            f"attention_mask {_like(mask)}; it should be {(rows, past + new)}{remembered}"
        )
    keep = mask == 1
    if not bool((keep | (mask == 0)).all()):
        raise InputError("attention_mask holds other values than 1 (a token) and 0 (padding)")
    return keep


def cache_of(past: Any, rows: int, layers: int) -> Cache | None:
    """The cache to go on from, also if it comes as older code handled it, in tuples.

    Raises:
        InputError: something else, or a cache of other rows or another network.
    """
    if past is None:
        return None
    if isinstance(past, tuple | list):
        past = DynamicCache.from_legacy_cache(past)
    if not isinstance(past, Cache):
        raise InputError(
            f"past_key_values is a {type(past).__module__}.{type(past).__name__}; give what this "
            "model returned, or (keys, values) of each layer in a tuple"
        )
    if past.length and (len(past.keys), len(past.keys[0])) != (layers, rows):
        raise InputError(
            f"past_key_values remembers {len(past.keys[0])} rows in {len(past.keys)} layers; "
            f"there are {rows} rows and {layers} layers"
        )
    return past


def positions_of(given: Tensor | None, rows: int, new: int) -> Int[Tensor, "B T"] | None:
    """Positions as somebody counted them, one for each new token.

    Raises:
        InputError: of another shape, no whole numbers, or negative.
    """
    if given is None:
        return None
    _check_whole("position_ids", given, f"({rows}, {new})")
    if given.shape not in ((rows, new), (1, new), (new,)):
        raise InputError(f"position_ids {_like(given)}; it should be {(rows, new)}, as the tokens")
    _check_range("position_ids", given, 0, None)
    return given.expand(rows, new)


def check_labels(labels: Tensor, shape: tuple[int, ...], vocabulary: int) -> None:
    """Refuse labels that do not belong to the tokens.

    Raises:
        InputError: of another shape, or ids that are none.
    """
    _check_whole("labels", labels, str(shape))
    if labels.shape != shape:
        raise InputError(f"labels {_like(labels)}; it should be {shape}, as the tokens")
    _check_range("labels", labels[labels != IGNORED], 0, vocabulary)


def kept(hidden: Float[Tensor, "B T D"], keep: int | Tensor) -> Float[Tensor, "*any D"]:
    """The vectors to score: the last `keep` of each row, all for 0, or those that a tensor names.

    A tensor holds places that count for every row, places of each row, or is a mask; with a mask
    the result is flat, since each row may keep another number.

    Raises:
        InputError: none of these, or places that are not there.
    """
    tokens = hidden.shape[1]
    if isinstance(keep, int):
        if not 0 <= keep <= tokens:
            raise InputError(
                f"logits_to_keep is {keep}; there are {tokens} tokens, and 0 keeps all"
            )
        return hidden[:, -keep:] if keep else hidden
    if keep.dtype == torch.bool and keep.shape == hidden.shape[:2]:
        return hidden[keep]
    _check_whole("logits_to_keep", keep, "places, one axis or (rows, places)")
    _check_range("logits_to_keep", keep, -tokens, tokens)
    if keep.ndim == 1:
        return hidden[:, keep]
    if keep.ndim == 2 and len(keep) == len(hidden):
        return torch.take_along_dim(hidden, keep[..., None] % tokens, dim=1)
    raise InputError(f"logits_to_keep {_like(keep)}; give a number, places, or a mask")


def _is_tensor(value: object, axes: int) -> bool:
    return isinstance(value, Tensor) and value.ndim == axes


def _like(value: object) -> str:
    if isinstance(value, Tensor):
        return f"is of shape {tuple(value.shape)}"
    return f"is a {type(value).__name__}, not a tensor"


def _check_whole(name: str, value: Any, wanted: str, axes: int | None = None) -> None:
    right = isinstance(value, Tensor) and (axes is None or value.ndim == axes)
    if not right:
        raise InputError(f"{name} {_like(value)}; it should be {wanted}")
    if value.is_floating_point() or value.is_complex() or value.dtype == torch.bool:
        raise InputError(f"{name} is of {value.dtype}; it should hold whole numbers")


def _check_range(name: str, value: Tensor, least: int, beyond: int | None) -> None:
    if not value.numel():
        return
    low, high = (int(end) for end in value.aminmax())
    if low < least or (beyond is not None and high >= beyond):
        wrong = low if low < least else high
        allowed = f"from {least}" + ("" if beyond is None else f" to {beyond - 1}")
        raise InputError(f"{name} holds {wrong}; it can be {allowed}")
