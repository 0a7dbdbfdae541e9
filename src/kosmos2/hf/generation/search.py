"""One answer a row, token by token: the likeliest, or one by chance.

Shapes: R rows, T tokens so far, W vocabulary.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Generator, Tensor

from kosmos2.errors import EngineError
from kosmos2.hf.generation.prompt import Prompt
from kosmos2.hf.generation.reader import Reader
from kosmos2.hf.generation.rules import Rules
from kosmos2.hf.generation.stopping import Stopping


@dataclass(frozen=True, kw_only=True)
class Search:
    """What it takes to write answers."""

    reader: Reader
    prompt: Prompt  # repeated for every row
    rules: Rules
    stopping: Stopping
    pad: int
    copies: int  # rows of each prompt


def write(
    search: Search, *, sample: bool, random: Generator | None, streamer: Any = None
) -> Int[Tensor, "R T"]:
    """The prompts and their answers; a streamer is given the prompts, then each new token.

    Chance is drawn for all rows at once, ended ones too, so that a seed gives what it gives in the
    reference.
    """
    reader, stopping, record = search.reader, search.stopping, search.reader.record
    ids, seen = search.prompt.given, search.prompt.seen
    if streamer is not None:
        streamer.put(ids.cpu())
    going = torch.ones(len(ids), dtype=torch.bool, device=ids.device)
    logits, length = reader.start(search.copies), 0
    while True:
        check_finite(logits, length, going)
        scores = search.rules(ids, seen, logits.clone())
        if record.scores is not None:
            record.scores.append(scores)
        if record.logits is not None:
            record.logits.append(logits)
        tokens = _chosen(scores, length, going, sample, random)
        if stopping.pads:
            tokens = tokens.where(going, search.pad)
        ids = torch.cat([ids, tokens[:, None]], dim=1)
        seen = torch.cat([seen, tokens[:, None]], dim=1)
        length += 1
        going &= ~stopping(ids, length, record.scores)
        if streamer is not None:
            streamer.put(tokens.cpu())
        if not bool(going.any()):
            return ids
        logits = reader.step(tokens)


def check_finite(
    logits: Float[Tensor, "R W"], step: int, going: Bool[Tensor, " R"] | None = None
) -> None:
    """Let nothing pass that is not a number.

    Raises:
        EngineError: in a row that still goes on.
    """
    broken = ~logits.isfinite().all(-1)
    if going is not None:
        broken &= going
    if bool(broken.any()):
        raise EngineError(
            f"row {int(broken.int().argmax())}, step {step}: the network put out numbers that are "
            "not finite; load it with torch_dtype=torch.float32, and check pixel_values and the "
            "weights if it stays so"
        )


def dead_end(row: int, step: int) -> EngineError:
    """What to raise when the rules leave nothing."""
    return EngineError(
        f"row {row}, step {step}: no token is left that may come next; loosen "
        "no_repeat_ngram_size, min_new_tokens, suppress_tokens, bad_words_ids or the "
        "logits_processor"
    )


def _chosen(
    scores: Float[Tensor, "R W"],
    step: int,
    going: Bool[Tensor, " R"],
    sample: bool,
    random: Generator | None,
) -> Int[Tensor, " R"]:
    stuck = scores.amax(-1) == -math.inf
    if bool((stuck & going).any()):
        raise dead_end(int((stuck & going).int().argmax()), step)
    if not sample:
        return scores.argmax(-1)
    # What an ended row draws is thrown away, but it has to be able to draw.
    chances = scores.masked_fill(stuck[:, None], 0).softmax(-1).nan_to_num(1.0)
    return chances.multinomial(1, generator=random)[:, 0]
