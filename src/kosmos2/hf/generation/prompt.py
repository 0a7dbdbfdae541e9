"""What comes before the answers: prompts as tensors, checked, with their padding on the left.

A prompt that was padded is answered as if it had come alone: its padding goes to the left, where
it separates nothing, and neither the positions nor the rules count it. With `as_reference` it stays
where it was and counts, as in transformers 5.

Shapes: B rows, T tokens of a prompt, N pictures in all rows together, L latents, D text width.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from kosmos2.errors import InputError, PromptError
from kosmos2.model import Network

NOTHING = -1  # stands in `seen` where there is no token


@dataclass(frozen=True, kw_only=True, slots=True)
class Prompt:
    """A batch of prompts, ready to be read."""

    given: Int[Tensor, "B _"]  # what answers are appended to; no columns if there were no ids
    seen: Int[Tensor, "B _"]  # what the rules look at: the ids, NOTHING for padding
    leading: Int[Tensor, " B"]  # padding at the left of `seen` that the rules do not know of
    embedded: Float[Tensor, "B T D"]
    keep: Bool[Tensor, "B T"]
    real: Bool[Tensor, "B T"]  # what advances the count of positions
    lengths: Int[Tensor, " B"]  # tokens that an answer counts on from

    @property
    def width(self) -> int:
        """Tokens of a prompt, padding included."""
        return self.embedded.shape[1]

    def repeated(self, copies: int) -> Prompt:
        """Each prompt several times, one after the other."""
        if copies == 1:
            return self
        return Prompt(
            **{
                name: getattr(self, name).repeat_interleave(copies, dim=0)
                for name in self.__slots__
            }
        )


def prompt_of(
    network: Network,
    *,
    ids: Tensor | None,
    embedded: Tensor | None,
    mask: Tensor | None,
    slots: Tensor | None,
    latents: Float[Tensor, "*N L D"],
    pad: int | None,
    ends: Collection[int],
    as_reference: bool,
) -> Prompt:
    """The prompts of a call of `generate`.

    Without a mask, the id of padding tells what is padding, unless it also ends answers.

    Raises:
        InputError: a tensor of another kind or shape than it should have.
        PromptError: slots that are not as many as the latents, or a prompt of padding alone.
    """
    text = network.config.text
    if ids is None and embedded is None:
        raise InputError("there is no prompt; pass input_ids, as the processor returns them")
    if ids is not None:
        ids = _ids(ids, text.vocabulary, network.device)
        shape = ids.shape
    if embedded is None:
        assert ids is not None
        words = network.decoder.words(ids)
        real = ids != text.pad
    else:
        words = _embedded(embedded, text.width).to(network.device, network.dtype)
        shape = words.shape[:2]
        if ids is not None and ids.shape != shape:
            raise InputError(
                f"input_ids are {list(ids.shape)} and inputs_embeds {list(words.shape)}; pass the "
                "ids of the same tokens, or the embeddings alone"
            )
        real = torch.ones(shape, dtype=torch.bool, device=words.device)
    keep = _keep(mask, ids, shape, pad, ends, words.device)
    words = _filled(words, slots, latents)
    if as_reference:
        lengths = torch.full_like(keep.sum(1), shape[1])
        leading = keep.int().argmax(1)
        seen = words.new_empty(shape[0], 0, dtype=torch.long) if ids is None else ids
    else:
        order = keep.int().argsort(dim=1, stable=True)  # padding first, all else as it was
        words = words.gather(1, order[..., None].expand_as(words))
        real, keep = real.gather(1, order), keep.gather(1, order)
        real, lengths = real & keep, keep.sum(1)
        leading = torch.zeros_like(lengths)
        seen = words.new_empty(shape[0], 0, dtype=torch.long)
        if ids is not None:
            seen = ids.gather(1, order).masked_fill(~keep, NOTHING)
    given = seen if ids is None else ids
    return Prompt(
        given=given,
        seen=seen,
        leading=leading,
        embedded=words,
        keep=keep,
        real=real,
        lengths=lengths,
    )


def describe(value: Any) -> str:
    """What was given, for a message."""
    return str(list(value.shape)) if isinstance(value, Tensor) else type(value).__name__


def _tensor(name: str, value: Any, dims: str) -> Tensor:
    if not isinstance(value, Tensor):
        raise InputError(
            f"{name} is {type(value).__name__}, not a tensor; call the processor with "
            "return_tensors='pt'"
        )
    if value.ndim != len(dims.split()):
        raise InputError(f"{name} has the shape {list(value.shape)}; give [{dims}]")
    return value


def _ids(given: Any, vocabulary: int, device: torch.device) -> Int[Tensor, "B T"]:
    ids = _tensor("input_ids", given, "rows tokens")
    if ids.is_floating_point() or ids.dtype == torch.bool:
        raise InputError(f"input_ids are {ids.dtype}; give whole numbers (torch.long)")
    if ids.numel() == 0:
        raise InputError(f"input_ids are empty {list(ids.shape)}; a prompt has at least one token")
    if int(ids.min()) < 0 or int(ids.max()) >= vocabulary:
        raise InputError(
            f"input_ids go from {int(ids.min())} to {int(ids.max())}, and the model has the ids 0 "
            f"to {vocabulary - 1}; use the tokenizer that came with it"
        )
    return ids.to(device, torch.long)


def _embedded(given: Any, width: int) -> Float[Tensor, "B T D"]:
    embedded = _tensor("inputs_embeds", given, "rows tokens width")
    if not embedded.is_floating_point() or embedded.shape[2] != width or not embedded.numel():
        raise InputError(
            f"inputs_embeds are {embedded.dtype} of shape {list(embedded.shape)}; give at least "
            f"one token, as {width} real numbers each"
        )
    return embedded


def _keep(
    given: Any,
    ids: Tensor | None,
    shape: torch.Size,
    pad: int | None,
    ends: Collection[int],
    device: torch.device,
) -> Bool[Tensor, "B T"]:
    if given is not None:
        mask = _tensor("attention_mask", given, "rows tokens").to(device)
        if mask.shape != shape:
            raise InputError(
                f"attention_mask is {list(mask.shape)} for a prompt of {list(shape)}; it says of "
                "each token whether it counts"
            )
        keep = mask.bool()
    elif ids is None or pad is None or pad in ends:
        keep = torch.ones(shape, dtype=torch.bool, device=device)
    else:
        keep = ids != pad
    for row, kept in enumerate(keep.any(1).tolist()):
        if not kept:
            raise PromptError(f"prompt {row} of {len(keep)} is nothing but padding")
    return keep


def _filled(
    words: Float[Tensor, "B T D"], given: Any, latents: Float[Tensor, "*N L D"]
) -> Float[Tensor, "B T D"]:
    """Embedded prompts with what was seen of the pictures in their slots."""
    if given is None:
        raise InputError(
            "there is a picture but no image_embeds_position_mask to say where it goes; pass on "
            "the one that the processor returned"
        )
    slots = _tensor("image_embeds_position_mask", given, "rows tokens").to(words.device).bool()
    rows, width = words.shape[:2]
    if len(slots) != rows or slots.shape[1] > width:
        raise InputError(
            f"image_embeds_position_mask is {list(slots.shape)} for a prompt of {[rows, width]}"
        )
    slots = torch.nn.functional.pad(slots, (0, width - slots.shape[1]))
    have, need = int(slots.sum()), latents.numel() // latents.shape[-1]
    if have != need:
        raise PromptError(
            f"the prompts have {have} slots for {need} latents of pictures {list(latents.shape)}; "
            "give each picture its own slots (was the prompt truncated?)"
        )
    return words.masked_scatter(slots[..., None], latents.to(words.device, words.dtype))
