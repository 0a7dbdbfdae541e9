"""Which tokens a model is taught: ids where loss is counted, -100 everywhere else.

    ids      <s> <image> 4 5 6 </image> An image of  a   dog  </s>  <pad>
    labels    .     .    . . .    .      .   .   .   a   dog  </s>    .

As in the original's training the picture carries no loss: not `<s>`, not the slots, not their tags.
Here the prompt carries none either, since nobody wants the model to learn the questions. The end
does: without it a model never learns to stop. (The network shifts labels itself.)

Letters: B rows, T ids of the longest.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from jaxtyping import Int64
from torch import Tensor

from kosmos2.errors import InputError

IGNORE = -100


def labels_for(
    encoding: Mapping[str, Any],
    *,
    prompt_lengths: Sequence[int] | Int64[Tensor, " B"] | None = None,
    ignore: int = IGNORE,
) -> Int64[Tensor, "B T"]:
    """The ids of a batch, with `ignore` on padding, on pictures with `<s>`, and on prompts.

    Args:
        encoding: what a processor or tokenizer returned for whole texts, prompts and answers.
        prompt_lengths: how many ids of each row are `<s>`, picture and prompt, padding not
            counted: `processor(images, prompts, padding=True, return_tensors="pt")
            .attention_mask.sum(1)`. Without it all words are taught.
        ignore: what stands where no loss is counted.

    Raises:
        InputError: no ids or mask, or a row in which nothing would be taught.
    """
    ids, keep = _rows(encoding, "input_ids"), _rows(encoding, "attention_mask").bool()
    slots = torch.zeros_like(keep)
    if "image_embeds_position_mask" in encoding:
        slots = _rows(encoding, "image_embeds_position_mask").bool()
    lengths = [1] * len(ids) if prompt_lengths is None else [int(n) for n in prompt_lengths]
    if len(lengths) != len(ids):
        raise InputError(f"{len(lengths)} prompt_lengths for {len(ids)} rows; give one for each")
    taught = keep.clone()
    for row, length in enumerate(lengths):
        real = keep[row].nonzero().flatten()
        taught[row, real[: max(length, 1)]] = False  # `<s>` at least
        if slots[row].any():
            taught[row, : int(slots[row].nonzero().max()) + 2] = False  # up to `</image>`
        if not taught[row].any():
            raise InputError(
                f"row {row} has {len(real)} ids, all of them picture or prompt, and nothing to "
                "learn; encode prompt and answer together"
            )
    return torch.where(taught, ids, ignore)


def _rows(encoding: Mapping[str, Any], name: str) -> Int64[Tensor, "B T"]:
    if name not in encoding:
        raise InputError(f"there is no {name} to make labels from; give all that was encoded")
    try:
        rows = torch.as_tensor(encoding[name])
    except ValueError as error:
        raise InputError(
            f"the rows of {name} differ in length; encode with padding=True"
        ) from error
    return (rows if rows.ndim == 2 else rows[None]).long()
